"""The recurrence of GNMT: its own gradient, its resets, and the paper's size."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from deeplearn.models.gnmt import GNMT, PAPER, recurrence

T, B, D = 6, 3, 4


def example():
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = jax.random.normal(keys[0], (T, B, 4 * D))
    weight = jax.random.normal(keys[1], (D, 4 * D))
    keep = (jax.random.uniform(keys[2], (T, B)) > 0.3).astype(jnp.float32).at[0].set(0)
    return inputs, weight, keep


def plain(inputs, weight, keep):
    """The textbook's LSTM, token by token."""

    def token(state, xs):
        x, kept = xs
        h, c = state[0] * kept[:, None], state[1] * kept[:, None]
        i, f, g, o = jnp.split(x + h @ weight, 4, axis=1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return jax.lax.scan(token, (jnp.zeros((B, D)), jnp.zeros((B, D))), (inputs, keep))[1]


def test_recurrence_and_its_gradient_equal_automatic_differentiation():
    inputs, weight, keep = example()
    direction = jax.random.normal(jax.random.key(1), (T, B, D))
    objective = lambda run: lambda x, w: jnp.sum(run(x, w, keep) * direction)  # noqa: E731
    np.testing.assert_allclose(
        jax.jit(recurrence)(inputs, weight, keep), jax.jit(plain)(inputs, weight, keep), atol=1e-5
    )
    got = jax.jit(jax.grad(objective(recurrence), argnums=(0, 1)))(inputs, weight)
    wanted = jax.jit(jax.grad(objective(plain), argnums=(0, 1)))(inputs, weight)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_reset_forgets_the_sentence_before():
    inputs, weight, keep = example()
    keep = jnp.ones_like(keep).at[0].set(0).at[3].set(0)
    run = jax.jit(recurrence)
    changed = run(inputs.at[:3].add(1), weight, keep)
    np.testing.assert_array_equal(changed[3:], run(inputs, weight, keep)[3:])


def test_the_papers_preset_has_eight_layers():
    tokens = jnp.ones((1, 4), jnp.int32)
    shapes = jax.eval_shape(GNMT(vocabulary=32000, **PAPER).init, jax.random.key(0), tokens, tokens)["params"]
    lstm = 2 * (1024 + 1024 + 1) * 4096 + (2048 + 1024 + 1) * 4096 + 6 * (1024 + 1024 + 1) * 4096  # encoder
    lstm += (1024 + 1024 + 1) * 4096 + 7 * (2048 + 1024 + 1) * 4096  # decoder: upper layers read the context too
    counted = sum(x.size for name, part in shapes.items() for x in jax.tree.leaves(part) if name not in OTHER)
    assert counted == lstm


OTHER = {"embedding", "query", "key", "energy", "final"}
