"""From a run folder back to the model; and the two ways an own experiment leaves one: a fit, or a `main`."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from deeplearn import catalog, train
from deeplearn.cli import main
from deeplearn.errors import ConfigError, UsageError
from deeplearn.trained import load

FITTED = '''"""Points, shifted by their mean."""
from dataclasses import dataclass
from pathlib import Path
import jax.numpy as jnp
import numpy as np
from toy import Net, columns, objective
from deeplearn.data.source import Arrays
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.optimizer import make
from deeplearn.task import linen


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    points: Path = Path("points.npy")
    steps: int = 4


@dataclass(frozen=True, kw_only=True)
class Fitted:
    mean: tuple[float, ...]


def task(config, fitted):
    mean = jnp.array([fitted.mean], jnp.float32)
    return linen(Net(), objective, inputs=lambda batch: (batch["x"] - mean,))


def experiment(config, fitted=None):
    data = {"x": np.load(config.points), "label": columns(64)["label"]}
    fitted = fitted or Fitted(mean=tuple(data["x"].mean(0).tolist()))
    test = Arrays(columns=data, batch=32)
    return Experiment(
        task=task(config, fitted),
        fitted=fitted,
        optimizer=make(config.optimizer, config.steps),
        train=Arrays(columns=data, batch=32, seed=config.seed),
        evaluations={"test": Evaluation(source=test)},
    )
'''
NOTHING = '''"""The sum of numbers, which needs no training."""
from dataclasses import dataclass
import numpy as np
from deeplearn.experiment import Run


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    to: int = 4


def main(config, work):
    numbers = np.arange(config.to)
    work.data("numbers", {"number": numbers})
    work.keep({"sum.json": {"sum": int(numbers.sum())}})
    return {"test/sum": float(numbers.sum())}


def baseline(config):
    return {"always zero": {"test/sum": 0.0}}


def apply(trained, inputs):
    return [{"input": text, "sum": trained.asset("sum.json")["sum"] + int(text)} for text in inputs]
'''


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def own(folder, code):
    (folder / "own.py").write_text(code)
    return catalog.load(str(folder / "own.py"))


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """(recipe, config, folder) of a run on a file of points."""
    here = tmp_path_factory.mktemp("points")
    recipe = own(here, FITTED)
    rng = np.random.default_rng(0)
    np.save(here / "points.npy", rng.normal(3, 1, (64, 8)).astype(np.float32))
    config = recipe.Config(points=here / "points.npy", workdir=here / "run", mesh="data=1")
    return recipe, config, train.train(recipe, config)


def test_prediction_uses_what_was_fitted_in_training(points):
    _, config, folder = points
    trained = load(folder, trust=True)
    stored = json.loads((folder / "fit.json").read_text())["fitted"]
    assert list(trained.fitted.mean) == stored["mean"]
    x = np.load(config.points)[:5]
    assert trained.predict({"x": x}).shape == (5, 2)


def test_a_run_that_was_moved_goes_on_further_on_other_devices(points, tmp_path, monkeypatch):
    """`resume` retypes nothing; how many devices there are is the machine's affair."""
    _, _, folder = points
    moved = shutil.copytree(folder, tmp_path / "moved")
    monkeypatch.setattr("deeplearn.verbs.resume.before_jax", lambda folder: None)  # JAX has long begun
    main(["resume", str(moved), "--steps", "6", "--mesh", "data=2", "--trust"])
    assert load(moved, trust=True).step == 6
    told = json.loads((moved / "config.json").read_text())
    assert (told["config"]["steps"], told["config"]["mesh"]) == (6, "data=2")


def test_a_finished_run_is_left_as_it_is_and_does_not_shrink(points, monkeypatch, capsys):
    _, _, folder = points
    monkeypatch.setattr("deeplearn.verbs.resume.before_jax", lambda folder: None)
    before = contents(folder)
    assert main(["resume", str(folder), "--trust"]) == 0
    assert "is finished" in capsys.readouterr().err
    assert main(["resume", str(folder), "--steps", "2", "--trust"]) == 2
    assert "a run of 4 steps: --steps can only grow" in capsys.readouterr().err
    assert contents(folder) == before


def test_other_data_are_told_and_change_nothing(points):
    _, config, folder = points
    before, whole = contents(folder), np.load(config.points)
    same = train.evaluate_again(folder, trust=True)
    np.save(config.points, whole + 10)
    try:
        with pytest.raises(ConfigError, match=r"other data: train was 64 examples.*--other-data"):
            train.evaluate_again(folder, trust=True)
        other = train.evaluate_again(folder, other_data=True, trust=True)
    finally:
        np.save(config.points, whole)
    assert other["test/loss"] != pytest.approx(same["test/loss"])  # The mean is still that of the training.
    assert contents(folder) == before


def test_going_on_with_other_data_is_refused(points):
    recipe, config, _ = points
    whole = np.load(config.points)
    np.save(config.points, whole[::-1])
    try:
        with pytest.raises(ConfigError, match="was made with other data"):
            train.train(recipe, replace(config, steps=8))
    finally:
        np.save(config.points, whole)


def test_more_seeds_in_a_folder_of_one_never_predict_with_the_old_model(points, tmp_path):
    recipe, config, _ = points
    one = replace(config, workdir=tmp_path / "run", together=False)
    train.train(recipe, one)
    train.train(recipe, replace(one, seeds=2, steps=8))
    trained = load(tmp_path / "run", trust=True)
    assert trained.folder == tmp_path / "run" / "seed-0"


def test_an_unfinished_run_has_no_model(points, tmp_path):
    _, _, folder = points
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "experiment.py").write_text((folder / "experiment.py").read_text())
    (tmp_path / "seal.json").write_text('{"files": null}')  # as a training that is at work leaves it
    with pytest.raises(UsageError, match="no model yet"):
        load(tmp_path, trust=True)


def test_a_run_that_trains_nothing_is_a_whole_run(tmp_path):
    recipe = own(tmp_path, NOTHING)
    folder = train.train(recipe, recipe.Config(workdir=tmp_path / "run"))
    result = json.loads((folder / "result.json").read_text())
    assert result["metrics"] == {"test/sum": 6} and result["baseline"]["always zero"]["test/sum"] == 0
    assert (result["steps"], result["parameters"]) == (0, 0)
    before = contents(folder)
    assert train.evaluate_again(folder, trust=True) == {"test/sum": 6}
    assert recipe.apply(load(folder, trust=True), ["1"]) == [{"input": "1", "sum": 7}]
    assert contents(folder) == before


def test_a_start_that_fails_leaves_no_knobs_behind(tmp_path):
    recipe = own(tmp_path, NOTHING.replace("np.arange(config.to)", "missing(config)") + FAILING)
    config = recipe.Config(workdir=tmp_path / "run")
    with pytest.raises(UsageError):
        train.train(recipe, config)
    with pytest.raises(UsageError):  # and not ConfigError: the corrected knobs are not compared with the wrong ones
        train.train(recipe, replace(config, to=5))


FAILING = """
from deeplearn.errors import UsageError


def missing(config):
    raise UsageError("there is no such file; give another")
"""
