"""Customers of a shop: purchases, what they say about each customer up to a day, and what came afterwards.

    purchases = cdnow()                                   # or read_purchases("shop.csv")[0]
    start, cut, end = halves(purchases)
    features = describe(purchases.between(start, cut), cut)   # to cluster on
    later = purchases.between(cut, end).spend()               # to judge by

A customer who did not buy before the cut is not known then, and so not described. Returned goods (negative amounts or
items) lower what was spent and bought, and are no purchases; a return of exactly what was bought undoes that purchase.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from deeplearn.data import csvtable
from deeplearn.data.csvfile import read_header, where
from deeplearn.data.csvtable import Kind, Reading, Schema, Table, kind, missing, require
from deeplearn.data.findings import findings
from deeplearn.errors import ConfigError, DataError, note

FEATURES = ("purchases", "days since last", "days since first", "spend", "items")
"""What is known of each customer: frequency, recency, tenure, monetary value (Hughes, 1994) and items bought."""
WEEK = np.timedelta64(7, "D")
EVENTS: dict[str, Kind] = {"customer": "category", "date": "date", "amount": "number", "items": "number"}
"""Columns of a file of purchases; `items` may be missing."""
STRAY = 0.5
"""A gap of this share of the time, and of a year, is no pause of the shop: the dates behind it are wrong."""
BUYER = re.compile("customer|client|user|member|buyer|account", re.IGNORECASE)
"""What people call the one who buys."""


@dataclass(frozen=True, kw_only=True)
class Purchases:
    """N purchases of C customers."""

    customer: np.ndarray
    """int32 [N], positions in `names`."""
    day: np.ndarray
    """datetime64[D] [N]."""
    amount: np.ndarray
    """float64 [N], in the shop's currency; negative for returned goods."""
    items: np.ndarray
    """float64 [N], how many things were bought, negative for returned ones; 1 where the file does not say."""
    names: np.ndarray
    """str [C], the customers; also those without a purchase left."""
    name: str
    """Name of the data set."""

    def between(self, start: np.datetime64, stop: np.datetime64) -> "Purchases":
        """Those on days start <= day < stop; all customers keep their positions."""
        keep = (self.day >= start) & (self.day < stop)
        return self.rows(keep)

    def of(self, customers: np.ndarray) -> "Purchases":
        """Those of the customers at these positions [M] alone, who then stand at 0..M-1."""
        place = np.full(len(self.names), -1, np.int32)
        place[customers] = np.arange(len(customers))
        kept = self.rows(place[self.customer] >= 0)
        return replace(kept, customer=place[kept.customer], names=self.names[customers])

    @property
    def returned(self) -> np.ndarray:
        """Which are returns: bool [N]."""
        return (self.amount < 0) | (self.items < 0)

    def settled(self) -> "Purchases":
        """Those that were not undone: a return of exactly what the customer bought goes, with the last such purchase.

        What is returned after a day must not change what was known on it: take `between` first.
        """
        returned, kept = self.returned, np.ones(len(self.day), bool)
        if not returned.any():
            return self
        open_: dict[tuple[int, float], list[int]] = {}
        involved = np.flatnonzero(np.isin(self.customer, self.customer[returned]))
        for row in involved[np.argsort(self.day[involved], kind="stable")]:
            same = open_.setdefault((int(self.customer[row]), abs(float(self.amount[row]))), [])
            if not returned[row]:
                same.append(row)
            elif same and self.amount[row] < 0:
                kept[[row, same.pop()]] = False
        return self.rows(kept)

    def rows(self, keep: np.ndarray) -> "Purchases":
        """Those at these positions, or where `keep` [N] is true."""
        return replace(self, **{name: getattr(self, name)[keep] for name in ("customer", "day", "amount", "items")})

    def spend(self) -> Float[np.ndarray, "C"]:
        """Sum of each customer's amounts."""
        return np.bincount(self.customer, self.amount, len(self.names))


def holds_purchases(path: str | Path, how: Reading | None = None) -> bool:
    """Whether a file holds purchases, by its columns; else it holds a table with one row a customer.

    Raises:
        DataError: the columns are those of purchases but for capitals.
    """
    header = _header(path, how)
    alike = {name.casefold(): name for name in header}
    purchases = {"customer", "date", "amount"} <= alike.keys()
    meant = [name for name in (EVENTS if purchases else ["customer"]) if name in alike and name not in header]
    if meant:
        found = ", ".join(alike[name] for name in meant)
        raise DataError(f"{path} has the columns {found}; did you mean {', '.join(meant)}? Write them so")
    return purchases


