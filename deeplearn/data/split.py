"""Splits that do not leak: by class, by group, into folds. Every function gives row numbers, and the seed decides."""

from collections.abc import Iterator, Sequence

import numpy as np

from deeplearn.errors import DataError


def stratified(label: np.ndarray, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(kept, held out) row numbers; every class gives the same share, rounded, at least one and not all of its rows.

    Args:
        label: [N] classes.
        held_out: share between 0 and 1.

    Raises:
        DataError: a class has fewer than two examples.
    """
    rng, held = np.random.default_rng(seed), np.zeros(len(label), bool)
    for name in np.unique(label):
        rows = rng.permutation(np.flatnonzero(label == name))
        if len(rows) < 2:
            raise DataError(f"class {name} has one example only, which cannot be on both sides of a split; add another")
        held[rows[: min(max(round(held_out * len(rows)), 1), len(rows) - 1)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def grouped(groups: np.ndarray, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(kept, held out) row numbers such that a group (a writer, a person, a book) is whole on one side.

    Args:
        groups: [N] the group of each row.
        held_out: share of the rows between 0 and 1; groups are held out in random order until it is reached.

    Raises:
        DataError: fewer than two groups.
    """
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise DataError("all rows belong to one group, so no group can be held out; split by something finer")
    order = np.random.default_rng(seed).permutation(len(names))
    enough = 1 + np.searchsorted(np.cumsum(sizes[order]), held_out * len(groups))
    held = np.isin(group, order[: min(enough, len(names) - 1)])
    return np.flatnonzero(~held), np.flatnonzero(held)


def folds(size: int, count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(kept, held out) row numbers of each of `count` folds of a shuffle; every row is held out exactly once."""
    parts = np.array_split(np.random.default_rng(seed).permutation(size), count)
    for k, held in enumerate(parts):
        yield np.sort(np.concatenate(parts[:k] + parts[k + 1 :])), np.sort(held)


def refuse_leak(train: np.ndarray, test: np.ndarray, what: str = "group") -> None:
    """Raises DataError if a value (a writer's name, a date, an image's hash) stands on both sides of a split."""
    if len(both := np.intersect1d(train, test)):
        shown = ", ".join(str(name) for name in both[:3])
        raise DataError(f"{len(both)} {what}(s) are in training and test data alike, such as {shown}; split by {what}")


def shuffled(size: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(kept, held out) row numbers where chance alone decides."""
    held = np.random.default_rng(seed).permutation(size)[: round(held_out * size)]
    return np.setdiff1d(np.arange(size), held), np.sort(held)


def future(dates: np.ndarray, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """(past, future) row numbers: the future is the last share of the rows by time, in whole days.

    Args:
        dates: datetime64 [N].
        held_out: share between 0 and 1; the day on which it begins is past, so that no day is on both sides.
    """
    last = np.sort(dates)[int((1 - held_out) * len(dates))]
    return np.flatnonzero(dates <= last), np.flatnonzero(dates > last)


def repeated(columns: Sequence[np.ndarray], kept: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Which held-out rows equal a kept row in every column ([N] each): bool, in the order of `held`.

    Nothing known (NaN, NaT, "") equals nothing known.
    """
    same = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        levels, place = np.unique(column, return_inverse=True)
        same = np.unique(same * len(levels) + place, return_inverse=True)[1]
    return np.isin(same[held], same[kept])
