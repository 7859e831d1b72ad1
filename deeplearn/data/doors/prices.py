"""Tables with a price to predict: its scale, and which rows are learnt from, calibrated on and tested on."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplearn.data.csvtable import Kind, Table, describe, kind, read_csv, require
from deeplearn.data.sets import hotels, houses
from deeplearn.data.split import folds, future, refuse_leak, repeated, shuffled
from deeplearn.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which table."""

    name: Literal["hotels", "ames", "synthetic"] = "hotels"
    """Stays in a real hotel, houses in Ames, or twelve invented hotels (synthetic)."""
    path: Path | None = None
    """Own CSV file instead, with a header line."""
    tfds: str | None = None
    """A prepared TFDS table instead, such as diamonds, or wine_quality with its `quality` as the target."""
    target: str = "price"
    """Its column to predict."""
    date: str | None = None
    """Its column of dates (YYYY-MM-DD), by which the future is held out; without one, rows are held out at random."""
    reference: str | None = None
    """Its column of a known price to start from, such as last year's: the model learns the ratio to it."""
    honest: bool = True
    """Hold out the future where there are dates; otherwise rows at random (the easy split)."""
    windows: int = 2
    """Where time splits: how many fifths, each before the other, calibrate the intervals; one may be an odd season."""
    folds: int = 0
    """Test every row once in this many folds instead of one held-out fifth; not by time."""


class Problem(NamedTuple):
    """A table, its price, what is known of time, and the price to start from."""

    table: Table
    """Features."""
    price: np.ndarray
    """[N] float64, positive."""
    dates: np.ndarray | None
    """[N] datetime64[D]."""
    reference: str | None
    """The column of a known price."""
    name: str


class Part(NamedTuple):
    """Row numbers to learn from and to judge on."""

    train: np.ndarray
    held: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Between prices and what the network predicts, which is about 0 with a spread of 1."""

    reference: str | None
    """The column whose price is the unit."""
    log: bool
    center: float
    scale: float
    typical: float
    """A typical price."""

    def units(self, table: Table) -> Float[np.ndarray, "N"]:
        """What a price of 1 means in each row."""
        return table[self.reference] if self.reference else np.ones(len(next(iter(table.values()))))

    def from_price(self, price: Float[np.ndarray, "N"], unit: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        return ((np.log(price / unit) if self.log else price / unit) - self.center) / self.scale

    def to_price(self, value: Float[Array, "..."], unit: Float[Array, "..."]) -> Float[Array, "..."]:
        value = value * jnp.float32(self.scale) + jnp.float32(self.center)
        return (jnp.exp(value) if self.log else value) * unit


HELD_OUT = 0.2
"""Share of the rows in the test, and of the others in the calibration."""

FOLD = 10
"""Rows that a fold should hold at least."""


def load(data: Data) -> Problem:
    """The table that the knobs ask for.

    Raises:
        DataError: a file, a column or a line of it is wrong.
        ConfigError: the price to start from is the one to predict.
    """
    if data.path is None and data.tfds is None:
        table = {"hotels": hotels.hotel_rates, "ames": houses.ames, "synthetic": hotels.synthetic}[data.name]()
        date = {"hotels": "arrival_date", "synthetic": "check_in"}.get(data.name)
        for late in hotels.AFTER_BOOKING:  # A price is asked for before these are known.
            table.pop(late, None)
        reference = "year_before" if data.name == "hotels" else None
        return Problem(table, table.pop("price"), table[date] if date else None, reference, data.name)
    if data.reference == data.target:
        raise ConfigError("data.reference is the column to predict; give one that is known before")
    kinds: dict[str | None, Kind] = {data.target: "number", data.date: "date", data.reference: "number"}
    kinds.pop(None, None)
    if data.path is not None:
        return _own(read_csv(data.path, kinds, complete=kinds), kinds, data, str(data.path), data.path.name)
    from deeplearn.data import tfds

    return _own(tfds.table(data.tfds), kinds, data, data.tfds, data.tfds)


def _own(table: Table, kinds: Mapping[str, Kind], data: Data, place: str, name: str) -> Problem:
    """A table that is not ours, from `place`, as a problem."""
    require(table, kinds, place)
    for column, what in kinds.items():
        if kind(table[column]) != what:
            raise DataError(f"{place} has a {kind(table[column])} in {column!r}, which should be a {what}")
    print(f"{place}\n{describe(table)}", file=sys.stderr)
    price = table.pop(data.target)
    for column, values in ((data.target, price), (data.reference, table.get(data.reference, price))):
        if not (values > 0).all():  # A public table may also hold NaN.
            raise DataError(f"{place} has a {column!r} of {values.min():g}; remove prices that are not positive")
    if price.min() == price.max():
        raise DataError(f"{place} has the same {data.target!r} in all {len(price)} rows; give prices that differ")
    if len(price) < 50 or not table:
        raise DataError(f"{place} has {len(price)} rows and {len(table)} columns to learn from; give 50 and 1")
    return Problem(table, price, table[data.date] if data.date else None, data.reference, name)


def parts(problem: Problem, data: Data, seed: int = 0) -> tuple[list[Part], Part]:
    """(what calibrates the intervals, what is finally trained and tested on).

    With folds, every fold calibrates and is tested, and the final model learns from all rows and is not tested.
    Otherwise the test is the last fifth of the time (or a random one), and what calibrates are the last fifth of the
    rest, and of the rest before that, and so on.

    Raises:
        ConfigError: there cannot be so many folds or windows.
        DataError: too few days to hold some of them out, twice.
    """
    size = len(problem.price)
    if data.folds and not 2 <= data.folds <= size // FOLD:
        raise ConfigError(f"data.folds is {data.folds}; give 2 to {size // FOLD} for {size} rows, or 0 for none")
    if data.windows < 1:
        raise ConfigError(f"data.windows is {data.windows}; give 1 or more: intervals need rows to be calibrated on")
    if data.folds:
        everything = np.arange(size)
        return [Part(*fold) for fold in folds(size, data.folds, seed)], Part(everything, everything[:0])
    by_time = problem.dates is not None and data.honest

    def split(rows: np.ndarray) -> Part:
        kept, held = future(problem.dates[rows], HELD_OUT) if by_time else shuffled(len(rows), HELD_OUT, seed)
        return Part(rows[kept], rows[held])

    test = split(np.arange(size))
    if by_time:
        refuse_leak(problem.dates[test.train], problem.dates[test.held], "day")
    calibration = [split(test.train)]
    while by_time and len(calibration) < data.windows and len((earlier := split(calibration[-1].train)).held):
        calibration.append(earlier)
    if not len(calibration[0].held) or not len(test.held):
        raise DataError(f"{problem.name} has its rows on too few days to hold out the last of them; give more days")
    return calibration, test


def inner(part: Part, seed: int = 0) -> Part:
    """A random split of the training rows, to choose settings on where every row is tested."""
    kept, held = shuffled(len(part.train), HELD_OUT, seed)
    return Part(part.train[kept], part.train[held])


def copies(problem: Problem, part: Part) -> np.ndarray:
    """Which held rows equal a training row in every column and the price, as bookings of one group do: bool [M]."""
    return repeated([*problem.table.values(), problem.price], part.train, part.held)