def read_purchases(
    path: str | Path, how: Reading | Schema | None = None, *, say: bool = True
) -> tuple[Purchases, Schema]:
    """(purchases from a CSV file with the columns customer, date, amount and, if you like, items; how it was read).

    Args:
        how: knobs, or how another file was read that this one is like.
        say: note on standard error what is left out and what are returns.

    Raises:
        DataError: a column or a cell is missing or holds something else, or a date cannot be; names file and line.
        ConfigError: a column that is needed is dropped.
    """
    header, dropped = _header(path, how), how.drop if isinstance(how, Reading) else ()
    require(dict.fromkeys(header), ("customer", "date", "amount"), path)
    if needed := {"customer", "date", "amount"} & {*dropped}:
        raise ConfigError(f"data.drop leaves out {min(needed)!r}, without which there are no purchases; take it back")
    kinds = {name: kind for name, kind in EVENTS.items() if name in header and name not in dropped}
    unused = [name for name in header if name not in EVENTS]
    table, schema = _read(path, how, kinds, kinds, unused)
    customer, day, amount = (table[name] for name in ("customer", "date", "amount"))
    _refuse_future(day, path)
    if not isinstance(how, Schema):
        _refuse_stray(day, path)
    items = table.get("items", np.where(amount < 0, -1.0, 1.0))
    found = purchases_of(customer=customer, day=day, amount=amount, items=items, name=str(path))
    if say and (returned := int(found.returned.sum())):
        undone = (len(day) - len(found.settled().day)) // 2
        note(f"note: {returned} of {len(day)} rows are returns, of which {undone} undo a purchase of the same amount")
    if say and (left := [name for name in unused if name not in dropped]):
        note(f"note: {path}: {', '.join(left)} say nothing of a purchase and are left out")
    return found, schema


def _header(path: str | Path, how: Reading | Schema | None) -> list[str]:
    """The names of the columns, a date in place of the three that it is made of."""
    if isinstance(how, Schema):
        joined = how.joined
    else:
        made = (text.partition("=")[::2] for text in (how.dates if how else ()))
        joined = {name: [part.strip() for part in form.split(",")] for name, form in made if "%" not in form}
    parts = {part for own in joined.values() for part in own}
    return [name for name in read_header(path) if name not in parts] + list(joined)


def _read(
    path: str | Path,
    how: Reading | Schema | None,
    kinds: Mapping[str, Kind],
    complete: Iterable[str],
    unused: Iterable[str],
) -> tuple[Table, Schema]:
    """A table by knobs, without what is unused, or as another was read."""
    if isinstance(how, Schema):
        return csvtable.read_like(path, how, complete), how
    reading = how or Reading()
    return csvtable.read_table(path, replace(reading, drop=tuple({*reading.drop, *unused})), kinds, complete)


def _refuse_future(day: np.ndarray, path: str | Path) -> None:
    """Raises DataError, with the line, where a purchase lies in the future."""
    if (future := day > np.datetime64("today") + np.timedelta64(1, "D")).any():  # it may be tomorrow elsewhere
        row = int(future.argmax())
        raise DataError(f"{where(path, row)}: {day[row]} lies in the future; correct the date or remove the line")


def _refuse_stray(day: np.ndarray, path: str | Path) -> None:
    """Raises DataError, with the line, where purchases lie far from most: what comes first could not foretell them."""
    days = np.sort(day)
    gap = np.diff(days)
    if len(gap) and gap.max() > STRAY * (days[-1] - days[0]) and gap.max() > 52 * WEEK:
        early = day < days[gap.argmax() + 1]
        lone = early if early.mean() < 0.5 else ~early
        row, years = int(lone.argmax()), int(gap.max() / WEEK / 52)
        lie = f"and {lone.sum() - 1} more lie" if lone.sum() > 1 else "lies"
        place = f"{where(path, row)}: {day[row]}"
        raise DataError(f"{place} {lie} {years} year(s) from all other purchases; correct or remove it")


def purchases_of(customer: np.ndarray, **columns: Any) -> Purchases:
    names, place = np.unique(customer, return_inverse=True)
    return Purchases(customer=place.astype(np.int32), names=names, **columns)


def halves(purchases: Purchases) -> tuple[np.datetime64, np.datetime64, np.datetime64]:
    """(first day, middle day, day after the last): the past to learn from and an equally long future to judge by.

    Raises:
        DataError: all purchases are of one day.
    """
    start, end = purchases.day.min(), purchases.day.max() + np.timedelta64(1, "D")
    if end - start < 2 * WEEK:
        raise DataError(
            f"{purchases.name} spans {(end - start).astype(int)} day(s); give at least two weeks of purchases"
        )
    return start, start + (end - start) // 2, end


def known(purchases: Purchases) -> np.ndarray:
    """Positions [M] of the customers with at least one purchase that was not undone."""
    left = purchases.settled()
    return np.unique(left.customer[~left.returned])


def counts(purchases: Purchases) -> Int[np.ndarray, "C"]:
    """Purchases of every customer; returns are none."""
    left = purchases.settled()
    return np.bincount(left.customer[~left.returned], minlength=len(purchases.names))


