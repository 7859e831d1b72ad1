"""Translating with a trained Transformer: tokens a second of our search, of CTranslate2 and of PyTorch where installed.

deeplearn bench decode runs/latest text.en
"""

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deeplearn import runtime
from deeplearn.data.text import read_lines

from . import records
from .report import publish, ratio
from .step import environments
from .timing import Budget, Ratio, Timing, measure
from .worker import Worker

CANDIDATES: dict[str, dict[str, Any]] = {
    "ours": {"library": "decode"},
    "CTranslate2, float32": {"library": "ctranslate2", "type": "float32"},
    "CTranslate2, int8": {"library": "ctranslate2", "type": "int8"},
    "PyTorch": {"library": "torch_search"},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to translate."""

    run: Path
    """Run folder of a Transformer that normalises before its sublayers."""
    sentences: Path
    """A file of sentences, one a line; those that are too long for the model are left out."""
    most: int = 1000
    """Sentences at most."""
    beams: tuple[int, ...] = (4, 1)
    """Hypotheses of a search; 1 is greedy. PyTorch is greedy only."""
    batch: int = 64
    """Sentences at a time, sorted by their lengths; every engine gets the same."""
    alone: int = 0
    """Instead, so many of the sentences one by one."""
    clock: Literal["wall", "cpu"] = "wall"
    """cpu: processor seconds of all threads, which say something even where others compute; best on one core."""
    rounds: int = 4
    """Samples of every engine, in turns."""
    output: Path = Path("runs/bench")
    """Folder for decode.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records.

    Raises:
        UsageError: the folder holds no run.
    """
    from .searches import encoded

    header = records.begin("decode")
    sources = encoded(config.run, read_lines(config.sentences))[: config.alone or config.most]
    wanted, rows = dict(CANDIDATES), []
    for package in ("ctranslate2", "torch"):
        if importlib.util.find_spec(package) is None:
            wanted = {who: job for who, job in wanted.items() if package not in job["library"]}
            rows.append({"case": {"missing": f"no {package}: pip install {package} adds it as a peer."}})
    for beams in config.beams:
        print(f"bench decode: {len(sources)} sentences, {beams} beams", file=sys.stderr, flush=True)
        rows += _case(config, sources, beams, {w: j for w, j in wanted.items() if beams == 1 or w != "PyTorch"})
    publish(records.write(config.output / "decode.jsonl", header, rows))


def _case(
    config: Config, sources: Sequence[Sequence[int]], beams: int, wanted: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    batch = 1 if config.alone else config.batch
    job = {"run": str(config.run.resolve()), "sources": sources, "beams": beams, "batch": batch}
    job |= {"threads": runtime.threads(), "clock": config.clock}
    with ExitStack() as stack:
        environment = environments()
        workers = {
            who: stack.enter_context(Worker({**job, **own}, environment["jax" if who == "ours" else "torch"]))
            for who, own in wanted.items()
        }
        budget = Budget(rounds=config.rounds, fewest=config.rounds, seconds=60.0, warmup=0.0)
        times = measure({who: worker.sample for who, worker in workers.items()}, budget)
        found = {who: worker.facts["found"] for who, worker in workers.items()}
    for who, timing in times.items():
        same = sum(a == b for a, b in zip(found[who], found["ours"], strict=True)) / len(sources)
        tokens = sum(map(len, found[who]))
        against = None if who == "ours" else vars(Ratio.of(*_each_token(times, found, who)))
        yield {
            "case": {
                "beams": beams,
                "batch": batch,
                "sentences": len(sources),
                "candidate": who,
                "clock": config.clock,
            },
            "seconds": timing.summary(),
            "samples": timing.samples,
            "tokens": tokens,
            "same": same,
            "ours_faster": against,
            "shown": {
                "beams": str(beams),
                "sentences at a time": str(batch),
                "by": who,
                "tokens a second, best": f"{tokens / timing.minimum:,.0f}",
                "ms a sentence": f"{1e3 * timing.minimum / len(sources):.2f}",
                "same translations": f"{same:.1%}",
                "ours against it [95 %]": ratio(against) if against else "",
            },
        }


def _each_token(times: Mapping[str, Timing], found: Mapping[str, list], who: str) -> tuple[Timing, Timing]:
    """Seconds of a token, of this engine and ours: engines stop their searches by rules of their own."""
    parts = []
    for name in (who, "ours"):
        tokens = sum(map(len, found[name]))
        parts.append(Timing(samples=tuple(seconds / tokens for seconds in times[name].samples)))
    return parts[0], parts[1]


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
