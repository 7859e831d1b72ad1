"""Training steps of our models: time, items a second, share of the measured ceiling; PyTorch beside them if installed.

deeplearn bench step --quick
"""

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax

from deeplearn import runtime
from deeplearn.errors import ConfigError, UsageError

from . import peaks, records
from .cases import cases
from .report import publish, ratio
from .timing import Budget, Ratio, Timing, measure
from .worker import Worker

TWINS = ("mlp-small", "mlp", "lenet", "resnet18", "gnmt", "transformer")
"""Cases that `benchmarks.peers` has, spelled out because to look there imports PyTorch."""
CANDIDATES: dict[str, dict[str, Any]] = {
    "jax": {"library": "jax"},
    "jax, bare environment": {"library": "jax"},
    "torch": {"library": "torch", "compile": False},
    "torch.compile": {"library": "torch", "compile": True},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train."""

    cases: tuple[str, ...] = TWINS[1:]
    """Steps by name; those without a twin in PyTorch are timed alone."""
    candidates: tuple[str, ...] = tuple(CANDIDATES)
    """Who takes part; `jax` runs with the settings of `deeplearn.runtime`, all others without."""
    clock: Literal["wall", "cpu"] = "wall"
    """cpu: processor seconds of all threads, which say something even where others compute; best with --threads 1."""
    threads: int | None = None
    """Threads of every candidate; by default those that each takes by itself."""
    quick: bool = False
    """Fewer rounds, and no torch.compile, which compiles for a minute."""
    output: Path = Path("runs/bench")
    """Folder for step.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records."""
    for name in config.cases:
        if name not in cases():
            raise UsageError(f"there is no case {name!r}; there are: {', '.join(cases())}.")
    header = records.begin("step")
    rows: list[dict[str, Any]] = []
    wanted = [name for name in config.candidates if not (config.quick and name == "torch.compile")]
    if importlib.util.find_spec("torch") is None:
        wanted = [name for name in wanted if not name.startswith("torch")]
        rows.append({"case": {"missing": "no PyTorch: pip install torch adds it as a peer."}})
    device = jax.devices()[0]
    ceiling = peaks.measured_flops(device, "float32", quick=config.quick)
    for name in config.cases:
        print(f"bench step: {name}", file=sys.stderr, flush=True)
        rows += _case(name, wanted, config, ceiling)
    publish(records.write(config.output / "step.jsonl", header, rows))


def environments(threads: int | None = None) -> dict[str, dict[str, str]]:
    """Of every candidate: ours with the product's settings, all others as if these had never been applied."""
    bare = {name: value for name, value in os.environ.items() if runtime.settings().get(name) != value}
    bare.pop("DEEPLEARN_RUNTIME", None)
    if threads is not None:
        bare |= {name: str(threads) for name in ("NPROC", "OMP_NUM_THREADS")}
    tuned = dict(bare)
    runtime.apply(tuned)
    tuned["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # The table shows what compiling takes.
    return {name: tuned if name == "jax" else bare for name in CANDIDATES}


def _case(name: str, wanted: list[str], config: Config, ceiling: float) -> Iterator[dict[str, Any]]:
    case = cases()[name]
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for who in wanted:
            if who.startswith("torch") and name not in TWINS:
                continue
            try:
                job = {**CANDIDATES[who], "case": name, "clock": config.clock}
                workers[who] = stack.enter_context(Worker(job, environments(config.threads)[who]))
            except ConfigError as error:
                yield {"case": {"missing": f"{name} by {who}: {error}"}}
        # A step of training follows another: alone after a rest it would find threads asleep and caches cold.
        budget = Budget(rounds=8, fewest=3, seconds=1.0, warmup=0.5, shortest=0.1)
        if not config.quick:
            budget = Budget(rounds=15, seconds=60.0, warmup=10.0, shortest=0.5)
        times = measure({who: worker.sample for who, worker in workers.items()}, budget)
    rivals = [who for who in times if who.startswith("torch")]
    best = min(rivals, key=lambda who: times[who].minimum, default=None)
    for who, timing in times.items():
        facts = workers[who].facts
        compared = vars(Ratio.of(times[best], timing)) if best and who.startswith("jax") else None
        yield {
            "case": {"name": name, "candidate": who, "clock": config.clock, "threads": config.threads},
            "seconds": timing.summary(),
            "samples": timing.samples,
            "facts": facts,
            "faster_than_best_torch": compared,
            "shown": {
                "step": name if config.clock == "wall" else f"{name}, {config.clock} seconds",
                "by": who,
                **_shown(timing, facts, ceiling, case.items, case.item),
                "against the best of PyTorch": ratio(compared) if compared else "",
                "best against best": f"{times[best].minimum / timing.minimum:.2f}" if compared else "",
            },
        }


def _shown(timing: Timing, facts: Mapping[str, Any], ceiling: float, items: int, item: str) -> dict[str, str]:
    flops, memory = facts.get("flops"), facts.get("memory")
    return {
        "ms, best": f"{timing.minimum * 1e3:.4g}",
        "median": f"{timing.median * 1e3:.4g}",
        "IQR": f"{timing.iqr * 1e3:.2g}",
        "a second": f"{items / timing.minimum:,.0f} {item}",
        "GFLOP": f"{flops / 1e9:.3g}" if flops else "",
        "of ceiling": f"{flops / timing.minimum / ceiling:.0%}" if flops else "",
        "MiB": f"{memory / 2**20:.0f}" if memory else "",
        "first step, s": f"{facts['compile']:.1f}",
    }


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
