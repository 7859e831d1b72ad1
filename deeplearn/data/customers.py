"""Customers of a shop: purchases, what they say about each customer up to a day, and what came afterwards.

    purchases = cdnow()                                   # or read_purchases("shop.csv")
    start, cut, end = halves(purchases)
    features = describe(purchases.between(start, cut), cut)   # to cluster on
    later = purchases.between(cut, end).spend()               # to judge by

A customer who did not buy before the cut is not known then, and so not described.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from deeplearn.data.csvtable import kind, read_csv, require
from deeplearn.errors import DataError

FEATURES = ("purchases", "days since last", "days since first", "spend", "items")
"""What is known of each customer: frequency, recency, tenure, monetary value (Hughes, 1994) and items bought."""
WEEK = np.timedelta64(7, "D")


@dataclass(frozen=True, kw_only=True)
class Purchases:
    """N purchases of C customers."""

    customer: np.ndarray
    """int32 [N], positions in `names`."""
    day: np.ndarray
    """datetime64[D] [N]."""
    amount: np.ndarray
    """float64 [N], in the shop's currency; returned goods may be negative."""
    items: np.ndarray
    """float64 [N], how many things were bought; 1 where the file does not say."""
    names: np.ndarray
    """str [C], the customers; also those without a purchase left."""
    name: str
    """Name of the data set."""

    def between(self, start: np.datetime64, stop: np.datetime64) -> "Purchases":
        """Those on days start <= day < stop; all customers keep their positions."""
        keep = (self.day >= start) & (self.day < stop)
        return self._rows(keep)

    def of(self, customers: np.ndarray) -> "Purchases":
        """Those of the customers at these positions [M] alone, who then stand at 0..M-1."""
        place = np.full(len(self.names), -1, np.int32)
        place[customers] = np.arange(len(customers))
        kept = self._rows(place[self.customer] >= 0)
        return replace(kept, customer=place[kept.customer], names=self.names[customers])

    def _rows(self, keep: np.ndarray) -> "Purchases":
        return replace(self, **{name: getattr(self, name)[keep] for name in ("customer", "day", "amount", "items")})

    def spend(self) -> Float[np.ndarray, "C"]:
        """Sum of each customer's amounts."""
        return np.bincount(self.customer, self.amount, len(self.names))


def read_purchases(path: str | Path) -> Purchases:
    """Purchases from a CSV file with the columns customer, date (2024-12-31), amount and, if you like, items.

    Raises:
        DataError: a column or a cell is missing or holds something else; names the file and the line.
    """
    kinds = {"customer": "category", "date": "date", "amount": "number", "items": "number"}
    needed = ("customer", "date", "amount")
    table = read_csv(path, kinds, complete=kinds)
    require(table, needed, path)
    customer, day, amount = (table[name] for name in needed)
    items = table.get("items", np.ones(len(day)))
    return purchases_of(customer=customer, day=day, amount=amount, items=items, name=str(path))


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
    """Positions [M] of the customers with at least one purchase."""
    return np.unique(purchases.customer)


def describe(purchases: Purchases, cut: np.datetime64, *, stretch: float = 1.0) -> Float[np.ndarray, "C F"]:
    """FEATURES of every customer as they were on the morning of `cut`; each needs a purchase before.

    Args:
        stretch: so many days a day counts: 2 makes customers who were watched for half a year look like those who
            were watched for a year, of whom one that bought at the beginning only is as long silent.
    """
    count = len(purchases.names)
    ago = (cut - purchases.day).astype(np.int64)
    last, first = np.full(count, np.inf), np.zeros(count)
    np.minimum.at(last, purchases.customer, ago)
    np.maximum.at(first, purchases.customer, ago)
    frequency = np.bincount(purchases.customer, minlength=count)
    items = np.bincount(purchases.customer, purchases.items, count)
    spend = np.maximum(purchases.spend(), 0)
    return np.stack([frequency, last * stretch, first * stretch, spend, items], axis=1)


def weekly(purchases: Purchases, cut: np.datetime64, weeks: int) -> Float[np.ndarray, "C W"]:
    """Spend of every customer in each of the last `weeks` weeks before `cut`, oldest first."""
    ago = (cut - purchases.day - np.timedelta64(1, "D")) // WEEK
    keep = (ago >= 0) & (ago < weeks)
    place = purchases.customer[keep] * weeks + (weeks - 1 - ago[keep])
    sums = np.bincount(place, purchases.amount[keep], len(purchases.names) * weeks)
    return np.maximum(sums, 0).reshape(-1, weeks)


def columns_of(path: str | Path) -> list[str]:
    """Names of the columns of a CSV file."""
    return list(read_csv(path))


def read_features(path: str | Path, columns: Sequence[str] = ()) -> tuple[list[str], list[str], np.ndarray]:
    """(names [N], columns [F], values [N, F]) of a CSV file with one row a customer and numbers in its columns.

    A column called customer gives the names, else the row numbers do; columns of text and dates are left out.

    Args:
        columns: those a model was trained on; by default all that hold numbers.

    Raises:
        DataError: a column is missing or is not of numbers, or a cell is empty.
    """
    if not columns:
        found = read_csv(path, {"customer": "category"})
        columns = [name for name, values in found.items() if kind(values) == "number"]
    if not columns:
        raise DataError(f"{path} has no column of numbers beside customer: add what is known of each customer")
    kinds = {"customer": "category"} | dict.fromkeys(columns, "number")
    table = read_csv(path, kinds, complete=columns)
    require(table, columns, path)
    values = np.stack([table[name] for name in columns], axis=1)
    names = table.get("customer", np.arange(1, len(values) + 1)).astype(str)
    return names.tolist(), list(columns), values


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


def fit_scaling(columns: Sequence[str], values: Float[np.ndarray, "N F"], *, log: bool, days: int | None) -> Scaling:
    """The Scaling of these customers; a column that never changes becomes zero."""
    values = np.log1p(values) if log else values
    deviation = np.where(values.std(0) > 0, values.std(0), 1.0)
    return Scaling(
        columns=list(columns), log=log, mean=values.mean(0).tolist(), deviation=deviation.tolist(), days=days
    )


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
        names, _, values = read_features(path, scaling.columns)
        return names, values
    purchases = read_purchases(path)
    end = purchases.day.max() + np.timedelta64(1, "D")
    recent = purchases.between(end - np.timedelta64(scaling.days, "D"), end)
    recent = recent.of(known(recent))
    return recent.names.tolist(), describe(recent, end)
