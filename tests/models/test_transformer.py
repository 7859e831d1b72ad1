"""The Transformer's own: its size in the paper, its positions, half precision."""

import jax
import jax.numpy as jnp
import numpy as np

from deeplearn.data.tokens import rows
from deeplearn.models.transformer import BASE, Transformer, sinusoids


def test_the_base_preset_has_the_parameters_that_the_paper_describes():
    model = Transformer(vocabulary=37000, **BASE)
    tokens = jnp.ones((1, 4), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)
    count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
    norms, attention, forward = 2 * 512, 4 * (512 * 512 + 512), 2 * 512 * 2048 + 512 + 2048
    encoder, decoder = attention + forward + 2 * norms, 2 * attention + forward + 3 * norms
    assert count == 37_000 * 512 + 6 * (encoder + decoder) == 63_082_496


def test_positions_differ_and_their_products_depend_on_the_distance():
    table = sinusoids(50, 16)
    products = table @ table.T
    np.testing.assert_allclose(np.diag(products), 8, rtol=1e-5)
    np.testing.assert_allclose(np.diag(products, 3), products[0, 3], rtol=1e-4)
    assert (products - 8 * np.eye(50)).max() < 8


def test_bfloat16_stays_near_float32():
    inputs = rows([[4, 5, 6], [7, 8]], 5), rows([[6, 5], [4, 4, 4]], 5)
    full = Transformer(vocabulary=16, width=16, layers=1, heads=2, hidden=32)
    half = full.clone(dtype=jnp.bfloat16)
    with jax.numpy_dtype_promotion("standard"):  # Flax's LayerNorm promotes bfloat16 to float32 by itself
        shapes = jax.eval_shape(full.init, jax.random.key(0), *inputs)
        random = np.random.default_rng(0)
        variables = jax.tree.map(lambda x: jnp.asarray(random.normal(scale=0.3, size=x.shape), x.dtype), shapes)
        exact, near = (jax.jit(model.apply)(variables, *inputs)[0] for model in (full, half))
    assert near.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(near, np.float32)[:, :3], np.asarray(exact)[:, :3], atol=0.1)
