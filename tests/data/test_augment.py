"""Augmentation is deterministic for an example, changes nothing at strength zero, and never lets padding in."""

import math
from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from deeplearn.data.augment import (
    Augment,
    affine,
    augmentation,
    crop,
    mixed,
    operations,
    resample,
    rotation,
    smooth_noise,
    views,
)

EVERYTHING = {
    "shift": 0.1, "rotate": 20.0, "scale": 0.2, "shear": 0.2, "elastic": 0.05, "flip": True, "crop": 2, "area": 0.3,
    "randaugment": 1, "brightness": 0.3, "contrast": 0.3, "noise": 0.1, "cutout": 0.4,
}  # fmt: skip
"""Every knob that changes one image at a time."""


def a_batch(size=6, shape=(8, 10, 3), seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": jnp.asarray(rng.uniform(0.1, 1, (size, *shape)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, 5, size), jnp.int32),
        "mask": jnp.ones(size, jnp.float32),
        "index": jnp.asarray(rng.permutation(100)[:size], jnp.int32),
    }


def test_every_knob_is_tried():
    rest = {"fill", "magnitude", "mixup", "cutmix"}
    assert set(asdict(Augment())) == set(EVERYTHING) | rest


def test_nothing_asked_for_nothing_changed():
    batch = a_batch()
    out = augmentation(Augment(), 5)(jax.random.key(0), batch)
    assert set(out) == set(batch)
    for name in batch:
        np.testing.assert_array_equal(out[name], batch[name])


@pytest.mark.parametrize("knob", EVERYTHING)
def test_each_knob_changes_images_by_the_example_alone(knob):
    batch = a_batch()
    order = np.array([3, 0, 5, 1, 2, 4])
    augment = jax.jit(augmentation(replace(Augment(), **{knob: EVERYTHING[knob]}), 5))
    out = augment(jax.random.key(0), batch)["image"]
    moved = augment(jax.random.key(0), {name: column[order] for name, column in batch.items()})["image"]
    assert out.shape == batch["image"].shape
    assert out.dtype == jnp.float32
    assert not np.allclose(out, batch["image"])
    np.testing.assert_allclose(moved, out[order], atol=1e-6)
    if knob not in ("brightness", "contrast", "noise"):
        assert out.min() >= 0 and out.max() <= 1 + 1e-6


def test_all_at_once_on_signals():
    knobs = Augment(shift=0.2, scale=0.2, elastic=0.02, noise=0.1, fill="wrap")
    batch = a_batch(shape=(40, 1, 1))
    augment = jax.jit(augmentation(knobs, 5))
    out = augment(jax.random.key(0), batch)["image"]
    assert out.shape == (6, 40, 1, 1)
    assert not np.allclose(out, augment(jax.random.key(1), batch)["image"])


@pytest.mark.parametrize("fill", ["constant", "nearest", "wrap"])
def test_affine_resampling_is_scipys(fill):
    image = a_batch(shape=(9, 12, 1))["image"][0]
    matrix, offset = rotation(jnp.float32(0.4)) * jnp.array([[1.2, 0.9]]), jnp.array([1.5, -2.25])
    ours = resample(image, affine(image, matrix, offset), fill)[..., 0]
    centre = np.array([4.0, 5.5])
    start = centre + np.asarray(offset) - np.asarray(matrix) @ centre
    mode = {"constant": "grid-constant", "nearest": "nearest", "wrap": "grid-wrap"}[fill]
    expected = ndimage.affine_transform(np.asarray(image[..., 0]), np.asarray(matrix), start, order=1, mode=mode)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@jax.jit
def all_operations(image, level):
    return {name: jnp.clip(change(), 0, 1) for name, change in operations(image, level).items()}


