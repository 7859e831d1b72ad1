"""Customers: features equal a slow count, files are read whatever their separator, mistakes name their line."""

import csv
from pathlib import Path

import numpy as np
import pytest

from deeplearn.config import from_json, to_json
from deeplearn.data import customers
from deeplearn.errors import DataError

SHOP = """customer;date;amount;items
ann;2024-01-01;10.5;1
bob;2024-01-03;20;2
ann;2024-01-20;5;1
cy;2024-02-20;7;3
ann;2024-02-25;100;9
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "shop.csv"
    path.write_text(text, encoding="utf-8")
    return path


def random_purchases(count: int = 300) -> customers.Purchases:
    rng = np.random.default_rng(0)
    return customers.Purchases(
        customer=rng.integers(0, 40, count).astype(np.int32),
        day=np.datetime64("2024-01-01") + rng.integers(0, 200, count).astype("m8[D]"),
        amount=rng.uniform(0, 50, count).round(2),
        items=rng.integers(1, 5, count).astype(float),
        names=np.array([f"c{i}" for i in range(40)]),
        name="random",
    )


def test_features_equal_a_count_by_hand(tmp_path):
    shop = customers.read_purchases(write(tmp_path, SHOP))
    assert shop.names.tolist() == ["ann", "bob", "cy"]
    features = customers.describe(
        shop.between(np.datetime64("2024-01-01"), np.datetime64("2024-02-26")), np.datetime64("2024-02-26")
    )
    np.testing.assert_allclose(features, [[3, 1, 56, 115.5, 11], [1, 54, 54, 20, 2], [1, 6, 6, 7, 3]])


def test_nothing_after_the_cut_is_seen():
    shop = random_purchases()
    start, cut, end = customers.halves(shop)
    past = shop.between(start, cut)
    changed = shop.__class__(**{**vars(shop), "amount": np.where(shop.day >= cut, 999.0, shop.amount)})
    there = customers.known(past)
    np.testing.assert_array_equal(
        customers.describe(past.of(there), cut), customers.describe(changed.between(start, cut).of(there), cut)
    )
    later = shop.between(cut, end).of(there).spend()
    assert past.spend().sum() + later.sum() == pytest.approx(shop.of(there).amount.sum())


def test_weeks_hold_all_the_spend():
    shop = random_purchases()
    start, _, end = customers.halves(shop)
    weeks = int((end - start) // customers.WEEK) + 1
    sums = customers.weekly(shop, end, weeks)
    np.testing.assert_allclose(sums.sum(1), shop.spend())
    np.testing.assert_allclose(sums[:, -1], shop.between(end - customers.WEEK, end).spend())


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_found(tmp_path, separator):
    shop = customers.read_purchases(write(tmp_path, SHOP.replace(";", separator)))
    assert shop.amount.sum() == pytest.approx(142.5) and shop.items.sum() == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SHOP.replace("2024-01-20", "20.1.2024"), "line 4.*20.1.2024.*date"),
        (SHOP.replace(";20;", ";;"), "line 3 has no 'amount'"),
        (SHOP.replace(";20;", ";twenty;"), "line 3.*twenty.*number"),
        (SHOP.replace("bob", ""), "line 3 has no 'customer'"),
        (SHOP.replace("amount", "amonut"), "no column 'amount'; did you mean 'amonut'"),
        ("customer,date,amount\n", "holds no rows"),
    ],
)
def test_mistakes_name_the_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        customers.read_purchases(write(tmp_path, text))


def test_one_day_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match="spans 1 day"):
        customers.halves(customers.read_purchases(write(tmp_path, "customer,date,amount\na,2024-01-01,3\n")))


def test_tables_of_features(tmp_path):
    path = write(tmp_path, "customer,age,town,visits\nann,30,Rome,2\nbob,40,Bonn,5\n")
    names, columns, values = customers.read_features(path)
    assert (names, columns) == (["ann", "bob"], ["age", "visits"])
    np.testing.assert_array_equal(values, [[30, 2], [40, 5]])
    assert customers.read_features(path, ["visits"])[2].tolist() == [[2], [5]]
    with pytest.raises(DataError, match="no column 'income'"):
        customers.read_features(path, ["income"])
    with pytest.raises(DataError, match=r"line 2.*Rome.*number"):
        customers.read_features(path, ["town"])
    with pytest.raises(DataError, match="no column of numbers"):
        customers.read_features(write(tmp_path, "customer,town\nann,Rome\n"))


def test_scaling_survives_json_and_a_users_file(tmp_path):
    shop = random_purchases()
    path = tmp_path / "again.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer", "date", "amount", "items"])
        writer.writerows(zip(shop.names[shop.customer], shop.day, shop.amount, shop.items, strict=True))
    end = shop.day.max() + np.timedelta64(1, "D")
    recent = shop.between(end - np.timedelta64(90, "D"), end)
    values = customers.describe(recent.of(customers.known(recent)), end)
    scaling = customers.fit_scaling(customers.FEATURES, values, log=True, days=90)
    scaling = from_json(customers.Scaling, to_json(scaling))
    inputs = customers.scaled(scaling, values)
    np.testing.assert_allclose(inputs.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(inputs.std(0), 1, rtol=1e-5)
    names, found = customers.read_like(path, scaling)
    order = [names.index(name) for name in recent.names[customers.known(recent)]]
    np.testing.assert_allclose(found[order], values)
