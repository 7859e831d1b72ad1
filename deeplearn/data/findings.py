"""What a user should know of a table before a model learns from it; nothing is decided here, and nothing left out."""

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


def findings(table: Table, target: Float[np.ndarray, "N"] | None = None) -> list[str]:
    """One sentence for each column that is not what it seems, or of no use.

    Args:
        table: features.
        target: what is to be predicted from them.
    """
    found = []
    for name, values in table.items():
        known = values[~missing(values)]
        levels, count = np.unique(known, return_counts=True)
        if len(levels) < 2:
            found.append(f"{name} is the same in all rows where it is known, so it is left out")
        elif kind(values) != "date" and len(levels) >= UNIQUE * len(values) and _whole(levels):
            found.append(f"{name} differs from row to row like a number of the rows: --data.drop {name} if it is one")
        elif kind(values) == "category":
            found += _of_names(name, levels, count)
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
    gone = missing(values)
    _, place, count = np.unique(target, return_inverse=True, return_counts=True)
    target = (np.cumsum(count) - (count - 1) / 2)[place]
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
