"""Customers: features equal a slow count, files are read whatever their separator, mistakes name their line."""

import csv
from pathlib import Path

import numpy as np
import pytest

from deeplearn.config import from_json, to_json
from deeplearn.data import customers
from deeplearn.data.csvtable import Reading
from deeplearn.data.doors import customers as door
from deeplearn.errors import ConfigError, DataError

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
    shop, _ = customers.read_purchases(write(tmp_path, SHOP))
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


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_found(tmp_path, separator):
    shop, _ = customers.read_purchases(write(tmp_path, SHOP.replace(";", separator)))
    assert shop.amount.sum() == pytest.approx(142.5) and shop.items.sum() == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SHOP.replace("2024-01-20", "soon"), "line 4.*soon.*date"),
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
        customers.halves(customers.read_purchases(write(tmp_path, "customer,date,amount\na,2024-01-01,3\n"))[0])


def test_tables_of_features(tmp_path, capsys):
    path = write(tmp_path, "customer,age,town,visits\n007,30,Rome,2\n12e5,40,Bonn,5\n")
    names, columns, values, schema = customers.read_features(path)
    assert (names, columns) == (["007", "12e5"], ["age", "visits"])  # names are text, whatever they look like
    np.testing.assert_array_equal(values, [[30, 2], [40, 5]])
    assert "town hold no numbers and are left out" in capsys.readouterr().err
    assert customers.read_features(path, Reading(drop=("age",)))[2].tolist() == [[2], [5]]
    again = write(tmp_path, "visits,note,age,customer\n3,1,31,eve\n5,x,41,9\n")
    assert customers.read_features(again, schema)[:2] == (["eve", "9"], ["age", "visits"])
    for text, message in (
        ("customer,age\n1,2\n", "no column 'visits'"),
        ("customer,age,visits\n1,2,Rome\n", "line 2.*Rome.*number"),
        ("customer,age,visits\n1,2,\n", "line 2 has no 'visits'"),
    ):
        with pytest.raises(DataError, match=message):
            customers.read_features(write(tmp_path, text), schema)
    with pytest.raises(DataError, match="no column of numbers"):
        customers.read_features(write(tmp_path, "customer,town\nann,Rome\n"))


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("customer,date,amount", True),
        ("amount,customer,note,date,items", True),
        ("customer,age", False),
        ("age,income", False),
        ("Amount,age", False),
        ("Customer,Date,Amount,Items", "Customer, Date, Amount, Items; did you mean customer, date, amount, items"),
        ("customer,DATE,amount", "DATE; did you mean date"),
        ("Customer,age", "Customer; did you mean customer"),
        ("customer,y,m,d,amount", False),
    ],
)
def test_purchases_are_known_by_their_columns(tmp_path, header, found):
    path = write(tmp_path, header + "\n")
    if isinstance(found, bool):
        assert customers.holds_purchases(path) is found
    else:
        with pytest.raises(DataError, match=found):
            customers.holds_purchases(path)


def test_ids_of_letters_and_digits_and_columns_that_are_not_used(tmp_path, capsys):
    rows = "".join(
        f"{'C' if i % 9 else ''}{i % 5},{1 + i % 28}.1.2024,{i},{'x' if i == 17 else i}\n" for i in range(99)
    )
    shop, _ = customers.read_purchases(write(tmp_path, "customer,date,amount,till\n" + rows))
    assert len(shop.names) == 10 and str(shop.day[0]) == "2024-01-01"
    assert "till say nothing of a purchase" in capsys.readouterr().err


RETURNS = (
    SHOP
    + """ann;2024-03-01;-100;-9
bob;2024-03-02;-5;-1
dan;2024-03-02;-5;-7
"""
)


def test_returns_lower_what_was_bought_and_are_no_purchases(tmp_path, capsys):
    shop, _ = customers.read_purchases(write(tmp_path, RETURNS))
    assert "3 of 8 rows are returns, of which 1 undo a purchase" in capsys.readouterr().err
    cut = np.datetime64("2024-03-03")
    there = customers.known(shop)
    assert shop.names[there].tolist() == ["ann", "bob", "cy"]  # dan has only returned
    features = customers.describe(shop.of(there), cut)
    np.testing.assert_allclose(features, [[2, 43, 62, 15.5, 2], [1, 60, 60, 15, 1], [1, 12, 12, 7, 3]])
    before = customers.describe(shop.between(shop.day.min(), np.datetime64("2024-03-01")).of(there), cut)
    assert before[0, 0] == 3  # what is undone later was not undone yet


