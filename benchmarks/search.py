"""Nearest vectors on this machine: exact and by inverted lists, ours beside faiss.

The gallery is drawn from clusters on the sphere, as codes of pictures are; uniform vectors have no lists worth asking.
faiss takes part where it is installed; `pip install faiss-cpu` adds it, since it is no dependency.
    deeplearn bench search --quick
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn.methods import search
from deeplearn.methods.ranking import unit

from . import records
from .report import publish, ratio
from .timing import QUICK, Budget, Ratio, measure, timed


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to search."""

    gallery: int = 100_000
    dimensions: int = 64
    queries: int = 1024
    answers: int = 10
    clusters: int = 2000
    """That the gallery is drawn from."""
    lists: int = 256
    """Of the inverted file."""
    probes: int = 16
    """Lists that a query looks at."""
    quick: bool = False
    """Fewer samples."""
    output: Path = Path("runs/bench")
    """Folder for search.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records."""
    header = records.begin("search")
    publish(records.write(config.output / "search.jsonl", header, list(_rows(config))))


def _drawn(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Queries and gallery, of length 1, around the same centres."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(config.clusters, config.dimensions))

    def around(count: int) -> np.ndarray:
        spread = rng.normal(size=(count, config.dimensions))
        return np.asarray(unit(centres[rng.integers(config.clusters, size=count)] + 0.5 * spread), np.float32)

    return around(config.queries), around(config.gallery)


Search = Callable[[], search.Found]


def _rows(config: Config) -> Iterator[dict[str, Any]]:
    queries, gallery = _drawn(config)
    truth = search.exact(queries, gallery, config.answers)
    lists = search.inverted(gallery, config.lists)
    _, products = search.probe(queries, gallery, lists, config.answers, config.probes)
    ours: dict[str, dict[str, Search]] = {
        "exact": {"ours": lambda: search.exact(queries, gallery, config.answers)},
        "inverted lists": {"ours": lambda: search.probe(queries, gallery, lists, config.answers, config.probes)[0]},
    }
    if importlib.util.find_spec("faiss") is None:
        yield {"case": {"missing": "no faiss: pip install faiss-cpu adds it."}}
    else:
        for name, index in _faiss(config, gallery).items():
            ours[name]["faiss"] = lambda index=index: search.Found(*index.search(queries, config.answers))
    for name, candidates in ours.items():
        print(f"bench search: {name}", file=sys.stderr, flush=True)
        samplers = {who: timed(lambda _, call=call: call()) for who, call in candidates.items()}
        times = measure(samplers, QUICK if config.quick else Budget(rounds=9, seconds=60.0))
        for who, timing in times.items():
            against = {other: vars(Ratio.of(times[other], timing)) for other in times if other != who}
            recall = search.recall(candidates[who](), truth)
            share = products / config.gallery if (name, who) == ("inverted lists", "ours") else None
            yield {
                "case": {"name": name, "candidate": who},
                "seconds": timing.summary(),
                "samples": timing.samples,
                "recall": recall,
                "faster_than": against,
                "shown": {
                    "search": name,
                    "who": who,
                    "queries a second": f"{config.queries / timing.minimum:,.0f}",
                    f"recall@{config.answers}": f"{recall:.4f}",
                    "of the products": "" if share is None else f"{share:.3f}",
                    **{f"times {other}": ratio(found) for other, found in against.items()},
                },
            }


def _faiss(config: Config, gallery: np.ndarray) -> dict[str, Any]:
    """Its indices of the same kinds, filled; it takes the threads that the process may have."""
    import faiss

    flat = faiss.IndexFlatIP(config.dimensions)
    flat.add(gallery)
    lists = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(config.dimensions), config.dimensions, config.lists, faiss.METRIC_INNER_PRODUCT
    )
    lists.train(gallery)
    lists.add(gallery)
    lists.nprobe = config.probes
    return {"exact": flat, "inverted lists": lists}


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
