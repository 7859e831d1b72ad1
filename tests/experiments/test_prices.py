"""Price prediction: metrics as scikit-learn's, splits that do not leak, the way from a CSV file to intervals."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from bookings import FLAGS, bookings

from deeplearn import catalog
from deeplearn.competitors import prices as competitors
from deeplearn.competitors.search import search
from deeplearn.data.doors import prices as door
from deeplearn.data.doors.prices import Data, Problem, copies, load, parts
from deeplearn.data.sets import rdatasets
from deeplearn.errors import DataError, DeeplearnError
from deeplearn.methods.conformal import calibrated, correction, judged, margin, widened
from deeplearn.metrics import Each
from deeplearn.optimizer import Optimizer
from deeplearn.trained import Trained, of_fit
from deeplearn.workspace import Workspace
from experiments import prices

TINY = dict(networks=2, members=2, width=8, depth=1, bins=4, steps=40, batch=32)


def test_metrics_equal_scikit_learn():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    true = rng.lognormal(12, 0.4, 500)
    price = true * rng.lognormal(0, 0.2, 500)
    found = prices.scored(Problem({}, true, None, None, "made up"), np.arange(500), price)
    expected = {
        "mae": metrics.mean_absolute_error(true, price),
        "rmse": metrics.root_mean_squared_error(true, price),
        "r2": metrics.r2_score(true, price),
        "mape": metrics.mean_absolute_percentage_error(true, price),
        "log_rmse": metrics.root_mean_squared_error(np.log(true), np.log(price)),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-6), name


@pytest.mark.parametrize(
    "data", [Data(), Data(windows=3), Data(honest=False), Data(name="ames", folds=5), Data(name="synthetic")]
)
def test_parts_are_disjoint_and_the_test_is_touched_once(data):
    problem = load(data)
    calibration, final = parts(problem, data)
    for part in [*calibration, final]:
        assert not np.intersect1d(part.train, part.held).size
    held = np.concatenate([part.held for part in calibration])
    if data.folds:
        assert np.array_equal(np.sort(held), np.arange(len(problem.price)))
    else:
        assert np.array_equal(np.sort(np.r_[calibration[-1].train, held]), np.sort(final.train))
        if data.honest:
            day = problem.dates
            for part, later in zip(calibration, [final, *calibration], strict=False):
                assert day[part.train].max() < day[part.held].min() <= day[part.held].max() < day[later.held].min()
            assert len(calibration) == data.windows and not copies(problem, final).any()


@pytest.mark.parametrize("data", [Data(), Data(honest=False)])
def test_held_prices_are_in_nothing_that_a_model_sees(data, monkeypatch):
    """Neither in what is fitted nor, as last year's price, in the columns of any row."""
    config, problem = prices.Config(data=data), load(data)
    _, part = parts(problem, data)
    before = prices.experiment_on(config, problem, part)
    raw = rdatasets.table("modeldata", "hotel_rates")
    raw["avg_price_per_room"][part.held] *= 10
    monkeypatch.setattr(rdatasets, "table", lambda *_: raw)
    after = prices.experiment_on(config, load(data), part)
    assert after.fitted == before.fitted
    own = [(one.train.columns, one.evaluations["held"].source.columns) for one in (before, after)]
    for old, new in zip(*own, strict=True):
        for name in ("number", "category", "unit"):
            np.testing.assert_array_equal(old[name], new[name])


def test_nothing_is_fitted_on_held_columns():
    problem = load(Data(name="synthetic"))
    _, part = parts(problem, Data(name="synthetic"))
    fitted = prices.fitted_on(prices.Config(), problem, part)
    problem.table["lead_days"][part.held] = 1e6
    assert prices.fitted_on(prices.Config(), problem, part) == fitted