def test_features_are_finite_whatever_is_returned(tmp_path):
    shop, _ = customers.read_purchases(write(tmp_path, SHOP.replace("2024-02-20;7;3", "2024-02-20;-7;-300")))
    features = customers.describe(shop.of(customers.known(shop)), np.datetime64("2024-03-01"))
    assert np.isfinite(np.log1p(features)).all() and (features >= 0).all()


def test_without_purchases_that_were_undone_nothing_else_changes():
    shop = random_purchases()
    twice = customers.Purchases(
        **vars(shop)
        | {
            "customer": np.r_[shop.customer, shop.customer[:50], shop.customer[:50]],
            "day": np.r_[shop.day, shop.day[:50], shop.day[:50] + np.timedelta64(1, "D")],
            "amount": np.r_[shop.amount, shop.amount[:50] + 1000, -shop.amount[:50] - 1000],
            "items": np.r_[shop.items, shop.items[:50], -shop.items[:50]],
        }
    )
    cut = shop.day.max() + np.timedelta64(5, "D")
    np.testing.assert_allclose(customers.describe(twice, cut), customers.describe(shop, cut))
    np.testing.assert_array_equal(customers.counts(twice), customers.counts(shop))


@pytest.mark.parametrize(
    ("date", "message"),
    [("2204-05-06", "line 4: 2204-05-06 lies in the future"), ("1970-01-01", r"line 4: 1970-01-01 lies 5\d year")],
)
def test_dates_that_cannot_be_are_refused_with_their_line(tmp_path, date, message):
    with pytest.raises(DataError, match=message):
        customers.read_purchases(write(tmp_path, SHOP.replace("2024-01-20", date)))


def test_many_dates_that_stand_for_none_are_no_past_to_learn_from(tmp_path):
    text = "customer,date,amount\n" + "".join(f"{i},2024-{1 + i % 12:02}-03,5\n" for i in range(40))
    path = write(tmp_path, text + "1,1970-01-01,5\n" * 9)
    with pytest.raises(DataError, match=r"line 42: 1970-01-01 and 8 more lie 5\d year"):
        customers.read_purchases(path)
    _, schema = customers.read_purchases(write(tmp_path, text))
    path = write(tmp_path, "customer,date,amount\n1,2020-01-01,5\n1,2024-01-01,5\n")
    assert len(customers.read_purchases(path, schema)[0].day) == 2  # to predict from; one may come back late


def test_a_date_of_three_columns_makes_purchases_too(tmp_path):
    path = write(tmp_path, "customer,y,m,d,amount\nann,2024,3,1,5\nbob,2024,March,2,6\n")
    how = Reading(dates=("date=y, m, d",))
    assert customers.holds_purchases(path, how)
    shop, schema = customers.read_purchases(path, how)
    assert shop.day.astype(str).tolist() == ["2024-03-01", "2024-03-02"]
    assert customers.read_purchases(path, schema)[0].day.tolist() == shop.day.tolist()


def test_purchases_under_other_names_are_not_taken_for_customers(tmp_path):
    text = "CustomerID,InvoiceDate,Total\n" + "".join(f"{i % 9},2024-03-{1 + i % 28:02},{i}\n" for i in range(40))
    with pytest.raises(DataError, match=r"line 11 has a 'CustomerID' of a line before.*customer, date, amount"):
        customers.read_features(write(tmp_path, text))
    with pytest.raises(DataError, match="line 3 has a 'customer' of a line before"):
        customers.read_features(write(tmp_path, "customer,age\nann,30\nann,40\n"))


def test_numbers_of_the_rows_among_features_are_named(tmp_path, capsys):
    text = "client,age\n" + "".join(f"{1000 + i},{20 + i % 9}\n" for i in range(40))
    customers.read_features(write(tmp_path, text))
    assert "--data.drop client" in capsys.readouterr().err
    customers.read_features(write(tmp_path, text), say=False)
    assert not capsys.readouterr().err


def test_what_is_needed_cannot_be_dropped_and_items_can(tmp_path):
    path = write(tmp_path, SHOP)
    with pytest.raises(ConfigError, match=r"data\.drop leaves out 'amount'"):
        customers.read_purchases(path, Reading(drop=("amount",)))
    assert (customers.read_purchases(path, Reading(drop=("items",)))[0].items == 1).all()


def test_without_a_purchase_in_the_past_nothing_can_be_grouped(tmp_path):
    text = "customer,date,amount\n" + "".join(f"{i % 9},2024-{1 + i % 12:02}-03,-{i + 1}\n" for i in range(40))
    with pytest.raises(DataError, match="holds no purchase before 2024-06"):
        door.load(door.Data(path=write(tmp_path, text)))


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
