"""A voice says each phoneme as long as it is told to, and padding changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.models.fastspeech import FastSpeech, Voice, loss

MODEL = FastSpeech(symbols=9, bands=6, width=8, encoder=1, decoder=2, dropout=0.0)
PHONEMES = jnp.array([[1, 5, 3, 2], [4, 4, 0, 0]])
SIZES = jnp.array([4, 2])
SPEAKER = jnp.zeros(2, jnp.int32)


@pytest.fixture(scope="module")
def learnt():
    run = jax.jit(lambda key: MODEL.init(key, PHONEMES, SIZES, SPEAKER, 12, train=False))
    return run(jax.random.key(0))


def test_frames_last_as_told_and_silence_follows(learnt):
    told = Voice(jnp.array([[2, 3, 1, 4], [5, 1, 0, 0]]), jnp.zeros((2, 4)), jnp.zeros((2, 4)))
    found = MODEL.apply(learnt, PHONEMES, SIZES, SPEAKER, 12, told, train=False)
    silent = np.abs(np.asarray(found.bands)).max(-1) == 0
    assert silent.sum(1).tolist() == [2, 6]
    # What the phonemes alone give changes where the next one begins, and nowhere else.
    steps = np.abs(np.diff(np.asarray(found.coarse[0, :10]), axis=0)).max(-1) > 1e-6
    assert np.flatnonzero(steps).tolist() == [1, 4, 5]


def test_padding_changes_nothing(learnt):
    told = Voice(jnp.array([[5, 1, 0, 0]]), jnp.ones((1, 4)), jnp.ones((1, 4)))
    wide = MODEL.apply(learnt, PHONEMES[1:], SIZES[1:], SPEAKER[1:], 12, told, train=False)
    narrow = jax.tree.map(lambda x: x[:, :2], told)
    short = MODEL.apply(learnt, PHONEMES[1:, :2], SIZES[1:], SPEAKER[1:], 7, narrow, train=False)
    np.testing.assert_allclose(wide.bands[:, :6], short.bands[:, :6], atol=1e-5)
    np.testing.assert_allclose(wide.length[:, :2], short.length, atol=1e-5)


def test_half_the_rate_takes_about_twice_the_frames(learnt):
    slow = jax.tree.map(lambda x: x, learnt)
    usual, half = (
        MODEL.apply(slow, PHONEMES, SIZES, SPEAKER, 99, rate=rate, train=False).duration.sum(1)
        for rate in (0.125, 0.0625)
    )
    np.testing.assert_allclose(half / usual, 2, rtol=0.15)


def test_the_loss_counts_what_was_recorded_and_nothing_else(learnt):
    told = Voice(jnp.array([[2, 3, 1, 4], [5, 1, 0, 0]]), jnp.zeros((2, 4)), jnp.zeros((2, 4)))
    found = MODEL.apply(learnt, PHONEMES, SIZES, SPEAKER, 12, told, train=False)
    bands, mask = jax.random.normal(jax.random.key(1), found.bands.shape), jnp.ones(2)
    total, heard = loss(found, bands, told, SIZES, mask)
    assert heard.sum(1).tolist() == [10, 6]
    behind = bands + jnp.where(heard > 0, 0.0, 9.0)[..., None]
    np.testing.assert_allclose(loss(found, behind, told, SIZES, mask)[0], total, rtol=1e-6)
    one, other = (loss(found, bands, told, SIZES, jnp.array(own))[0] for own in ((1.0, 0.0), (0.0, 1.0)))
    np.testing.assert_allclose(one + other, total, rtol=1e-5)
