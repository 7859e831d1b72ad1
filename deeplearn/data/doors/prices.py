"""Tables with a price to predict: its scale, and which rows are learnt from, calibrated on and tested on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplearn.data.cells import ALMOST_ALL
from deeplearn.data.csvfile import where
from deeplearn.data.csvtable import (
    Kind,
    Reading,
    Schema,
    Table,
    describe,
    kind,
    read_like,
    read_table,
    require,
    schema_of,
    take,
)
from deeplearn.data.findings import findings
from deeplearn.data.sets import hotels, houses
from deeplearn.data.split import folds, future, refuse_leak, repeated, shuffled
from deeplearn.data.tabular import Encoding, encode, fit_encoding
from deeplearn.errors import ConfigError, DataError, note
from deeplearn.knobs import Amount, Count


@dataclass(frozen=True, kw_only=True)
class Data(Reading):
    """Which table."""

    name: Literal["hotels", "ames", "synthetic"] = "hotels"
    """Stays in a real hotel, houses in Ames, or twelve invented hotels (synthetic)."""
    path: Path | None = None
    """Own CSV file instead, with a header line."""
    test: Path | None = None
    """Own CSV file to test on; without one, a fifth of the rows is held out."""
    tfds: str | None = None
    """A prepared TFDS table instead, such as diamonds, or wine_quality with its `quality` as the target."""
    target: str = "price"
    """Its column to predict."""
    date: str | None = None
    """Its column of dates by which the future is held out; without one, rows are held out at random."""
    reference: str | None = None
    """Its column of a known price to start from, such as last year's: the model learns the ratio to it."""
    honest: bool = True
    """Hold out the future where there are dates; otherwise rows at random (the easy split)."""
    windows: Count = 2
    """Where time splits: how many fifths, each before the other, calibrate the intervals; one may be an odd season."""
    folds: Amount = 0
    """Test every row once in this many folds instead of one held-out fifth; not by time."""


