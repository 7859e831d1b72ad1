"""The chunked cross-entropy equals optax's on whole logits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplearn.losses import linear_cross_entropy

B, T, D, V = 3, 7, 5, 11


def example(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 4)
    hidden = jax.random.normal(keys[0], (B, T, D), dtype)
    table = jax.random.normal(keys[1], (V, D), dtype)
    labels = jax.random.randint(keys[2], (B, T), 0, V)
    weight = jax.random.uniform(keys[3], (B, T)).at[1, 3:].set(0)
    return hidden, table, labels, weight


def plain(hidden, table, labels, weight, smoothing):
    logits = jnp.einsum("btd,vd->btv", hidden, table)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, V), smoothing)
    return jnp.sum(optax.softmax_cross_entropy(logits, targets) * weight)


@pytest.mark.parametrize("smoothing, chunk", [(0.0, 1), (0.1, 3), (0.1, 100)])
def test_value_and_gradients_equal_the_plain_loss(smoothing, chunk):
    hidden, table, labels, weight = example()
    total = lambda h, t: 3 * linear_cross_entropy(h, t, labels, weight, smoothing=smoothing, chunk=chunk).total  # noqa: E731
    whole = lambda h, t: 3 * plain(h, t, labels, weight, smoothing)  # noqa: E731
    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(hidden, table)
    expected, wanted = jax.jit(jax.value_and_grad(whole, argnums=(0, 1)))(hidden, table)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(total)(hidden, table), expected, rtol=1e-5)
    for got, want in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_likelihood_and_hits_are_per_token():
    hidden, table, labels, weight = example()
    found = linear_cross_entropy(hidden, table, labels, weight, smoothing=0.1, chunk=3)
    logits = jnp.einsum("btd,vd->btv", hidden, table)
    np.testing.assert_allclose(
        found.nll, optax.softmax_cross_entropy_with_integer_labels(logits, labels), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(found.hit, logits.argmax(-1) == labels)


def test_padding_may_hold_anything():
    hidden, table, labels, weight = example()
    broken = hidden.at[1, 4].set(jnp.nan).at[1, 5].set(jnp.inf)
    total = lambda h, t: linear_cross_entropy(h, t, labels, weight, chunk=2).total  # noqa: E731
    loss = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    (got, slopes), (expected, wanted) = loss(broken, table), loss(hidden, table)
    np.testing.assert_allclose(got, expected)
    np.testing.assert_array_equal(slopes[0], wanted[0].at[1, 4:6].set(0))
    np.testing.assert_array_equal(slopes[1], wanted[1])


def test_no_array_as_large_as_the_logits_is_kept():
    hidden, table = jnp.zeros((4, 64, 16)), jnp.zeros((5000, 16))
    labels, weight = jnp.zeros((4, 64), jnp.int32), jnp.ones((4, 64))
    loss = lambda h, t: linear_cross_entropy(h, t, labels, weight, smoothing=0.1, chunk=4).total  # noqa: E731
    memory = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(hidden, table).compile().memory_analysis()
    assert (
        memory.temp_size_in_bytes < 4 * 64 * 5000 * 4 / 2
    )  # half of one array of logits; the plain loss needs several


def test_half_precision_features_give_a_float32_loss():
    hidden, table, labels, weight = example(jnp.bfloat16)
    value, slope = jax.value_and_grad(lambda h: linear_cross_entropy(h, table, labels, weight).total)(hidden)
    assert value.dtype == jnp.float32
    assert slope.dtype == jnp.bfloat16
