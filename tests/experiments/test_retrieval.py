"""Codes of pictures: poses are classes of their own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.data.augment import Augment
from deeplearn.data.doors import images
from deeplearn.errors import ConfigError
from deeplearn.models.zoo import Model
from experiments import retrieval

CONFIG = retrieval.Config(data=images.Data(name="digits"), model=Model(name="mlp"), code=3, augment=Augment())


def test_a_turned_picture_is_of_another_class_and_both_views_of_it_are_of_one():
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (1, 4, 4, 1)), jnp.uint8)
    size = 64
    batch = {
        "image": jnp.repeat(image, size, axis=0),
        "label": jnp.arange(size) % 2,
        "index": jnp.arange(size),
        "mask": jnp.ones(size),
    }
    posed = retrieval.augment(replace(CONFIG, poses=8), jax.random.key(0), batch)
    assert set(np.asarray(posed["label"] // 8 == batch["label"])) == {True}
    assert len(set((posed["label"] % 8).tolist())) == 8
    np.testing.assert_array_equal(posed["image"], posed["other"])  # nothing else is changed here
    plain = np.asarray(image[0, ..., 0], np.float32) / 255
    for picture, label in zip(np.asarray(posed["image"][..., 0]), posed["label"].tolist(), strict=True):
        own = plain[:, ::-1] if label % 8 >= 4 else plain
        np.testing.assert_allclose(picture, np.rot90(own, label % 4), atol=1e-6)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"method": "simclr"}, "leave one of the two out"), ({"data": images.Data(name="mnist1d")}, "square")],
)
def test_poses_that_make_no_classes_are_refused(knobs, message):
    with pytest.raises(ConfigError, match=message):
        retrieval.experiment(replace(CONFIG, poses=4, **knobs))