def write(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["town,area,built,price", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A run on an own file, as `deeplearn train prices --data.path` does it, without the competitors."""
    folder, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    days = np.datetime64("2020-01-01") + np.arange(300).astype("m8[D]")
    rows = [
        f'"{rng.choice(["Ames, IA", "Faro"])}",{rng.integers(50, 200)},{day},{100 + i}' for i, day in enumerate(days)
    ]
    data = Data(path=write(folder / "rooms.csv", rows), date="built")
    config = prices.Config(data=data, **TINY)
    work = Workspace(recipe=catalog.load("prices"), folder=folder)
    return config, folder, prices.main(config, work)


def test_an_own_file_gives_metrics_and_figures(own):
    config, folder, results = own
    assert {"test/mae", "test/rmse", "test/r2", "test/mape", "test/coverage"} <= set(results)
    errors = results["test/absolute_error"]
    assert errors.values.mean() == pytest.approx(results["test/mae"], rel=1e-5)
    assert len(errors.groups) == len(errors.values)
    squared = results["test/log_error"].values ** 2
    assert np.sqrt(squared.mean()) == pytest.approx(results["test/log_rmse"], rel=1e-4)
    assert all(np.isfinite(value) for value in results.values() if not isinstance(value, Each))
    shown = json.loads((folder / "assets" / "held_out.json").read_text())
    assert len(shown["true"]) == 59  # a fifth of the days, the first of them left to the past
    prices.figures(of_fit(catalog.load("prices"), config, folder), folder)
    assert {path.name for path in (folder / "figures").glob("*.svg")} == {"prices.svg", "year.svg", "importance.svg"}


def test_new_rows_get_a_price_and_an_interval(own, capsys):
    config, folder, _ = own
    trained = of_fit(catalog.load("prices"), config, folder)
    new = folder / "new.csv"
    new.write_text("built,remark,area,town\n2021-02-03,1,80,Nowhere\n,none of ours,,Faro\n")
    rows = prices.apply(trained, [str(new)])
    assert [row["row"] for row in rows] == [1, 2]
    assert all(0 <= row["low"] <= row["price"] <= row["high"] for row in rows)
    assert "town: 1 of 2 rows hold values not known from training ('Nowhere')" in capsys.readouterr().err
    for text, message in (
        ("built,aera,town\n2021-02-03,80,Faro\n", "no column 'area'; did you mean 'aera'"),
        ("built,area,town\n2021-02-03,big,Faro\n", "line 2: 'big' in column 'area'"),
        ("built,area,town\n", "holds no rows"),
    ):
        new.write_text(text)
        assert message in prices.apply(trained, [str(new)])[0]["error"]


@pytest.fixture(scope="module")
def hotel(tmp_path_factory):
    """A run on bookings with rates of zero and below and a test file of the user's own, as `--data....` flags say."""
    folder = tmp_path_factory.mktemp("hotel")
    path, test = bookings(folder / "train.csv"), bookings(folder / "test.csv", 100, seed=1)
    config = prices.Config(data=Data(path=path, test=test, windows=1, **FLAGS), **TINY | dict(networks=1))
    return config, folder, prices.main(config, Workspace(recipe=catalog.load("prices"), folder=folder))


def test_rates_of_any_sign_are_learnt_and_judged_in_their_own_unit(hotel):
    config, folder, results = hotel
    assert "test/mape" not in results and "test/log_rmse" not in results and np.isfinite(results["test/coverage"])
    assert len(results["test/absolute_error"].values) == 100
    trained = of_fit(catalog.load("prices"), config, folder)
    assert trained.fitted.scale.knee and trained.fitted.schema.joined.keys() == {"arrival"}
    rows = prices.apply(trained, [str(config.data.test)])
    assert np.mean([row["price"] for row in rows]) == pytest.approx(90, abs=60)
    assert "arrival_date_month" not in trained.asset("importance.json")


def test_intervals_that_are_promised_are_made_by_models_that_have_not_seen_their_rows(tmp_path):
    """Without dates: those of the calibration model, widened as its own errors on rows it has not seen ask for."""
    rng = np.random.default_rng(1)
    rows = [f"Faro,{area},,{area * rng.uniform(0.8, 1.2):.2f}" for area in rng.integers(50, 200, 300)]
    config = prices.Config(data=Data(path=write(tmp_path / "rooms.csv", rows)), **TINY)
    work = Workspace(recipe=catalog.load("prices"), folder=tmp_path / "run")
    prices.main(config, work)
    trained, before = (of_fit(work.recipe, config, tmp_path / "run" / part) for part in ("", "calibration-0"))
    found = prices.apply(trained, [str(config.data.path)])
    own = prices.prices(before, load(config.data, say=False).table)
    (scores,) = trained.asset("conformal.json")["scores"]
    low, high = widened(own[:, 1], own[:, 2], margin(np.array(scores), 0.9))
    typical = prices.prices(trained, load(config.data, say=False).table)[:, 0]
    np.testing.assert_allclose([row["low"] for row in found], np.maximum(np.minimum(low, typical), 0), rtol=1e-5)
    np.testing.assert_allclose([row["high"] for row in found], np.maximum(high, typical), rtol=1e-5)


def timely(path: Path, late: float = 1.0) -> Path:
    """250 rooms on 250 days; the prices of the last fifth, which are tested, are `late` times as high."""
    rng, first = np.random.default_rng(2), np.datetime64("2020-01-01")
    area, noise = rng.integers(50, 200, 250), rng.uniform(0.9, 1.1, 250)
    price = area * noise * np.where(np.arange(250) > 200, late, 1)
    days = first + np.arange(250).astype("m8[D]")
    return write(path, [f"Faro,{area[i]},{days[i]},{price[i]:.2f}" for i in range(250)])


def steps_of(tmp_path: Path, config: prices.Config) -> tuple[list[int], Trained]:
    """For how many steps the calibration models and the last one have learnt, and that one."""
    work = Workspace(recipe=catalog.load("prices"), folder=tmp_path)
    prices.main(config, work)
    folders = [*sorted(tmp_path.glob("calibration-*")), tmp_path]
    models = [of_fit(work.recipe, config, folder) for folder in folders]
    return [model.step for model in models], models[-1]


def test_calibration_rows_say_how_long_to_learn_and_tested_rows_do_not(tmp_path):
    # A rate this high makes some steps much worse than others, and the last is not the best everywhere.
    knobs = TINY | dict(networks=1, steps=72, patience=3, optimizer=Optimizer(rate=0.3, schedule="constant"))
    config = prices.Config(data=Data(path=timely(tmp_path / "rooms.csv"), date="built"), **knobs)
    steps, model = steps_of(tmp_path / "run", config)
    for i, step in enumerate(steps[:2]):
        log = (tmp_path / "run" / f"calibration-{i}" / "metrics.jsonl").read_text().splitlines()
        losses = {line["step"]: line["valid/loss"] for line in map(json.loads, log) if "valid/loss" in line}
        assert step == min(losses, key=lambda s: (losses[s], s))
        assert len(losses) == min(list(losses).index(step) + 1 + 3, prices.LOOKS)
    calibration, final = parts(load(config.data, say=False), config.data)
    assert steps[2] == door.as_long(steps[:2], calibration, final, 72) and min(steps) < 72
    dear = dataclasses.replace(config, data=Data(path=timely(tmp_path / "dear.csv", 9.0), date="built"))
    again, other = steps_of(tmp_path / "dear", dear)
    assert again == steps
    same = jax.tree.map(np.array_equal, model.variables, other.variables)
    assert jax.tree.all(same)


def test_as_many_epochs_as_were_best_on_average():
    rows = [np.arange(100), np.arange(50), np.arange(200)]
    learnt, last = [door.Part(own, own[:0]) for own in rows[:2]], door.Part(rows[2], rows[2][:0])
    assert door.as_long([10, 15], learnt, last, 1000) == 40  # 0.1 and 0.3 steps a row
    assert door.as_long([10, 15], learnt, last, 30) == 30
    assert door.as_long([1], [door.Part(np.arange(900), rows[0])], learnt[1], 30) == 1


def test_each_fold_is_tested_by_a_model_that_has_not_seen_it_and_the_last_model_on_nothing(tmp_path):
    rng = np.random.default_rng(1)
    rows = [f"Faro,{area},,{area * rng.uniform(0.8, 1.2):.2f}" for area in rng.integers(50, 200, 120)]
    config = prices.Config(data=Data(path=write(tmp_path / "rooms.csv", rows), folds=2), **TINY | dict(networks=1))
    work = Workspace(recipe=catalog.load("prices"), folder=tmp_path / "run")
    results = prices.main(config, work)
    assert len(results["test/absolute_error"].values) == 120
    assert np.isfinite(results["test/coverage"])
    assert len(prices.apply(of_fit(work.recipe, config, work.folder), [str(config.data.path)])) == 120
    folds = [of_fit(work.recipe, config, work.folder / f"calibration-{i}").step for i in range(2)]
    assert folds == [config.steps] * 2  # What is tested does not say how long to learn.


def test_a_reference_that_is_not_positive_is_refused_with_its_line_also_in_prediction(tmp_path):
    rows = [f"Faro,{50 + i % 70},,{100 + i}" for i in range(100)]
    config = prices.Config(data=Data(path=write(tmp_path / "rooms.csv", rows), reference="area"), **TINY)
    problem = load(config.data)
    fitted = prices.fitted_on(config, problem, parts(problem, config.data)[1])
    task = prices.task(config, fitted)
    batch = {name: values[:2] for name, values in fitted.features(problem.table).items()}
    variables = task.init(jax.random.key(0), batch)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "conformal.json").write_text('{"margin": null, "scores": []}')
    trained = Trained(config=config, folder=tmp_path, variables=variables, fitted=fitted, task=task)
    new = tmp_path / "new.csv"
    new.write_text("area\n60\n")
    assert np.isnan(prices.apply(trained, [str(new)])[0]["low"])
    for area in ("0", "-80", ""):
        new.write_text(f"town,area\nFaro,60\nFaro,{area}\n")
        assert "new.csv, line 3 has" in prices.apply(trained, [str(new)])[0]["error"]


def test_too_few_rows_to_calibrate_on_give_prices_without_intervals(capsys):
    assert correction([np.arange(4.0), np.arange(5.0)], 0.9) == 4
    assert correction([np.arange(8.0)], 0.9) is None
    assert "8 calibration rows cannot promise a coverage of 90%, 9 could" in capsys.readouterr().err
    band = calibrated(np.array([[100.0, 90, 110]] * 3), None, 5.0)
    assert judged(np.full(3, 100.0), band) == {}
    problem = Problem({}, np.full(3, 100.0), None, None, "made up")
    assert json.loads(json.dumps(door.shown(problem, np.arange(3), band), allow_nan=False)).keys() == {
        "true",
        "price",
    }


@pytest.mark.parametrize(
    ("data", "last", "message"),
    [
        (dict(target="prise"), "1", "no column 'prise'; did you mean 'price'"),
        (dict(date="town"), "1", "'Faro' in column 'town' is no date"),
        (dict(), "", "line 3 has no 'price'"),
        (dict(), "1", "has 2 rows"),
    ],
)
def test_own_files_with_mistakes(tmp_path, data, last, message):
    path = write(tmp_path / "rooms.csv", ["Faro,80,2020-01-01,90", "Faro,80,2020-01-01," + last])
    with pytest.raises(DataError, match=message):
        load(Data(path=path, **data))


@pytest.mark.parametrize(
    ("data", "price", "area", "message"),
    [
        (dict(), lambda i: 100, 80, "the same 'price' in all"),
        (dict(date="built"), lambda i: 100 + i, 80, "too few days"),
        (dict(folds=1), lambda i: 100 + i, 80, "data.folds is 1"),
        (dict(windows=0), lambda i: 100 + i, 80, "data.windows is 0"),
        (dict(folds=99), lambda i: 100 + i, 80, "data.folds is 99"),
        (dict(reference="price"), lambda i: 100 + i, 80, "data.reference is the column to predict"),
        (dict(), lambda i: "1e400" if i == 3 else 100 + i, 80, "line 5: '1e400' in column 'price'"),
        (dict(), lambda i: 100 + i, "1e300", "line 2: '1e300' in column 'area'"),
    ],
)
def test_own_files_that_nothing_can_be_learnt_from(tmp_path, data, price, area, message):
    rows = [f"Faro,{area if i == 0 else 70 + i % 3},2020-01-0{1 + i // 40},{price(i)}" for i in range(60)]
    data = Data(path=write(tmp_path / "rooms.csv", rows), **data)
    with pytest.raises(DeeplearnError, match=message):
        parts(load(data), data)


def test_competitors_learn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(competitors, "search", partial(search, settings=2))
    rng = np.random.default_rng(0)
    area = rng.uniform(50, 200, 300)
    path = write(tmp_path / "rooms.csv", [f"Faro,{a:.2f},,{2 * a:.2f}" for a in area])
    found = prices.baseline(prices.Config(data=Data(path=path)))
    said = capsys.readouterr().err
    assert {"HistGradientBoosting", "RBF-SVR", "ridge"} <= set(found)
    for name, results in found.items():
        assert results["test/r2"] > 0.9, name
        assert f"{name}: the best of 2 settings on the inner split" in said


@pytest.mark.parametrize(("log", "low"), [(False, None), (True, None), (True, -3.0), (True, -300.0)])
@pytest.mark.parametrize("reference", [None, "lead_days"])
def test_the_scale_leads_back_to_the_price(log, low, reference):
    problem = load(Data(name="synthetic"))
    if low is not None:  # a few are paid back, or half of them
        few = np.arange(len(problem.price)) % (2 if low < -9 else 50) == 0
        problem = problem._replace(price=np.where(few, low, problem.price))
    table = problem.table | {"lead_days": problem.table["lead_days"] + 1}
    problem = problem._replace(table=table, reference=reference)
    _, part = parts(problem, Data(name="synthetic"))
    scale = prices.fitted_on(prices.Config(log=log), problem, part).scale
    unit = scale.units(table)
    target = scale.from_price(problem.price, unit)
    assert abs(target[part.train].mean()) < 1e-6 and target[part.train].std() == pytest.approx(1)
    np.testing.assert_allclose(scale.to_price(np.float32(target), np.float32(unit)), problem.price, rtol=1e-4)
