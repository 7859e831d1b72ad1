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


def test_several_networks_learn_as_each_alone_and_their_cosines_are_averaged():
    config = replace(CONFIG, networks=2)
    batch = {name: column[:16] for name, column in retrieval.experiment(CONFIG).train.at(0).items()}
    fitted = images.measured(retrieval.parts(CONFIG)[0])
    several, alone = retrieval.task(config, fitted), retrieval.task(CONFIG, fitted)
    variables = several.init(jax.random.key(0), batch)
    each = [{"params": variables["params"][f"network{member}"]} for member in range(2)]
    assert not np.array_equal(each[0]["params"]["head"]["kernel"], each[1]["params"]["head"]["kernel"])
    loss = several.loss(variables, batch, jax.random.key(1), True).loss.compute()
    expected = [alone.loss(own, batch, jax.random.key(1), True).loss.compute() for own in each]
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)
    codes = np.asarray(several.predict(variables, batch))
    near = np.mean(
        [np.asarray(found) @ np.asarray(found).T for found in (alone.predict(own, batch) for own in each)], 0
    )
    assert codes.shape == (16, 2 * CONFIG.code)
    np.testing.assert_allclose(codes @ codes.T, near, atol=1e-5)


@pytest.mark.parametrize("knobs", [{"method": "dino"}, {"model": Model(name="mlp", init="pretrained:x.pth")}])
def test_several_networks_begin_anew_or_are_refused(knobs):
    with pytest.raises(ConfigError, match="networks"):
        retrieval.experiment(replace(CONFIG, networks=2, **knobs))
