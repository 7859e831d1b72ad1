"""Layers that replace a library's own compute the same."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.models.convolution import convolution
from deeplearn.models.layers import Normalise


def agree(usual: nn.Conv, x: jax.Array, tolerance: float) -> str:
    """Asserts equal values and gradients; returns the compiled program of ours."""
    ours = usual.clone(conv_general_dilated=convolution)
    params = usual.init(jax.random.key(1), x)
    weight = jax.random.normal(jax.random.key(2), usual.apply(params, x).shape)

    def loss(params, x, module):
        y = module.apply(params, x)
        return (y * weight).sum(), y

    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), static_argnums=2)
    (_, expected), slopes = step(params, x, usual)
    (_, found), own = step(params, x, ours)

    def close(a, b):
        np.testing.assert_allclose(a, b, atol=tolerance * float(np.abs(b).max()))

    close(found, expected)
    jax.tree.map(close, own, slopes)
    return jax.jit(ours.apply).lower(params, x).as_text()


@pytest.mark.parametrize("padding", ["SAME", ((0, 1), (3, 0))])
@pytest.mark.parametrize(("kernel", "inputs", "outputs"), [((5, 5), 2, 4), ((2, 3), 1, 20), ((3, 3), 20, 2)])
def test_a_convolution_of_few_channels_equals_the_usual_one(padding, kernel, inputs, outputs):
    x = jax.random.normal(jax.random.key(0), (3, 9, 8, inputs))
    program = agree(nn.Conv(outputs, kernel, padding=padding), x, 1e-5)
    assert ("stablehlo.convolution" in program) == (outputs >= 16)


@pytest.mark.parametrize("shape", [(2, 6, 4, 128), (1, 2, 2, 130)])
def test_winograds_convolution_equals_the_usual_one(shape):
    program = agree(nn.Conv(132, (3, 3)), jax.random.normal(jax.random.key(0), shape), 1e-5)
    assert "stablehlo.convolution" not in program


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", ((0, 1), (3, 0))])
def test_a_kernel_for_each_channel_equals_the_usual_one(padding, strides):
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 5))
    program = agree(nn.Conv(5, (5, 4), strides, padding, feature_group_count=5), x, 1e-5)
    assert "stablehlo.convolution" not in program


CASES = [
    (n, option) for n in (4, 128) for option in ({"strides": 2}, {"kernel_dilation": 2}, {"feature_group_count": 2})
]


@pytest.mark.parametrize(("channels", "option"), [*CASES, (128, {})])
def test_what_the_special_forms_lack_is_computed_as_usual(channels, option):
    """Strides, dilation, groups, and (without an option) odd sides for Winograd."""
    x = jax.random.normal(jax.random.key(0), (1, 7, 7, channels))
    assert "stablehlo.convolution" in agree(nn.Conv(channels, (3, 3), **option), x, 1e-5)


def test_signals_are_convolved_as_usual():
    agree(nn.Conv(4, (3,)), jax.random.normal(jax.random.key(0), (2, 9, 3)), 1e-5)


@pytest.mark.parametrize(("kind", "axes"), [("batch", (0, 1)), ("layer", (2,)), ("group", (1, 3))])
def test_a_large_mean_does_not_cost_the_variance_its_digits(kind, axes):
    """At a mean of 1000 deviations torch errs by .2 %, and a variance in one pass by 25 %."""
    x = np.float32(1000 + np.random.default_rng(0).normal(size=(64, 8, 64)))
    layer = Normalise(kind)
    variables = layer.init(jax.random.key(0), jnp.asarray(x), train=False)
    found, _ = layer.apply(variables, jnp.asarray(x), train=True, mutable=["batch_stats"])
    wide = x.astype(np.float64).reshape((64, 8, 32, 2) if kind == "group" else x.shape)
    wanted = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-6)
    np.testing.assert_allclose(found.std(), wanted.std(), rtol=2e-3)
    np.testing.assert_allclose(found, wanted.reshape(x.shape), atol=5e-3)
