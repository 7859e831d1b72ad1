"""Two files of records of the same benchmark, case by case: ratios with intervals; ends with 1 on a regression.

deeplearn bench compare before.jsonl after.jsonl
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn.errors import DataError

from . import records
from .report import grid, ratio
from .timing import RESAMPLES


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to compare."""

    before: Path
    """Records of the older state."""
    after: Path
    """Records of the newer state."""
    tolerance: float = 0.05
    """Share by which a case may be slower: two runs at different times differ by that much on a quiet machine."""


def main(config: Config) -> int:
    """Print one line for each case that both have; returns 1 where one is slower beyond noise and tolerance, else 0.

    Raises:
        DataError: the files are of different benchmarks, or share no case.
    """
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
    import sys

    import tyro

    sys.exit(main(tyro.cli(Config, config=(tyro.conf.PositionalRequiredArgs,))))
