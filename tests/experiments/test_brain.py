"""Brains and networks, small: own patterns are decoded and predicted, layers are compared and mapped."""

from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from deeplearn import catalog
from deeplearn.data.doors.responses import Data
from deeplearn.data.sets.images92 import Alike
from deeplearn.errors import DataError
from deeplearn.methods import rsa
from deeplearn.models.activations import Network
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace
from experiments import brain

recipe: Any = catalog.load("brain")
CONFIG = brain.Config(draws=10, splits=1, side=2)


class Tiny(nn.Module):
    """Two layers."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Conv(4, (3, 3), name="first")(x))
        return nn.relu(nn.Conv(6, (3, 3), 2, name="second")(x))


@pytest.fixture
def tiny(monkeypatch):
    variables = Tiny().init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32), train=False)
    network = Network(module=Tiny(), variables=variables, shape=(8, 8, 3), mean=0.5, std=0.25)
    monkeypatch.setitem(recipe.main.__globals__, "network", lambda config: network)
    return network


def ran(config, folder):
    results = recipe.main(config, Workspace(recipe=recipe, folder=folder))
    return results, Trained(config=config, folder=folder, variables={"params": {}})


def test_own_patterns_are_decoded_and_new_ones_predicted(tmp_path):
    rng, conditions = np.random.default_rng(0), np.tile(np.repeat(["cat", "dog", "rest"], 4), 3)
    means = {"cat": rng.normal(size=6), "dog": rng.normal(size=6), "rest": np.zeros(6)}
    values = 9 * np.stack([means[name] for name in conditions]) + rng.normal(size=(36, 6))
    path = tmp_path / "own.npz"
    np.savez(path, responses=values, runs=np.repeat(np.arange(3), 12), conditions=conditions)
    config = replace(CONFIG, data=Data(path=path), draws=200)
    results, trained = ran(config, tmp_path)
    assert results["test/accuracy"] == 1 and results["test/shuffled"] < 0.9
    np.testing.assert_array_equal(results["test/confusion"].values, 3 * np.eye(2))
    assert recipe.baseline(config)["linear SVM"]["test/accuracy"] == 1
    np.save(tmp_path / "new.npy", 9 * np.stack([means["dog"], means["cat"]]))
    rows = recipe.apply(trained, [str(tmp_path / "new.npy")])
    assert [row["condition"] for row in rows] == ["dog", "cat"]
    np.save(tmp_path / "odd.npy", np.zeros((1, 5)))
    (row,) = recipe.apply(trained, [str(tmp_path / "odd.npy")])
    assert "5 voxels; this run decodes 6" in row["error"]
    recipe.figures(trained, tmp_path)
    np.savez(path, responses=values[:-4], runs=np.repeat(np.arange(3), 12)[:-4], conditions=conditions[:-4])
    with pytest.raises(DataError, match="run 2 has no measurement of rest"):
        ran(config, tmp_path / "other")


def test_a_brain_that_is_a_layer_is_found_by_it(tmp_path, tiny, monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 8, 8, 3)).astype(np.uint8)
    features = recipe.main.__globals__["activations"].features(tiny, images, 2)
    true = rsa.correlation_distance(features["second"].reshape(24, -1).astype(float))
    rdms = rsa.square(true + 0.3 * rng.normal(size=(3, len(true))) * true.std())
    made = Alike(name="made", images=images, rdms=rdms, models={"nothing": rsa.square(rng.random(len(true)))})
    monkeypatch.setitem(recipe.main.__globals__, "load", lambda data: made)
    config = replace(CONFIG, data=Data(name="images92"))
    results, trained = ran(config, tmp_path)
    assert trained.asset("alike.json")["chosen"] == "second"
    assert results["rsa/spearman"] > 0.8 and results["rsa/new_stimuli"] > 0.7 and results["rsa/ceiling_p"] < 0.1
    assert results["rsa/spearman_low"] < results["rsa/spearman"] and results["rsa/tau_a"] > 0.5
    rows = recipe.baseline(config)
    for measure in ("rsa/spearman", "rsa/tau_a", "rsa/cosine"):
        assert rows["the other subjects"][measure] < rows["all subjects"][measure]
    assert abs(rows["nothing"]["rsa/spearman"]) < 0.3
    recipe.figures(trained, tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"layers.svg", "matrices.svg"}


def test_voxels_that_saw_own_images_are_mapped_and_people_compared(tmp_path, tiny):
    rng = np.random.default_rng(0)
    images = np.tile(rng.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8), (2, 1, 1, 1))
    features = recipe.main.__globals__["activations"].features(tiny, images, 2)
    values = features["first"].reshape(120, -1) @ rng.normal(size=(16, 5))
    columns = {"runs": np.arange(120) % 3, "subjects": np.repeat(["one", "two"], 60), "stimuli": images}
    np.savez(tmp_path / "own.npz", responses=values, **columns)
    config = replace(CONFIG, data=Data(path=tmp_path / "own.npz"))
    results, trained = ran(config, tmp_path)
    found = trained.asset("map.json")
    assert np.argmax(found["scores"], axis=0).tolist() == [0] * 10 and found["region"] == ["one"] * 5 + ["two"] * 5
    assert results["encoding/r2"] > 0.95 and results["encoding/banded_r2"] > 0.9 and results["rsa/spearman"] > 0.3
    rows = recipe.baseline(config)
    assert rows["pixels"]["encoding/r2"] < 0.9 and rows["all subjects"]["rsa/spearman"] == pytest.approx(1)
    recipe.figures(trained, tmp_path)


def test_subjects_are_decoded_one_by_one_and_held_against_each_other(tmp_path):
    rng, conditions = np.random.default_rng(0), np.tile(["cat", "dog", "cow", "rest"], 24)
    means = {name: rng.normal(size=6) * (name != "rest") for name in ("cat", "dog", "cow", "rest")}
    values = 9 * np.stack([means[name] for name in conditions]) + rng.normal(size=(96, 6))
    columns = {"runs": np.repeat(np.arange(8), 12) % 4, "subjects": np.repeat(["anna", "bert"], 48)}
    np.savez(tmp_path / "own.npz", responses=values, conditions=conditions, **columns)
    results, trained = ran(replace(CONFIG, data=Data(path=tmp_path / "own.npz")), tmp_path)
    assert results["test/accuracy"] == 1 and results["rdm/ceiling_low"] > 0
    np.testing.assert_array_equal(results["test/confusion"].values, 8 * np.eye(3))
    np.save(tmp_path / "new.npy", 9 * means["dog"][None])
    rows = recipe.apply(trained, [str(tmp_path / "new.npy")])
    assert [(row["subject"], row["condition"]) for row in rows] == [("anna", "dog"), ("bert", "dog")]
    recipe.figures(trained, tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"distances-anna.svg", "distances-bert.svg"}
