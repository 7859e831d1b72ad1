"""Two states of the code, case by case: ratios with intervals; ends with 1 on a regression.

deeplearn bench compare before.jsonl after.jsonl
deeplearn bench compare --rerun ../before .
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplearn.errors import DataError
from deeplearn.record.statistics import difference_interval

from . import records
from .report import grid, ratio
from .step import environments
from .timing import QUICK, RESAMPLES, measure
from .worker import Worker


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to compare."""

    before: Path
    """Records of the older state, or with --rerun a checkout of it."""
    after: Path
    """The same of the newer state."""
    tolerance: float = 0.05
    """Share by which a case of records may be slower: two runs at different times differ by that much on a quiet
    machine."""
    rerun: bool = False
    """Measure training steps of both checkouts in turns, A B B A, every time in new processes: two of the same code
    differ by more than two rounds of one."""
    cases: tuple[str, ...] = ("mlp", "lenet", "transformer")
    """What to rerun, by the names of the step benchmark."""
    workers: int = 8
    """Processes of each checkout and case."""
    clock: Literal["wall", "cpu"] = "wall"
    """cpu: processor seconds, for a machine on which others compute."""


def main(config: Config) -> int:
    """Print one line for each case that both have; returns 1 where one is slower beyond noise and tolerance, else 0.

    Raises:
        DataError: the files are of different benchmarks, or share no case.
    """
    if config.rerun:
        return _rerun(config)
    before, after = records.read(config.before), records.read(config.after)
    if before.benchmark != after.benchmark:
        raise DataError(
            f"{config.before} is of {before.benchmark} and {config.after} of {after.benchmark}; "
            "compare two runs of one benchmark."
        )
    for name, old, new in _differences(before.environment, after.environment):
        print(f"not the same {name}: {old} and {new}")
    lines, worse = [], []
    for label, old, new in _pairs(before.rows, after.rows):
        found = unpaired(old, new)
        slower = found["low"] > 1 + config.tolerance
        worse += [label] if slower else []
        verdict = "slower" if slower else "faster" if found["high"] < 1 / (1 + config.tolerance) else ""
        lines.append([label, f"{np.median(old):.4g}", f"{np.median(new):.4g}", ratio(found), verdict])
    if not lines:
        raise DataError(f"{config.before} and {config.after} have no case in common; measure the same cases.")
    print(grid(["case", "before, s", "after, s", "after / before [95 %]", ""], lines))
    return 1 if worse else 0


def _rerun(config: Config) -> int:
    """The same line for each case, from medians of whole processes."""
    lines, worse = [], []
    for name in config.cases:
        print(f"bench compare: {name}", file=sys.stderr, flush=True)
        seconds: dict[Path, list[float]] = {config.before: [], config.after: []}
        for turn in range(config.workers):
            for checkout in (config.before, config.after) if turn % 2 == 0 else (config.after, config.before):
                seconds[checkout].append(_median(name, config.clock, checkout))
        old, new = seconds[config.before], seconds[config.after]
        found = between(old, new)
        slower = found["low"] > 1
        worse += [name] if slower else []
        verdict = "slower" if slower else "faster" if found["high"] < 1 else ""
        lines.append([name, f"{np.median(old):.4g}", f"{np.median(new):.4g}", ratio(found), verdict])
    print(grid(["case", "before, s", "after, s", "after / before [95 %]", ""], lines))
    return 1 if worse else 0


def _median(case: str, clock: str, checkout: Path) -> float:
    """Seconds of a training step, median of the rounds of a new process."""
    with Worker({"library": "jax", "case": case, "clock": clock}, environments()["jax"], checkout=checkout) as worker:
        return measure({case: worker.sample}, QUICK)[case].median


def between(before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
    """Ratio of the geometric means over processes, with Welch's 95 % interval of its logarithm."""
    value, low, high = np.exp(difference_interval(np.log(before).tolist(), np.log(after).tolist()))
    return {"value": float(value), "low": float(low), "high": float(high)}


def unpaired(before: Sequence[float], after: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Ratio of the medians of two independent sets of samples, with its 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    medians = [
        np.median(np.asarray(samples)[rng.integers(0, len(samples), (RESAMPLES, len(samples)))], axis=1)
        for samples in (before, after)
    ]
    low, high = np.quantile(medians[1] / medians[0], (0.025, 0.975))
    return {"value": float(np.median(after) / np.median(before)), "low": float(low), "high": float(high)}


def _pairs(
    before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, Sequence[float], Sequence[float]]]:
    """(label, samples before, samples after) of every case in both files."""
    older = {_label(row): row["samples"] for row in before if "samples" in row}
    for row in after:
        if "samples" in row and _label(row) in older:
            yield _label(row), older[_label(row)], row["samples"]


def _label(row: dict[str, Any]) -> str:
    return ", ".join(str(value) for value in row["case"].values())


def _differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What besides the code may explain a difference."""
    for name in ("python", "packages", "devices", "cpu", "variables"):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield name, old, new


if __name__ == "__main__":
    import tyro

    sys.exit(main(tyro.cli(Config, config=(tyro.conf.PositionalRequiredArgs,))))
