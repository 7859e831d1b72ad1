"""Clustering of a user's own files: groups by forecasts, what they must not see, prediction, mistakes."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deeplearn import catalog, train
from deeplearn.data import customers
from deeplearn.data.doors.customers import Data, load
from deeplearn.errors import ConfigError, DataError
from deeplearn.trained import load as load_trained
from deeplearn.workspace import Workspace

recipe = catalog.load("clustering")
DAYS = 240
SMALL = {"batch": 64, "log_every": 100, "mesh": "data=1"}


def shop(path: Path, count: int = 120, *, future: float = 1.0) -> Path:
    """Regulars, who buy every ten days, and passers-by, who bought once; `future` changes the second half's amounts."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        first = int(rng.integers(0, 50))
        days = np.arange(first, DAYS, 10) if i % 4 == 0 else [first]
        for day in days:
            amount = rng.uniform(5, 50) * (future if day >= DAYS // 2 else 1.0)
            rows.append((f"c{i}", np.datetime64("2024-01-01") + np.timedelta64(int(day), "D"), f"{amount:.2f}"))
    rows.append(("last", np.datetime64("2024-01-01") + np.timedelta64(DAYS - 1, "D"), "1.00"))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("customer", "date", "amount"), *rows])
    return path


def table(path: Path, count: int = 90) -> Path:
    """Three kinds of customers in two numbers."""
    rng = np.random.default_rng(0)
    kind = np.arange(count) % 3
    values = np.array([[0, 0], [9, 0], [0, 9]])[kind] + rng.normal(size=(count, 2))
    rows = [(f"c{i}", *own.round(3)) for i, own in enumerate(values)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("customer", "visits", "returns"), *rows])
    return path


def finished(config, folder: Path) -> tuple[Path, dict]:
    folder = train.train(replace(recipe, baseline=None), replace(config, workdir=folder, **SMALL))
    return folder, json.loads((folder / "result.json").read_text())["metrics"]


def test_regulars_are_told_from_passers_by(tmp_path):
    path = shop(tmp_path / "shop.csv")
    config = recipe.Config(data=Data(path=path), clusters=2, steps=200, members=4, repeats=1)
    folder, metrics = finished(config, tmp_path / "run")
    assert metrics["groups/stability"] == pytest.approx(1)
    assert metrics["later/separation"] > 0.8
    assert (folder / "figures" / "map.svg").is_file() and (folder / "figures" / "profiles.svg").is_file()
    rows = recipe.apply(load_trained(folder), [str(path)])
    group = {row["customer"]: row["group"] for row in rows}
    # In the window that ends with the file, nobody but regulars (and the last) still buys; the best group is number 0.
    assert {name for name, own in group.items() if own == 0} >= {f"c{i}" for i in range(0, 120, 4)}
    assert all(0.5 <= row["probability"] <= 1 for row in rows)


def test_nothing_after_the_middle_is_learnt_from(tmp_path):
    one, other = (load(Data(path=shop(tmp_path / f"{f}.csv", future=f))) for f in (1.0, 100.0))
    assert not np.allclose(one.later, other.later)
    np.testing.assert_array_equal(one.image, other.image)
    for name in ("known", "before", "after"):
        np.testing.assert_array_equal(getattr(one.lesson, name), getattr(other.lesson, name))


def test_the_lesson_is_the_first_half_and_what_followed(tmp_path):
    path = shop(tmp_path / "shop.csv")
    examples, (purchases, _) = load(Data(path=path)), customers.read_purchases(path)
    start, cut, _ = customers.halves(purchases)
    middle = start + (cut - start) // 2
    past = purchases.between(start, cut)
    past = past.of(customers.known(past))
    early = past.between(start, middle)
    known = customers.known(early)
    assert examples.lesson.known.sum() == len(known)
    values = customers.describe(early.of(known), middle)
    values[:, 1:3] *= 2  # days, of a period half as long
    expected = customers.scaled(examples.scaling, values)
    np.testing.assert_allclose(examples.lesson.before[known, :, 0, 0], expected, rtol=1e-5)
    spend = np.log1p(past.between(middle, cut).spend()[known])
    found = examples.lesson.after[known, 1]
    np.testing.assert_allclose(found, (spend - spend.mean()) / spend.std(), atol=1e-5)


def test_a_table_of_numbers_needs_a_method_without_dates(tmp_path):
    path = table(tmp_path / "table.csv")
    with pytest.raises(ConfigError, match=r"no dates.*--preset idec"):
        recipe.experiment(recipe.Config(data=Data(path=path)))
    config = recipe.Config(data=Data(path=path), method="idec", clusters=3, pretrain=60, steps=30, repeats=0)
    folder, _ = finished(config, tmp_path / "run")
    rows = recipe.apply(load_trained(folder), [str(path)])
    assert [row["customer"] for row in rows] == [f"c{i}" for i in range(90)]
    kinds = [{row["group"] for row in rows[kind::3]} for kind in range(3)]
    assert all(len(kind) == 1 for kind in kinds) and len(set.union(*kinds)) == 3
    (row,) = recipe.apply(load_trained(folder), [str(shop(tmp_path / "shop.csv"))])
    assert "no column 'visits'" in row["error"]


def test_what_cannot_be_grouped_is_refused(tmp_path):
    few = recipe.Config(data=Data(path=table(tmp_path / "few.csv", count=15)), method="idec")
    with pytest.raises(DataError, match=r"few\.csv has 15 examples, too few to look for 8 groups"):
        recipe.main(few, Workspace(recipe=recipe, folder=tmp_path))
    path = tmp_path / "once.csv"
    rows = [f"c{i},2024-{1 + i // 28 * 6:02}-{1 + i % 28:02},5" for i in range(56)]  # nobody comes back
    path.write_text("\n".join(["customer,date,amount", *rows]))
    with pytest.raises(ConfigError, match="no dates on which customers came back"):
        recipe.experiment(recipe.Config(data=Data(path=path)))
