"""Pyramids look at images of any size, and restorers begin with what they are given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods.tiles import tiled
from deeplearn.models.pyramid import Pyramid, grown, padded, shrunk
from deeplearn.models.restorers import DnCNN, PyramidRestorer, Transformer


def test_pixels_become_channels_and_back():
    image = jax.random.normal(jax.random.key(0), (2, 6, 4, 3))
    assert shrunk(image).shape == (2, 3, 2, 12)
    np.testing.assert_array_equal(shrunk(image)[0, 0, 0], image[0, :2, :2].reshape(12))
    np.testing.assert_array_equal(grown(shrunk(image)), image)


def test_levels_halve_from_the_finest_on():
    pyramid = Pyramid((4, 8, 12, 16), (1, 1, 1, 1), finest=1, norm="group")
    levels, _ = jax.eval_shape(
        lambda x: pyramid.init_with_output(jax.random.key(0), x, train=False), jnp.zeros((2, 32, 48, 3))
    )
    assert [level.shape for level in levels] == [(2, 8, 12, 8), (2, 4, 6, 12), (2, 2, 3, 16)]


def test_the_border_is_repeated_to_a_multiple():
    image = jnp.arange(15.0).reshape(1, 3, 5, 1)
    assert padded(image, 4).shape == (1, 4, 8, 1) and padded(image[:, :, :4], 1).shape == (1, 3, 4, 1)
    np.testing.assert_array_equal(padded(image, 4)[0, 3, 5:, 0], 14)


@pytest.mark.parametrize(
    "net", [PyramidRestorer((4, 8), (1, 1)), PyramidRestorer((4, 8), (1, 0), Transformer), DnCNN(4, depth=4)]
)
def test_restorers_begin_with_what_they_are_given_at_any_size(net):
    image, hint = jax.random.uniform(jax.random.key(0), (1, 9, 14, 3)), jnp.zeros((1, 9, 14, 1))
    start = jax.jit(lambda *x: net.init_with_output(jax.random.key(0), *x, train=False))
    np.testing.assert_array_equal(start(image, hint)[0], image)


def test_parameters_are_as_many_as_is_said():
    shapes = jax.eval_shape(
        lambda *x: PyramidRestorer().init(jax.random.key(0), *x, train=False),
        jnp.zeros((1, 16, 16, 3)),
        jnp.zeros((1, 16, 16, 1)),
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 865_644
    paper = jax.eval_shape(
        lambda *x: DnCNN().init(jax.random.key(0), *x, train=False), jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 8, 8, 1))
    )
    kernels = [leaf for leaf in jax.tree.leaves(paper["params"]) if leaf.ndim == 4]
    assert len(kernels) == 17 and kernels[1].shape == (3, 3, 64, 64)


def test_tiles_of_the_pyramid_equal_the_whole():
    """The margin of `tiled` is as far as the pyramid looks, whatever it has learnt."""
    image = np.random.default_rng(0).random((16, 420, 4), np.float32)
    net, key = PyramidRestorer((4, 8, 12)), jax.random.key(1)
    shapes = jax.eval_shape(lambda x: net.init(key, x[..., :3], x[..., 3:], train=False), jnp.asarray(image)[None])
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape, np.float32), shapes)
    function = jax.jit(lambda x: net.apply(variables, x[..., :3], x[..., 3:], train=False))
    whole = np.asarray(function(image[None]))[0]
    np.testing.assert_allclose(tiled(function, image, tile=256), whole, atol=1e-4 * np.abs(whole).max())
