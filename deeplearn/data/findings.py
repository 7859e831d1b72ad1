"""What a user should know of a table before a model learns from it; nothing is decided here, and nothing left out."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float

from deeplearn.data.cells import numeric_share
from deeplearn.data.csvtable import Table, kind, missing

RARE = 5
"""A value of a category that stands in fewer rows tells too little of itself; `tabular` takes such for unknown."""
UNIQUE = 0.95
"""Share of different values from which whole numbers or names look like those of the rows."""
PERFECT = 0.99
"""Share of the target's variance from which a single column is suspected to be another form of it."""
OFTEN = 20
"""Rows from which the mean target of a number is compared with that of the next number, and such numbers at least."""
NEIGHBOURS = 0.3
"""Correlation of the mean targets of neighbouring numbers, below which they are rather names."""


def findings(table: Table, target: Float[np.ndarray, "N"] | None = None, sure: Collection[str] = ()) -> list[str]:
    """One sentence for each column that is not what it seems, or of no use.

    Args:
        table: features.
        target: what is to be predicted from them.
        sure: columns of which the user has said what they are.
    """
    found = []
    for name, values in table.items():
        known = values[~missing(values)]
        levels, count = np.unique(known, return_counts=True)
        if len(levels) < 2:
            found.append(f"{name} is the same in all rows where it is known, so it is left out")
        elif kind(values) != "date" and len(levels) >= UNIQUE * len(values) and _whole(levels):
            found.append(f"{name} differs from row to row like a number of the rows: --data.drop {name} if it is one")
        elif kind(values) == "category" and name not in sure:
            found += _of_names(name, levels, count)
        elif target is not None and kind(values) == "number" and name not in sure and scattered(values, target):
            found.append(
                f"{name} tells much of the target, but like a name, since neighbouring numbers have nothing in common: "
                f"--data.category {name} if it is one"
            )
        if target is not None and len(levels) > 1 and (share := explained(values, target)) > PERFECT:
            found.append(
                f"{name} alone tells the target nearly exactly ({share:.1%} of its ranks): --data.drop {name} if it is "
                "known only afterwards"
            )
    return found


def explained(values: np.ndarray, target: Float[np.ndarray, "N"]) -> float:
    """Share of the variance of the target's ranks between groups of rows with like values: adjusted R².

    Numbers and dates are cut into at most a hundred groups at quantiles, rare names make one group. Of ranks, since a
    single row far off would hide another form of the target.
    """
    gone, target = missing(values), _ranks(target)
    if kind(values) == "category":
        _, group, count = np.unique(values, return_inverse=True, return_counts=True)
        group = np.where(count[group] < RARE, len(count), group)
    else:
        numbers = values.astype(np.float64)
        edges = np.unique(np.quantile(numbers[~gone], np.linspace(0, 1, min(101, 1 + (~gone).sum() // RARE))))
        group = np.where(gone, 0, np.searchsorted(edges, numbers, side="right") + 1)
    _, group, count = np.unique(group, return_inverse=True, return_counts=True)
    if len(count) >= len(target) or target.var() == 0:
        return 0.0
    within = ((target - (np.bincount(group, target) / count)[group]) ** 2).sum() / (len(target) - len(count))
    return float(1 - within / target.var(ddof=1))


def scattered(values: Float[np.ndarray, "N"], target: Float[np.ndarray, "N"]) -> bool:
    """Whether whole numbers tell much of the target, and each says nothing of the next: an agent's, not a price's."""
    known = ~missing(values)
    levels, place, count = np.unique(values[known], return_inverse=True, return_counts=True)
    often = count >= OFTEN
    if often.sum() < OFTEN or not _whole(levels):
        return False
    ranks = _ranks(target)[known]
    mean = np.bincount(place, ranks) / count
    within = np.bincount(place, (ranks - mean[place]) ** 2)[often] / (count[often] - 1)
    mean, noise = mean[often], float((within / count[often]).mean())
    spread = float(mean.var())  # of which chance makes as much as the noise
    return spread > 5 * noise and np.corrcoef(mean[:-1], mean[1:])[0, 1] < NEIGHBOURS * (1 - noise / spread)


def _ranks(values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """From 1; equal ones share their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _of_names(name: str, levels: np.ndarray, count: np.ndarray) -> list[str]:
    import pyarrow as pa

    share, rare = numeric_share(pa.array(levels.tolist()), count), int(count[count < RARE].sum())
    found = []
    if share > 0.5:
        found.append(
            f"{name} is taken for names although {share:.0%} of its cells are numbers: --data.number {name} if it is "
            "one, and --data.missing for words that stand for nothing"
        )
    if rare > 0.5 * count.sum():
        found.append(
            f"{name} says little: {rare} of its {count.sum()} cells hold names that stand in under {RARE} rows"
        )
    return found


def _whole(levels: np.ndarray) -> bool:
    """Whether these are names or whole numbers."""
    return levels.dtype.kind != "f" or bool((levels == np.round(levels)).all())
