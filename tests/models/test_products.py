"""The dense layer's product equals Flax's own, values and gradients, whichever side of the weights is longer."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax import lax

from deeplearn.models.products import dense

LAYERS = [
    nn.Dense(3),
    nn.Dense(9),
    nn.DenseGeneral((2, 4)),
    nn.DenseGeneral(2, axis=(-2, -1)),
    nn.DenseGeneral((3, 9), axis=(-2, -1)),
]


@pytest.mark.parametrize("usual", LAYERS, ids=str)
def test_a_layer_equals_flaxs_own(usual):
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    params = usual.init(jax.random.key(1), x)
    weight = jax.random.normal(jax.random.key(2), usual.apply(params, x).shape)

    def loss(params, x, module):
        return (module.apply(params, x) * weight).sum()

    slopes = jax.value_and_grad(loss, argnums=(0, 1))
    expected, found = slopes(params, x, usual), slopes(params, x, usual.clone(dot_general=dense))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-5), found, expected)


def test_a_product_over_other_axes_is_refused():
    with pytest.raises(ValueError, match="last axes"):
        dense(np.ones((2, 3)), np.ones((2, 3)), (((0,), (0,)), ((), ())))
    with pytest.raises(ValueError, match="last axes"):
        lax.map(lambda x: dense(x, x, (((1,), (1,)), ((), ()))), np.ones((2, 3, 3)))
