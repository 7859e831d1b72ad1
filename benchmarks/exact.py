"""What exact mode costs on one device: the training loop's step with and without it, in turns.

Each case trains on columns that lie on the device, as `deeplearn train` does.
    deeplearn bench exact --quick
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from deeplearn import parallel
from deeplearn.beginning import begin
from deeplearn.checkpoint import Store
from deeplearn.data.source import Arrays
from deeplearn.dispatch import LONGEST, dispatcher
from deeplearn.experiment import Experiment, Run

from . import records
from .cases import cases, optimizer
from .report import publish, ratio
from .timing import QUICK, Budget, Ratio, measure

STEPS = 1_000_000
"""Of the run that is begun; nobody waits for its end."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure."""

    cases: tuple[str, ...] = ("mlp", "lenet", "gnmt", "transformer")
    shards: int = 8
    batch: int | None = None
    """Rows; by default each case's own."""
    quick: bool = False
    """Fewer samples."""
    output: Path = Path("runs/bench")
    """Folder for exact.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records."""
    header = records.begin("exact")
    publish(records.write(config.output / "exact.jsonl", header, list(_rows(config))))


def _rows(config: Config) -> Iterator[dict[str, Any]]:
    for name in config.cases:
        print(f"bench exact: {name}", file=sys.stderr, flush=True)
        case = cases(config.batch)[name]
        columns = {key: column for key, column in case.draw(0).items() if key not in ("mask", "index")}
        experiment = Experiment(task=case.task, optimizer=optimizer(), train=Arrays(columns=columns, batch=case.batch))
        run = Run(batch=case.batch, steps=STEPS, mesh="data=1")
        exact = dataclasses.replace(run, exact=config.shards)
        budget = QUICK if config.quick else Budget(rounds=15, seconds=40.0)
        times = measure({"plain": _sampler(experiment, run), "exact": _sampler(experiment, exact)}, budget)
        cost = vars(Ratio.of(times["exact"], times["plain"]))
        for mode, timing in times.items():
            yield {
                "case": {"name": name, "mode": mode, "batch": case.batch, "shards": config.shards},
                "seconds": timing.summary(),
                "samples": timing.samples,
                "exact_over_plain": cost,
                "shown": {
                    "model": name,
                    "mode": mode,
                    "rows": case.batch,
                    "ms a step": f"{1000 * timing.median:.2f}",
                    "times plain": ratio(cost) if mode == "exact" else "",
                },
            }


def _sampler(experiment: Experiment, run: Run) -> Callable[[int, int], float]:
    """Seconds of so many steps of a run that goes on from sample to sample."""
    mesh = parallel.make_mesh(run.mesh)
    with Store(Path("nowhere")) as store:
        running, shardings = begin(experiment, run, (0,), mesh, store)
    dispatch = dispatcher(experiment, run, (0,), mesh, shardings)
    done = 0

    def sample(_: int, calls: int) -> float:
        nonlocal running, done
        start = time.perf_counter()
        end = done + calls
        while done < end:
            count = min(LONGEST, end - done)
            running, _ = dispatch(running, done, count)
            done += count
        jax.block_until_ready(running)
        return time.perf_counter() - start

    return sample