class Problem(NamedTuple):
    """A table, its price, what is known of time, and the price to start from."""

    table: Table
    """Features."""
    price: np.ndarray
    """[N] float64, of any sign."""
    dates: np.ndarray | None
    """[N] datetime64[D]."""
    reference: str | None
    """The column of a known price."""
    name: str
    schema: Schema = Schema()
    """How the features were read."""
    test: int = 0
    """How many rows, the last ones, are the user's own test."""
    made: Callable[[np.ndarray], np.ndarray] | None = None
    """(rows to learn from) -> the reference of all rows, where it is made of the prices of those."""


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
    knee: float | None = None
    """Where some prices are not positive: arsinh(price / knee) is a logarithm beyond, and straight about zero."""
    center: float
    scale: float
    typical: float
    """A typical price."""
    least: float
    """The smallest price."""

    def units(self, table: Table) -> Float[np.ndarray, "N"]:
        """What a price of 1 means in each row."""
        return table[self.reference] if self.reference else np.ones(len(next(iter(table.values()))))

    def from_price(self, price: Float[np.ndarray, "N"], unit: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        value = price / unit
        if self.log:
            value = np.log(value) if self.knee is None else np.arcsinh(value / self.knee)
        return (value - self.center) / self.scale

    def to_price(self, value: Float[Array, "..."], unit: Float[Array, "..."]) -> Float[Array, "..."]:
        value = value * jnp.float32(self.scale) + jnp.float32(self.center)
        if self.log:
            value = jnp.exp(value) if self.knee is None else jnp.sinh(value) * jnp.float32(self.knee)
        return value * unit


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """How rows and prices are written for a network; from the training rows alone."""

    encoding: Encoding
    scale: Scale
    schema: Schema
    """How the file was read."""

    def features(self, table: Table) -> dict[str, np.ndarray]:
        """What a network needs of each row: `number` [N, F], `category` [N, C] and `unit` [N]."""
        return encode(self.encoding, table) | {"unit": self.scale.units(table).astype(np.float32)}

    def lesson(self, table: Table, price: Float[np.ndarray, "N"]) -> dict[str, np.ndarray]:
        """`features`, with `price` [N] and, as the network is to predict it, `target` [N]."""
        own = {"price": price, "target": self.scale.from_price(price, self.scale.units(table))}
        return self.features(table) | {name: values.astype(np.float32) for name, values in own.items()}


HELD_OUT = 0.2
"""Share of the rows in the test, and of the others in the calibration."""

FOLD = 10
"""Rows that a fold should hold at least."""
KNEE = 0.1
"""Share of the median price about which the bent logarithm turns straight: below it, prices differ by little money."""
INNER = 3
"""Folds on which settings are chosen: on one alone, 469 houses of Ames, chance chooses."""


def load(data: Data, *, say: bool = True) -> Problem:
    """The table that the knobs ask for; what there is to `say` of an own one goes to standard error.

    Raises:
        DataError: a file, a column or a line of it is wrong.
        ConfigError: knobs contradict each other.
    """
    if data.reference == data.target:
        raise ConfigError("data.reference is the column to predict; give one that is known before")
    kinds: dict[str | None, Kind] = {data.target: "number", data.date: "date", data.reference: "number"}
    kinds.pop(None, None)
    if data.path is not None:
        return _own(data, kinds, say)
    own = [field.name for field in fields(Reading) if getattr(data, field.name) != field.default]
    if own or data.test:
        raise ConfigError(f"data.{own[0] if own else 'test'} is for a table of your own: give it with --data.path")
    if data.tfds is not None:
        from deeplearn.data import tfds

        table = tfds.table(data.tfds)
        require(table, kinds, data.tfds)
        for column, what in kinds.items():
            if kind(table[column]) != what:
                raise DataError(f"{data.tfds} has a {kind(table[column])} in {column!r}, which should be a {what}")
            if what == "number" and np.isnan(table[column]).any():
                raise DataError(f"{data.tfds} does not know every {column!r}; choose another column")
        return _problem(data, table, schema_of(table), data.tfds, say)
    table = {"hotels": hotels.hotel_rates, "ames": houses.ames, "synthetic": hotels.synthetic}[data.name]()
    date = {"hotels": "arrival_date", "synthetic": "check_in"}.get(data.name)
    for late in hotels.AFTER_BOOKING:  # A price is asked for before these are known.
        table.pop(late, None)
    price, reference = table.pop("price"), "year_before" if data.name == "hotels" else None
    made = None if reference is None else partial(hotels.year_before, table[date], price, table[reference])
    return Problem(table, price, table[date] if date else None, reference, data.name, schema_of(table), made=made)


def _own(data: Data, kinds: Mapping[str, Kind], say: bool) -> Problem:
    """The user's file, and below it the one to test on."""
    table, schema = read_table(data.path, data, kinds, complete=kinds)
    require(table, kinds, data.path)
    refuse_reference(table, data.reference, data.path)
    test = 0
    if data.test is not None:
        more = read_like(data.test, schema, complete=kinds)
        refuse_reference(more, data.reference, data.test)
        test = len(more[data.target])
        table = {name: np.concatenate([values, more[name]]) for name, values in table.items()}
    return _problem(data, table, schema, data.path.name, say, test)


def _problem(data: Data, table: Table, schema: Schema, name: str, say: bool, test: int = 0) -> Problem:
    """Says what the table is taken for, and refuses one that nothing can be learnt from."""
    if say:
        note(f"{name}\n{describe(table, schema)}")
    price = table.pop(data.target)
    learnt = len(price) - test
    if learnt < 50 or not table:
        raise DataError(f"{name} has {learnt} rows and {len(table)} columns to learn from; give 50 and 1")
    if price[:learnt].min() == price[:learnt].max():
        raise DataError(f"{name} has the same {data.target!r} in all {learnt} rows; give prices that differ")
    if say:
        for sentence in _said(data, table, price, learnt):
            note(f"note: {sentence}")
    return Problem(table, price, table[data.date] if data.date else None, data.reference, name, schema, test)


def _said(data: Data, table: Table, price: np.ndarray, learnt: int) -> list[str]:
    """What the user should know before a model learns from so many rows of the table."""
    sure = {*data.category, *data.number}
    said = findings({name: values[:learnt] for name, values in table.items()}, price[:learnt], sure)
    days = [name for name, values in table.items() if kind(values) == "date"]
    if days and data.date is None and not data.test:
        said.append(f"rows are held out at random; --data.date {days[0]} holds the future out, which is fairer")
    if low := int((price <= 0).sum()):
        said.append(
            f"{low} of {len(price)} values of {data.target} are not positive: errors are reported in its own unit, "
            "not in percent"
        )
    return said


def refuse_reference(table: Table, reference: str | None, path: str | Path) -> None:
    """Raises DataError, with the line, where a price to start from is not positive: nothing is a share of it."""
    if reference and (wrong := ~(table[reference] > 0)).any():
        row = int(wrong.argmax())
        raise DataError(
            f"{where(path, row)} has a {reference!r} of {table[reference][row]:g}; remove prices that are not positive"
        )


def by_time(problem: Problem, data: Data) -> bool:
    """Whether what is held out is later than what is learnt from."""
    return problem.dates is not None and data.honest and not data.folds


def parts(problem: Problem, data: Data, seed: int = 0) -> tuple[list[Part], Part]:
    """(what calibrates the intervals, what is finally trained and tested on).

    With folds, every fold calibrates and is tested, and the final model learns from all rows and is not tested.
    Otherwise the test is the user's own, or the last fifth of the time (or a random one), and what calibrates are the
    last fifth of the rest, and of the rest before that, and so on.

    Raises:
        ConfigError: there cannot be so many folds or windows.
        DataError: too few days to hold some of them out, twice.
    """
    size = len(problem.price)
    if data.folds and problem.test:
        raise ConfigError("data.folds test every row once, and data.test other rows: give one of the two")
    if data.folds and not 2 <= data.folds <= size // FOLD:
        raise ConfigError(f"data.folds is {data.folds}; give 2 to {size // FOLD} for {size} rows, or 0 for none")
    if data.windows < 1:
        raise ConfigError(f"data.windows is {data.windows}; give 1 or more: intervals need rows to be calibrated on")
    everything = np.arange(size)
    if data.folds:
        return [Part(*fold) for fold in folds(size, data.folds, seed)], Part(everything, everything[:0])
    timely = by_time(problem, data)

    def split(rows: np.ndarray) -> Part:
        kept, held = future(problem.dates[rows], HELD_OUT) if timely else shuffled(len(rows), HELD_OUT, seed)
        return Part(rows[kept], rows[held])

    test = Part(*np.split(everything, [size - problem.test])) if problem.test else split(everything)
    if timely and not problem.test:
        refuse_leak(problem.dates[test.train], problem.dates[test.held], "day")
    calibration = [split(test.train)]
    while timely and len(calibration) < data.windows and len((earlier := split(calibration[-1].train)).held):
        calibration.append(earlier)
    if not len(calibration[0].held) or not len(test.held):
        raise DataError(f"{problem.name} has its rows on too few days to hold out the last of them; give more days")
    return calibration, test


def seen(problem: Problem, part: Part) -> Problem:
    """What is known where the prices of `part.train` alone are: a reference that is made of prices is made of those."""
    if problem.made is None:
        return problem
    return problem._replace(table=problem.table | {problem.reference: problem.made(part.train)})


def fitted_on(problem: Problem, part: Part, *, bins: int, harmonics: int | None, log: bool) -> Fitted:
    """All that is fitted before training, from `part.train` alone; knobs as in `tabular.fit_encoding`.

    Without `harmonics` a date is written in three waves of the year, or none beside prices of before, which carry the
    season; the logarithm of prices is taken (`log`) where nearly all are positive, bent where not all are.
    """
    table, price = take(problem.table, part.train), problem.price[part.train]
    harmonics = harmonics if harmonics is not None else 0 if problem.reference else 3
    encoding = fit_encoding(table, bins=bins, harmonics=harmonics)
    least, typical = float(price.min()), float(price.mean())
    plain = Scale(
        reference=problem.reference,
        log=log and (price > 0).mean() >= ALMOST_ALL,
        knee=None if least > 0 else KNEE * float(np.median(price)),
        typical=typical,
        least=least,
        center=0.0,
        scale=1.0,
    )
    target = plain.from_price(price, plain.units(table))
    return Fitted(
        encoding=encoding,
        scale=replace(plain, center=float(target.mean()), scale=float(target.std())),
        schema=problem.schema.only([*encoding.kinds, *([problem.reference] if problem.reference else [])]),
    )


def inner(part: Part, seed: int = 0) -> list[Part]:
    """Random folds of the training rows, to choose settings on where every row is tested."""
    return [Part(part.train[kept], part.train[held]) for kept, held in folds(len(part.train), INNER, seed)]


def as_long(steps: Sequence[int], learnt: Sequence[Part], part: Part, most: int) -> int:
    """For how many steps to learn from `part`: as many epochs as were best for others on average, at most `most`."""
    epochs = [step / len(own.train) for step, own in zip(steps, learnt, strict=True)]
    return min(max(round(float(np.mean(epochs)) * len(part.train)), 1), most)


def copies(problem: Problem, part: Part) -> np.ndarray:
    """Which held rows equal a training row in every column and the price, as bookings of one group do: bool [M]."""
    return repeated([*problem.table.values(), problem.price], part.train, part.held)


def shown(problem: Problem, rows: np.ndarray, band: Float[np.ndarray, "N 3"]) -> dict[str, list[float]]:
    """What the figures show of the tested rows."""
    columns = {"true": problem.price[rows], **dict(zip(("price", "low", "high"), band.T, strict=True))}
    columns |= {} if problem.dates is None else {"day": problem.dates[rows].astype(int)}
    return {name: values.tolist() for name, values in columns.items() if not np.isnan(values).any()}
