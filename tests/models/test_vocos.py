"""The vocoder and its critics: lengths, rows by themselves, and a loss that is zero for the same sound alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods import sound
from deeplearn.methods.sound import Mel
from deeplearn.models.vocos import PERIODS, WINDOWS, Critics, Vocos, distance, looks, waves

MEL = Mel(rate=8000, size=256, window=200, hop=80, bands=20)


@pytest.fixture(scope="module")
def bands():
    samples = np.random.default_rng(0).normal(0, 0.1, (2, 40 * 80)).astype(np.float32)
    return np.asarray(sound.log_mel(samples, MEL)), samples


@pytest.fixture(scope="module")
def trained(bands):
    network = Vocos(MEL, width=8, depth=2)
    return network, jax.jit(network.init)(jax.random.key(0), bands[0])["params"]


def test_a_sound_is_as_long_as_its_frames(bands, trained):
    network, params = trained
    made = network.apply({"params": params}, bands[0])
    assert made.shape == bands[1].shape and np.isfinite(made).all()
    for frames in (1, 2, 41):
        assert len(waves(network, params, bands[0][0, :frames])) == (frames - 1) * MEL.hop


def test_silence_behind_a_sound_changes_nothing_but_its_end(bands, trained):
    """Of two blocks that look three frames ahead, the first layer's three, and the transform's own two."""
    network, params = trained
    long = np.concatenate([bands[0], np.full_like(bands[0], np.log(MEL.floor))], axis=1)
    alone, before = (network.apply({"params": params}, x) for x in (bands[0], long))
    reach = (3 * 3 + 2) * MEL.hop
    np.testing.assert_allclose(before[:, : 40 * 80 - reach], alone[:, :-reach], atol=1e-5)


def test_no_row_hears_another(bands, trained):
    network, params = trained
    both = network.apply({"params": params}, bands[0])
    alone = network.apply({"params": params}, bands[0][:1])
    np.testing.assert_allclose(both[:1], alone, atol=1e-6)
    critics = Critics(MEL.rate, width=2)
    learnt = jax.jit(critics.init)(jax.random.key(0), bands[1])
    look = jax.jit(critics.apply)
    # Beside another row, not alone: a second shape would compile the critics once more, for ten seconds.
    heard, beside = look(learnt, bands[1]), look(learnt, np.stack([bands[1][0], bands[1][1, ::-1]]))
    assert len(heard) == len(PERIODS) + len(WINDOWS)
    for one, other in zip(heard, beside, strict=True):
        np.testing.assert_array_equal(one.score[0], other.score[0])
        assert not np.array_equal(one.score[1], other.score[1])
        for a, b in zip(one.features, other.features, strict=True):
            np.testing.assert_array_equal(a[0], b[0])


def test_the_same_sound_is_no_distance_away_and_a_louder_one_its_logarithm(bands):
    samples = jnp.asarray(bands[1])
    np.testing.assert_array_equal(distance(samples, samples, MEL), np.zeros(2, np.float32))
    louder = distance(samples * np.float32(np.e), samples, MEL)
    np.testing.assert_allclose(louder, 1.5, atol=0.05)  # 1 in the bands, half of that under the windows


def test_the_gradient_of_silence_is_finite():
    gradient = jax.grad(lambda x: distance(x, jnp.ones((1, 800)) * 0.1, MEL).sum())(jnp.zeros((1, 800)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_windows_are_powers_of_two_of_about_their_seconds(rate):
    for look, seconds in zip(looks(rate), WINDOWS, strict=True):
        assert look.size & (look.size - 1) == 0 and 0.7 < look.size / rate / seconds < 1.42
