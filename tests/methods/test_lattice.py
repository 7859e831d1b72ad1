"""One scan over a lattice, against the enumeration of all its paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplearn.methods import lattice
from deeplearn.methods.lattice import Lattice


def paths(frames: int, states: int, optional: np.ndarray):
    """Every way through the states, frame by frame."""
    for path in itertools.product(range(states), repeat=frames):
        ways = zip((-1, *path), (*path, states), strict=True)
        if all(a == b >= 0 or b == a + 1 or (b == a + 2 and optional[a + 1]) for a, b in ways) and path[-1] != -1:
            yield path


def cases(seed: int, count: int = 40):
    """Random lattices of up to 5 frames and 4 states in rows of one shape, with rubbish behind their ends."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, 5, 4)).astype(np.float32) * 3
    optional = rng.random((count, 4)) < 0.4
    return jax.tree.map(jnp.asarray, Lattice(scores, optional, rng.integers(1, 5, count), rng.integers(1, 6, count)))


def enumerated(row: int, found: Lattice):
    scores, optional, states, frames = (leaf[row] for leaf in found)
    return {path: sum(scores[t, s] for t, s in enumerate(path)) for path in paths(frames, states, optional)}


def test_sum_and_best_path_are_those_of_all_paths():
    found = cases(0)
    total, (path, score) = jax.jit(lattice.total)(found), jax.jit(lattice.best)(found)
    found, total, path, score = jax.device_get((found, total, path, score))
    possible = 0
    for row in range(len(total)):
        scored = enumerated(row, found)
        if not scored:
            assert total[row] < -1e8
            continue
        possible += 1
        best = max(scored, key=scored.get)
        assert float(total[row]) == pytest.approx(np.logaddexp.reduce(list(scored.values())), abs=1e-4)
        assert float(score[row]) == pytest.approx(scored[best], abs=1e-4)
        assert tuple(path[row, : len(best)].tolist()) == best
    assert possible > 20


def test_durations_count_the_frames_of_each_state():
    path = jnp.array([[0, 0, 1, 1, 1, 1]])
    assert lattice.durations(path, jnp.array([4]), 3).tolist() == [[2, 2, 0]]


def spelled(path):
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol)


def test_ctc_is_the_sum_over_all_frames_that_spell_the_labels_and_equals_optax():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(30, 5, 3)).astype(np.float32) * 2
    frames, sizes = rng.integers(1, 6, 30), rng.integers(0, 4, 30)
    labels = np.where(np.arange(3) < sizes[:, None], rng.integers(1, 3, (30, 3)), 0)
    logp = jax.nn.log_softmax(jnp.asarray(logits))
    loss = jax.jit(lattice.ctc_loss)(logp, jnp.asarray(frames), jnp.asarray(labels), jnp.asarray(sizes))
    needed = lattice.needed(jnp.asarray(labels), jnp.asarray(sizes))
    theirs = optax.ctc_loss(
        jnp.asarray(logits),
        jnp.asarray(np.arange(5) >= frames[:, None], jnp.float32),
        jnp.asarray(labels),
        jnp.asarray(np.arange(3) >= sizes[:, None], jnp.float32),
    )
    logp, loss, needed, theirs = jax.device_get((logp, loss, needed, theirs))
    for row in range(30):
        wanted = tuple(labels[row, : sizes[row]].tolist())
        sums = [
            sum(logp[row, t, s] for t, s in enumerate(path))
            for path in itertools.product(range(3), repeat=int(frames[row]))
            if spelled(path) == wanted
        ]
        assert bool(sums) == (frames[row] >= needed[row])
        if sums:
            assert float(loss[row]) == pytest.approx(-np.logaddexp.reduce(sums), abs=1e-4)
            assert float(loss[row]) == pytest.approx(float(theirs[row]), abs=1e-3)
        else:
            assert loss[row] > 1e8


def test_the_loss_is_never_negative_and_its_gradient_is_finite():
    labels, sizes = jnp.array([[1, 1, 2], [2, 0, 0], [0, 0, 0]]), jnp.array([3, 1, 0])
    frames = jnp.array([4, 6, 6])
    certain = jax.nn.one_hot(jnp.array([[1, 0, 1, 2, 0, 0], [2] * 6, [0] * 6]), 3) * 1e4  # as sure as floats can be

    def loss(logits):
        return lattice.ctc_loss(jax.nn.log_softmax(logits), frames, labels, sizes)

    slope = jax.jit(jax.grad(lambda x: loss(x).sum()))
    assert ((loss(certain) >= 0) & (loss(certain) < 1e-3)).all()
    for logits in (certain, -certain, certain * 0):
        assert jnp.isfinite(slope(logits)).all()


def test_frames_behind_the_end_change_nothing():
    logp = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (1, 6, 4)))
    labels, sizes, frames = jnp.array([[1, 2]]), jnp.array([2]), jnp.array([6])
    longer = jnp.concatenate([logp, 9 * jnp.ones((1, 3, 4))], axis=1)
    wider = jnp.array([[1, 2, 3, 3]])
    short = lattice.ctc_loss(logp, frames, labels, sizes)
    np.testing.assert_allclose(lattice.ctc_loss(longer, frames, wider, sizes), short, rtol=1e-6)
    path, _ = lattice.best(lattice.ctc(longer, frames, wider, sizes))
    np.testing.assert_array_equal(path[:, :6], lattice.best(lattice.ctc(logp, frames, labels, sizes))[0])
