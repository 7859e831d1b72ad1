"""Classification: the papers' presets have their sizes and take a step; splits are honest; a run reads image files."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from deeplearn import optimizer
from deeplearn.data.doors import images
from deeplearn.step import init, train_step
from deeplearn.trained import Trained
from experiments import classification

PAPERS = {
    "mnist-lenet": ((28, 28, 1), 10, 61_706),
    "cifar10-resnet18": ((32, 32, 3), 10, 11_173_962),
    "imagenet-alexnet": ((224, 224, 3), 1000, 61_100_840),
    "imagenet-resnet50": ((224, 224, 3), 1000, 25_557_032),
    "imagenet-vit-s16": ((224, 224, 3), 1000, 22_122_472),
}
"""Preset -> image, classes, parameters."""
SMALLER = {
    "mnist-lenet": ({}, (28, 28, 1)),
    "cifar10-resnet18": ({"width": 8}, (16, 16, 3)),
    "imagenet-alexnet": ({}, (64, 64, 3)),
    "imagenet-resnet50": ({"width": 8}, (32, 32, 3)),
    "imagenet-vit-s16": ({"width": 24, "depth": 1, "rep_size": 24}, (32, 32, 3)),
}
"""Preset -> what makes its model quick on a CPU, image."""


def pieces(config, image, classes):
    pixels = images.Pixels(shape=image, mean=(0.5,), std=(0.25,), classes=tuple(map(str, range(classes))))
    return classification.task(config, pixels), optimizer.make(config.optimizer, config.steps)


def a_batch(image, classes, size=2):
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.integers(0, 256, (size, *image)), jnp.uint8),
        "label": jnp.asarray(rng.integers(0, classes, size), jnp.int32),
        "mask": jnp.ones(size, jnp.float32),
        "index": jnp.arange(size, dtype=jnp.int32),
    }


def test_every_preset_of_a_paper_is_tried():
    assert set(classification.PRESETS) == set(PAPERS) | {"digits", "digits-10fold", "mnist5k", "mnist1d", "photos"}


@pytest.mark.parametrize("name", PAPERS)
def test_a_preset_has_the_papers_size_and_its_step_keeps_all_shapes(name):
    image, classes, size = PAPERS[name]
    task, rule = pieces(classification.PRESETS[name], image, classes)
    batch = a_batch(image, classes)
    before = jax.eval_shape(lambda batch: init(task, rule, 0, batch), batch)
    assert sum(leaf.size for leaf in jax.tree.leaves(before.params)) == size
    after, _ = jax.eval_shape(lambda state, batch: train_step(task, rule, state, batch, 0), before, batch)
    signature = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert signature(after) == signature(before)


@pytest.mark.parametrize(
    "name",  # the many convolutions of a ResNet compile for a quarter or half of a minute
    [pytest.param(name, marks=[pytest.mark.slow] * ("resnet" in name)) for name in SMALLER],
)
def test_one_step_of_a_preset_is_finite_and_moves_the_parameters(name):
    knobs, image = SMALLER[name]
    config = classification.PRESETS[name]
    plain = replace(config.augment, randaugment=0)  # test_augment.py compiles that
    config = replace(config, model=replace(config.model, **knobs), augment=plain)
    task, rule = pieces(config, image, 10)
    batch, rng = a_batch(image, 10), np.random.default_rng(0)
    shapes = jax.eval_shape(lambda batch: init(task, rule, 0, batch), batch)
    # Positive noise instead of the real start, which takes longer to compile than the step.
    noise = lambda s: jnp.asarray(rng.uniform(0.01, 0.1, s.shape) * (s.dtype == jnp.float32), s.dtype)  # noqa: E731
    before = jax.tree.map(noise, shapes)
    with jax.numpy_dtype_promotion("standard"):  # JAX's own lowering of a bfloat16 product promotes on CPU
        after, metrics = jax.jit(lambda state, batch: train_step(task, rule, state, batch, 0))(before, batch)
    assert np.isfinite(metrics["loss"].total)
    assert (int(after.step), int(after.skipped)) == (1, 0)
    assert not np.array_equal(before.params["head"]["kernel"], after.params["head"]["kernel"])


def test_choosing_never_sees_the_test_and_the_final_model_never_validates():
    config = classification.Config()
    splits = images.load(config.data, config.seed)
    chosen = classification.experiment(replace(config, choose=True))
    final = classification.experiment(config)
    assert set(chosen.evaluations) == {"validation"}
    assert set(final.evaluations) == {"test"}
    assert final.evaluations["test"].final
    assert chosen.train.size == len(splits.train.label)
    assert final.train.size == len(splits.train.label) + len(splits.validation.label)
    np.testing.assert_array_equal(final.evaluations["test"].source.columns["image"], splits.test.image)


def test_ten_seeds_of_shuffled_digits_test_every_image_once():
    config = classification.PRESETS["digits-10fold"]
    tests = [images.load(config.data, seed).test for seed in range(config.seeds)]
    tested = np.concatenate([part.image for part in tests]).reshape(-1, 64)
    everything = np.concatenate([part.image for part in images.load(images.Data(), 0)]).reshape(-1, 64)
    assert sorted(map(bytes, tested)) == sorted(map(bytes, everything))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An untrained model in a run folder, as `deeplearn predict` finds it."""
    config = classification.Config(model=classification.Model(width=4, depth=1))
    experiment = classification.experiment(config)
    batch = jax.tree.map(jnp.asarray, experiment.train.at(0))
    return Trained(
        config=config,
        folder=tmp_path_factory.mktemp("run"),
        variables=jax.jit(experiment.task.init)(jax.random.key(0), batch),
        fitted=experiment.fitted,
        task=experiment.task,
    )


def test_files_of_any_size_and_colour_are_predicted(trained, tmp_path):
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / name) for name in ("large.png", "grey.jpg")]
    Image.fromarray(rng.integers(0, 256, (50, 31, 3), np.uint8)).save(paths[0])
    Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(paths[1])
    rows = classification.apply(trained, paths)
    assert [row["image"] for row in rows] == paths
    assert all(row["label"] in list("0123456789") and 0 < row["probability"] <= 1 for row in rows)


def test_figures_are_drawn(trained):
    classification.figures(trained, trained.folder)
    assert (trained.folder / "figures" / "predictions.svg").read_text().startswith("<svg")