def describe(purchases: Purchases, cut: np.datetime64, *, stretch: float = 1.0) -> Float[np.ndarray, "C F"]:
    """FEATURES of every customer as they were on the morning of `cut`; each needs a purchase before.

    Args:
        stretch: so many days a day counts: 2 makes customers who were watched for half a year look like those who
            were watched for a year, of whom one that bought at the beginning only is as long silent.
    """
    count, left = len(purchases.names), purchases.settled()
    bought = left.rows(~left.returned)
    ago = (cut - bought.day).astype(np.int64)
    last, first = np.full(count, np.inf), np.zeros(count)
    np.minimum.at(last, bought.customer, ago)
    np.maximum.at(first, bought.customer, ago)
    frequency = np.bincount(bought.customer, minlength=count)
    items = np.maximum(np.bincount(left.customer, left.items, count), 0)
    spend = np.maximum(left.spend(), 0)
    return np.stack([frequency, last * stretch, first * stretch, spend, items], axis=1)


def read_features(
    path: str | Path, how: Reading | Schema | None = None, *, say: bool = True
) -> tuple[list[str], list[str], np.ndarray, Schema]:
    """(names [N], columns [F], values [N, F], how it was read) of a CSV file with one row a customer.

    A column called customer gives the names, else the row numbers do; columns of text and dates are left out.

    Args:
        how: knobs, or how another file was read, which says the columns.
        say: note on standard error what is left out and what looks odd.

    Raises:
        DataError: a column is missing or is not of numbers, a cell is empty, or a customer has several rows.
    """
    kinds: dict[str, Kind] = {"customer": "category"} if "customer" in read_header(path) else {}
    table, schema = _read(path, how, kinds, kinds, ())
    _refuse_several(table, path)
    columns = [name for name, values in table.items() if kind(values) == "number"]
    if not columns:
        raise DataError(f"{path} has no column of numbers beside customer: add what is known of each customer")
    for name in columns:
        if (gone := missing(table[name])).any():
            raise DataError(f"{where(path, gone.argmax())} has no {name!r}: fill it in or remove the line")
    said = [] if isinstance(how, Schema) else findings({name: table[name] for name in columns})
    if left := [name for name in table if name not in columns and name != "customer"]:
        said.append(f"{path}: {', '.join(left)} hold no numbers and are left out")
    if any(kind(values) == "date" for values in table.values()):
        said.append(f"{path}: each row is taken for a customer; purchases would have columns customer, date, amount")
    for sentence in said if say else ():
        note(f"note: {sentence}")
    values = np.stack([table[name] for name in columns], axis=1)
    names = table["customer"].tolist() if "customer" in table else [str(row) for row in range(1, len(values) + 1)]
    return names, columns, values, schema.only([*columns, "customer"])


def _refuse_several(table: Table, path: str | Path) -> None:
    """Raises DataError, with the line, where a customer has several rows: those are purchases, or a mistake."""
    dated = any(kind(values) == "date" for values in table.values())
    for name in (name for name in table if name == "customer" or (dated and BUYER.search(name))):
        _, first = np.unique(table[name], return_index=True)
        again = np.setdiff1d(np.flatnonzero(~missing(table[name])), first)
        if len(again):
            raise DataError(
                f"{where(path, again[0])} has a {name!r} of a line before; give one row a customer, "
                "or call the columns of purchases customer, date, amount"
            )


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How numbers become inputs of mean 0 and deviation 1; `deeplearn.config` turns it into JSON and back."""

    columns: list[str]
    log: bool
    """Take log(1 + x) first: counts and amounts have long tails."""
    mean: list[float]
    deviation: list[float]
    days: int | None
    """How long purchases were watched; None where the columns do not come from purchases."""
    schema: Schema | None = None
    """How the user's file was read; None where it was none."""


def fit_scaling(
    columns: Sequence[str],
    values: Float[np.ndarray, "N F"],
    *,
    log: bool,
    days: int | None,
    schema: Schema | None = None,
) -> Scaling:
    """The Scaling of these customers; a column that never changes becomes zero."""
    values = np.log1p(values) if log else values
    deviation = np.where(values.std(0) > 0, values.std(0), 1.0)
    mean = values.mean(0).tolist()
    return Scaling(columns=list(columns), log=log, mean=mean, deviation=deviation.tolist(), days=days, schema=schema)


def scaled(scaling: Scaling, values: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N F"]:
    """float32 inputs of a network."""
    values = np.log1p(values) if scaling.log else values
    return ((values - np.array(scaling.mean)) / np.array(scaling.deviation)).astype(np.float32)


def read_like(path: str | Path, scaling: Scaling) -> tuple[list[str], Float[np.ndarray, "N F"]]:
    """(names, values in the columns' own units) of a user's file: purchases up to its last day, or a table of features.

    Raises:
        DataError: the file is not of the kind that the scaling was fitted on, or something in it is wrong.
    """
    if scaling.days is None:
        names, _, values, _ = read_features(path, scaling.schema)
        return names, values
    purchases, _ = read_purchases(path, scaling.schema)
    end = purchases.day.max() + np.timedelta64(1, "D")
    recent = purchases.between(end - np.timedelta64(scaling.days, "D"), end)
    recent = recent.of(known(recent))
    return recent.names.tolist(), describe(recent, end)
