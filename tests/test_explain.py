"""What a network looks at: maps that say so, one page that loads nothing, and a sentence where there is no answer."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from runs import Config, make_run

from deeplearn import explain
from deeplearn.cli import main
from deeplearn.data.pictures import Picture
from deeplearn.errors import UsageError
from deeplearn.models.activations import Network
from deeplearn.models.cnn import CNN


@pytest.fixture(scope="module")
def network():
    module = CNN(classes=3, width=4, depth=1, norm="none")
    x = jnp.zeros((1, 24, 24, 3))
    variables = jax.jit(lambda key: module.init(key, x, train=False))(jax.random.key(0))
    names = ("cat & dog", "<b>", "none")
    return Network(module=module, variables=variables, shape=(24, 24, 3), mean=0.5, std=0.25, classes=names)


@pytest.fixture(scope="module")
def by(network):
    return explain.explainer(network)


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8)).save(tmp_path / f"{number}.png")
    return [str(tmp_path / f"{number}.png") for number in range(2)]


def test_integrated_gradients_add_up_to_what_the_logit_gained(by):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(24, 24, 3)), jnp.float32)
    found = explain.maps(by, x, 1)
    gained = by.logit(1)(jnp.stack([x, jnp.zeros_like(x)]))
    assert found.gap <= 1e-3
    assert found.maps["integrated gradients"].sum() == pytest.approx(float(gained[0] - gained[1]), rel=2e-3)
    assert {own.shape for own in found.maps.values()} == {(24, 24)}


def test_any_number_of_pictures_goes_through_one_program(by):
    x = jnp.asarray(np.random.default_rng(2).normal(size=(11, 24, 24, 3)), jnp.float32)
    one_by_one = jnp.concatenate([by.logits(one[None]) for one in x])
    np.testing.assert_allclose(by.logits(x), one_by_one, atol=1e-5)
    assert by.forward._cache_size() == 1


def test_shuffled_weights_are_the_same_numbers_in_another_order(network):
    other = explain.shuffled(network, jnp.zeros((2, 24, 24, 3)), 0)
    for ours, theirs in zip(
        jax.tree.leaves(network.variables["params"]), jax.tree.leaves(other.variables["params"]), strict=True
    ):
        np.testing.assert_array_equal(np.sort(np.ravel(ours)), np.sort(np.ravel(theirs)))
        assert ours.ndim < 2 or not np.array_equal(ours, theirs)


class Colours(nn.Module):
    """The mean of each channel: what it rests on is known."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Conv(3, (1, 1), kernel_init=lambda *_: jnp.eye(3)[None, None], name="same")(x).mean((1, 2))


def test_each_class_of_a_scene_is_pointed_at_wherever_its_object_lies():
    module, rng, scenes = Colours(), np.random.default_rng(3), []
    variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    for _ in range(6):  # larger than what the network is said to take; a square of each colour, two of the first
        image, label = np.zeros((40, 40, 3), np.uint8), np.array([0, 0, 1, 2])
        corner = 10 * np.stack(np.divmod(rng.permutation(16)[:4], 4), axis=1)
        box = np.concatenate([corner, corner + 8], axis=1).astype(np.float32)
        for (left, top, right, bottom), own in zip(box.astype(int), label, strict=True):
            image[top:bottom, left:right, own] = rng.integers(100, 256)
        scenes.append(Picture(image, box, label, np.zeros(4, bool), np.full(4, 64.0)))
    network = Network(module=module, variables=variables, shape=(8, 8, 3), mean=0.0, std=1.0, classes=tuple("rgb"))
    assert explain.pointed(explain.explainer(network), scenes) == (1.0, pytest.approx((2 + 1 + 1) / 4 / 3))
    moved = [scene._replace(label=(scene.label + 1) % 3) for scene in scenes]
    assert explain.pointed(explain.explainer(network), moved).hits == 0


def test_one_page_holds_every_picture_and_loads_nothing(network, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(explain, "network_of", lambda where, trust=False: network)
    page = explain.explain("a <run>", pictures, tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 2 * 5  # the picture, and four maps of it
    assert "cat &amp; dog" in page and "<b>" not in page
    assert not re.search(r"(src|href)=[\"']?(?!data:)(http|//|file)", page) and "<script" not in page


def test_runs_that_name_no_class_of_a_picture_are_refused(tmp_path):
    make_run(tmp_path / "run", Config(model="gnmt"), experiment="translation")
    with pytest.raises(UsageError, match="a run of translation, whose network names no class"):
        explain.network_of(tmp_path / "run")


def test_without_a_picture_the_command_says_what_is_missing(capsys):
    assert main(["explain", "efficientnet-lite0"]) == 2
    assert "at least one picture" in capsys.readouterr().err