@pytest.mark.parametrize("level", [0.0, 0.3, -0.5, 0.9, 1.0])
def test_tones_are_changed_as_pil_does(level):
    picture = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    pil, factor, size = Image.fromarray(picture), 1 + 0.9 * level, abs(level)
    wanted = {
        "identity": pil,
        "autocontrast": ImageOps.autocontrast(pil),
        "posterise": ImageOps.posterize(pil, 8 - round(4 * size)),
        "sharpness": ImageEnhance.Sharpness(pil).enhance(factor),
        "solarise": ImageOps.solarize(pil, math.ceil(255 * (1 - size))),
        "colour": ImageEnhance.Color(pil).enhance(factor),
        "contrast": ImageEnhance.Contrast(pil).enhance(factor),
        "brightness": ImageEnhance.Brightness(pil).enhance(factor),
    }
    found = all_operations(jnp.asarray(picture, jnp.float32) / 255, jnp.float32(level))
    for name, image in wanted.items():
        # PIL rounds to whole bytes, and twice where it blends.
        exact = name in ("identity", "posterise", "solarise")
        np.testing.assert_allclose(255 * found[name], np.asarray(image), atol=1e-3 if exact else 2, err_msg=name)


def test_full_strength_is_the_papers():
    """At magnitude 10 of 10: 30 degrees, and 100 of 224 pixels, which uncover grey."""
    found = all_operations(jnp.ones((224, 224, 1)), jnp.float32(1))
    row = np.asarray(found["move columns"])[112, :, 0]
    assert (row < 0.99).sum() == 101  # one of them in part
    assert row[-1] == pytest.approx(128 / 255)
    edge = np.asarray(found["rotate"])[:, 0, 0]  # a rotated square crosses its old side tan(15 degrees) from the middle
    assert 111.5 - np.flatnonzero(edge > 0.99)[0] == pytest.approx(111.5 * np.tan(np.pi / 12), abs=1)


def test_elastic_noise_has_unit_variance_and_is_smooth():
    fields = jax.jit(jax.vmap(lambda key: smooth_noise(key, (14, 10))))(jax.random.split(jax.random.key(0), 500))
    np.testing.assert_allclose(fields.std(0), 1, atol=0.15)
    assert jnp.diff(fields, axis=2).std() < 0.5


def test_a_crop_is_a_piece_of_the_padded_image():
    image = a_batch(shape=(5, 6, 1))["image"][0]
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    pieces = [padded[i : i + 5, j : j + 6] for i in range(5) for j in range(5)]
    cut = crop(jax.random.key(3), image, 2)
    assert sum(np.array_equal(cut, piece) for piece in pieces) == 1


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mixing_follows_its_targets_and_leaves_padding_out(mixup, cutmix):
    batch = a_batch(size=64)
    batch["image"] = jnp.broadcast_to(jax.nn.one_hot(batch["label"], 5)[:, None, None], (64, 20, 20, 5))
    batch["mask"] = batch["mask"].at[10].set(0)
    batch["image"] = batch["image"].at[10].set(jnp.nan)
    out = jax.jit(lambda batch: mixed(jax.random.key(0), batch, 5, mixup=mixup, cutmix=cutmix))(batch)
    real = np.arange(64) != 10
    np.testing.assert_allclose(out["target"].sum(1), 1, atol=1e-6)
    # Images of constant class colour: what is left of each colour is exactly its share of the target.
    np.testing.assert_allclose(out["image"].mean((1, 2))[real], out["target"][real], atol=1e-5)
    np.testing.assert_array_equal(out["image"][11], batch["image"][11])  # the neighbour of padding stays whole
    assert (out["target"].max(1) < 0.99).mean() > 0.3


def test_a_second_view_is_of_the_image_or_of_a_neighbour():
    batch = a_batch()
    batch["near"] = jnp.stack([batch["image"] + 10, batch["image"] + 20], axis=1)
    own = views(Augment())(jax.random.key(0), batch)
    np.testing.assert_array_equal(own["other"], batch["image"])
    seen = {0: 0, 10: 0, 20: 0}
    for seed in range(40):
        out = views(Augment(), borrow=0.5)(jax.random.key(seed), batch)
        np.testing.assert_array_equal(out["image"], batch["image"])
        for gap in np.asarray(out["other"] - batch["image"]).mean((1, 2, 3)).round():
            seen[int(gap)] += 1
    # 240 fair coins: half, a quarter, a quarter, within four standard deviations.
    assert abs(seen[0] - 120) < 31 and abs(seen[10] - 60) < 27


def test_two_views_are_drawn_apart():
    out = views(Augment(noise=0.1))(jax.random.key(0), a_batch())
    assert not np.allclose(out["image"], out["other"])
