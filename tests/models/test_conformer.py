"""The Conformer's shapes, sizes and what padding may not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.models.conformer import PAPER, Conformer, shifted


def test_scores_by_distance_become_scores_by_place():
    count = 4
    distance = jnp.arange(count - 1, -count, -1)  # T - 1 down to 1 - T
    x = jnp.broadcast_to(distance, (1, 1, count, 2 * count - 1))
    place = np.arange(count)
    np.testing.assert_array_equal(shifted(x)[0, 0], place[:, None] - place[None])


@pytest.mark.parametrize(("name", "millions"), [("small", (7.5, 10.3)), ("large", (110, 118.8))])
def test_the_papers_encoders_have_the_papers_size(name, millions):
    """Table 1 counts a decoder of one LSTM, too: ours, with letters as output, is a little smaller."""
    model = Conformer(symbols=29, **PAPER[name])
    run = lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 80)), jnp.array([64]), train=False)  # noqa: E731
    size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(run)["params"]))
    assert millions[0] <= size / 1e6 <= millions[1]


def test_padding_changes_nothing_and_a_step_is_four_frames():
    model = Conformer(symbols=5, layers=1, width=16, heads=2, kernel=8)
    x, frames = jax.random.normal(jax.random.key(1), (1, 31, 20)), jnp.array([31])
    learnt = jax.jit(lambda: model.init(jax.random.key(0), x, frames, train=False))()
    short, steps = model.apply(learnt, x, frames, train=False)
    long, _ = model.apply(learnt, jnp.pad(x, [(0, 0), (0, 13), (0, 0)], constant_values=9.0), frames, train=False)
    assert steps.tolist() == [8]
    np.testing.assert_allclose(short[:, :8], long[:, :8], atol=1e-5)
