"""Layers that replace a library's own compute the same."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from deeplearn.models.layers import narrow_conv


@pytest.mark.parametrize("padding", ["SAME", "VALID", 2, ((0, 1), (3, 0))])
@pytest.mark.parametrize("kernel", [(5, 5), (2, 3)])
def test_a_narrow_convolution_equals_the_usual_one_in_values_and_gradients(padding, kernel):
    x = jax.random.normal(jax.random.key(0), (3, 9, 8, 2))
    usual = nn.Conv(4, kernel, padding=padding)
    ours = usual.clone(conv_general_dilated=narrow_conv)
    params = usual.init(jax.random.key(1), x)

    def loss(params, x, module):
        y = module.apply(params, x)
        return (y**2).sum(), y

    (_, expected), slopes = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, x, usual)
    (_, found), own = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, x, ours)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4), own, slopes)
    assert "conv_general_dilated" not in str(jax.make_jaxpr(lambda x: ours.apply(params, x))(x))


def test_what_a_narrow_convolution_lacks_is_refused():
    module = nn.Conv(4, (3, 3), strides=2, conv_general_dilated=narrow_conv)
    with pytest.raises(ValueError, match="no strides"):
        module.init(jax.random.key(0), np.zeros((1, 8, 8, 2), np.float32))
