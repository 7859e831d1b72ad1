"""A table as numbers a network takes; the encoding is fitted on training rows only and is plain JSON, for `predict`.

Numbers are centred and scaled robustly, with the edges of quantile bins beside them for piecewise-linear embeddings;
categories become positions in a list; dates become what repeats (season, weekday), never a growing index. Position 0 of
a category is for values that training has not seen, or hardly; `forget` lets a network learn what it is worth.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from deeplearn.data import paged
from deeplearn.data.csvtable import Kind, Table, kind, missing
from deeplearn.errors import DataError

WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


@dataclass(frozen=True, kw_only=True)
class Number:
    """How one column of numbers is encoded."""

    center: float
    """Median of the training rows; stands in for a missing value."""
    scale: float
    """Distance from the 25 % to the 75 % quantile, or the standard deviation where those coincide."""
    edges: list[float]
    """Edges of quantile bins on the scaled values, increasing, at least two."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How a table is encoded; `deeplearn.config` turns it into JSON and back."""

    harmonics: int
    """Waves of the year in which a date is written."""
    kinds: dict[str, Kind]
    """What the columns of a table to encode must hold."""
    numbers: dict[str, Number]
    """Columns of `number`, in order."""
    categories: dict[str, list[str]]
    """Columns of `category`, in order, with their known values, "" where it is missing; position 0 is for others."""

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of positions of each category, that of others included."""
        return tuple(len(values) + 1 for values in self.categories.values())

    @property
    def edges(self) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(number.edges) for number in self.numbers.values())


def fit_encoding(table: Table, *, bins: int = 48, rare: int = 5, harmonics: int = 3) -> Encoding:
    """An Encoding of all columns of the training rows that carry information.

    Args:
        table: the training rows' features (not the target).
        bins: quantile bins for each number at most (Gorishniy et al., 2022, use 2 to 256).
        rare: a category value seen less often counts as unknown.
        harmonics: sines and cosines of the year in which a date is written; three follow a season of two months.

    Raises:
        DataError: no column carries information.
    """
    columns = expand(table, harmonics)
    numbers, categories = {}, {}
    for name, values in columns.items():
        known = values[~missing(values)]
        if kind(values) == "number" and len(np.unique(known)) > 1:
            numbers[name] = _fit_number(known, bins)
        elif kind(values) == "category":
            levels, counts = np.unique(values, return_counts=True)
            often = counts >= rare
            if often.sum() > 1 or (often.any() and not often.all()):
                categories[name] = levels[often].tolist()
    if not numbers and not categories:
        raise DataError(f"none of the columns {', '.join(table)} varies in training; add one that tells rows apart")
    kinds = {name: kind(values) for name, values in table.items() if _used(name, kind(values), numbers, categories)}
    return Encoding(harmonics=harmonics, kinds=kinds, numbers=numbers, categories=categories)


def encode(encoding: Encoding, table: Table) -> dict[str, np.ndarray]:
    """`number` float32 [N, F] without NaN and `category` int32 [N, C], the columns in the encoding's order."""
    columns, size = expand(table, encoding.harmonics), len(next(iter(table.values())))
    number = paged.zeros((size, len(encoding.numbers)), np.float32)
    for row, (name, n) in zip(number.T, encoding.numbers.items(), strict=True):
        row[:] = (np.where(np.isnan(columns[name]), n.center, columns[name]) - n.center) / n.scale
    category = paged.zeros((size, len(encoding.categories)), np.int32)
    for row, (name, levels) in zip(category.T, encoding.categories.items(), strict=True):
        row[:] = _positions(columns[name], levels)
    return {"number": number, "category": category}


def forget(key: Array, category: Int[Array, "B C"], index: Int[Array, "B"], share: float) -> Int[Array, "B C"]:
    """Categories of which a share, drawn for each example from its row number, are taken for others."""
    draw = jax.vmap(lambda i: jax.random.bernoulli(jax.random.fold_in(key, i), share, category.shape[1:]))
    return jnp.where(draw(index), 0, category)


def unknown(encoding: Encoding, table: Table) -> list[str]:
    """One sentence for each category of which some cells are not known from training."""
    found = []
    for name, levels in encoding.categories.items():
        if name in table and (odd := ~np.isin(table[name], np.array([*levels, ""], table[name].dtype))).any():
            names = np.unique(table[name][odd]).tolist()
            some = ", ".join(repr(one) for one in names[:5]) + (", ..." if len(names) > 5 else "")
            found.append(f"{name}: {odd.sum()} of {len(odd)} rows hold values not known from training ({some})")
    return found


def expand(table: Table, harmonics: int) -> Table:
    """The table with dates as season and weekday, and beside each number a category that says if it is known."""
    columns: Table = {}
    for name, values in table.items():
        if kind(values) == "date":
            columns |= _calendar(name, values, harmonics)
        elif kind(values) == "number":
            columns |= {name: values, f"{name}:known": np.where(np.isnan(values), "no", "yes")}
        else:
            columns[name] = values
    return columns


def day_of_year(dates: np.ndarray) -> np.ndarray:
    """Days since the first of January: float64 [N], NaN where the date is missing."""
    days = (dates - dates.astype("M8[Y]").astype("M8[D]")).astype(np.float64)
    return np.where(np.isnat(dates), np.nan, days)


def _calendar(name: str, dates: np.ndarray, harmonics: int) -> Table:
    gone, angle = np.isnat(dates), 2 * np.pi * day_of_year(dates) / 365.25
    weekday = (dates.astype(np.int64) + 3) % 7  # 1970-01-01, day 0, was a Thursday
    waves = {f"{name}:{f.__name__}{k}": f(k * angle) for k in range(1, harmonics + 1) for f in (np.sin, np.cos)}
    return waves | {f"{name}:weekday": np.where(gone, "", np.array(WEEKDAYS)[weekday])}


def _fit_number(known: np.ndarray, bins: int) -> Number:
    center = float(np.median(known))
    low, high = np.quantile(known, [0.25, 0.75])
    scale = float(high - low) or float(known.std())
    edges = np.unique(np.quantile((known - center) / scale, np.linspace(0, 1, bins + 1)).astype(np.float32))
    return Number(center=center, scale=scale, edges=edges.tolist())


def _positions(values: np.ndarray, levels: list[str]) -> np.ndarray:
    place = {level: i + 1 for i, level in enumerate(levels)}
    return np.array([place.get(value, 0) for value in values.tolist()], np.int32)


def _used(name: str, what: Kind, numbers: Iterable[str], categories: Iterable[str]) -> bool:
    """Whether a column, or a date's parts, carry information."""
    names = [*numbers, *categories]
    return any(n == name or n.startswith(f"{name}:") for n in names) if what != "category" else name in names
