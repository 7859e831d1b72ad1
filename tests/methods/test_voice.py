"""Pitch, cepstra and warps: of sounds whose pitch is known, against enumeration of all paths."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods import sound, voice
from deeplearn.methods.sound import Mel

MEL = Mel(rate=16000, size=1024, window=640, hop=160, bands=80, low=0.0, high=8000.0)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("hertz", [80, 150, 320])
def test_the_pitch_of_a_buzz_is_its_own(hertz):
    """Ten harmonics, the lowest missing: the period is still that of the missing one."""
    time = np.arange(8000) / 16000
    buzz = sum(np.sin(2 * np.pi * hertz * k * time + k) / k for k in range(2, 12)).astype(np.float32)
    found = np.asarray(voice.pitch(jnp.asarray(buzz), MEL))[5:-5]
    np.testing.assert_allclose(found, hertz, rtol=0.01)


def test_noise_and_silence_have_no_pitch():
    noise = RNG.normal(size=8000).astype(np.float32)
    noise[4000:] = 0
    assert (np.asarray(voice.pitch(jnp.asarray(noise), MEL)) > 0).mean() < 0.05


def test_a_gliding_voice_is_followed():
    time = np.arange(16000) / 16000
    phase = 2 * np.pi * (100 * time + 25 * time**2)
    glide = sum(np.sin(k * phase) / k for k in range(1, 8)).astype(np.float32)
    found = np.asarray(voice.pitch(jnp.asarray(glide), MEL))[8:-8]
    np.testing.assert_allclose(found, (100 + 50 * np.arange(len(found) + 16) / 100)[8:-8], rtol=0.02)


def test_the_warp_is_the_best_of_all_paths():
    for _ in range(10):
        a, b = RNG.normal(size=(4, 2)), RNG.normal(size=(3, 2))
        gap = np.linalg.norm(a[:, None] - b[None], axis=-1)
        steps = [path for n in range(3, 7) for path in itertools.product([(1, 1), (1, 0), (0, 1)], repeat=n - 1)]
        walks = [np.cumsum([(0, 0), *path], axis=0) for path in steps if np.sum(path, axis=0).tolist() == [3, 2]]
        best = min(walks, key=lambda walk: gap[walk[:, 0], walk[:, 1]].sum())
        found = voice.warp(a, b)
        np.testing.assert_array_equal(np.stack([found.first, found.second], 1), best)
        assert found.distance == pytest.approx(gap[best[:, 0], best[:, 1]].mean())


def test_a_slower_copy_is_not_far_and_loudness_does_not_count():
    bands = np.cumsum(RNG.normal(size=(40, 80)), axis=0)
    assert voice.distortion(bands, bands) == pytest.approx(0, abs=1e-5)
    assert voice.distortion(bands, np.repeat(bands, 2, axis=0) + 3.0) == pytest.approx(0, abs=1e-4)
    assert voice.distortion(bands, bands[::-1]) > 5


def test_the_cepstrum_is_the_cosine_transform_of_scipy():
    from scipy.fft import dct

    bands = RNG.normal(size=(5, 80))
    np.testing.assert_allclose(voice.cepstra(bands), dct(bands, norm="ortho")[:, 1:14], atol=1e-10)


def test_an_octave_is_twelve_semitones():
    a = np.array([100.0, 0, 200, 200])
    path = voice.Warp(np.arange(4), np.arange(4), 0.0)
    assert voice.pitch_error(a, np.array([200.0, 50, 400, 0]), path) == pytest.approx(12)
    assert np.isnan(voice.pitch_error(a, a * 0, path))
    assert sound.frames(8000, MEL) == 51


def test_a_recording_is_like_itself_and_unlike_one_an_octave_higher():
    time = np.arange(16000) / 16000
    low, high = (
        (3000 * sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 9))).astype(np.int16)
        for hertz in (110, 220)
    )
    same, other = voice.likeness([low], [low], MEL), voice.likeness([high], [low], MEL)
    assert same["mcd"] == pytest.approx(0, abs=1e-4) and same["pitch_error"] == 0
    assert other["mcd"] > 1 and other["pitch_error"] == pytest.approx(12, abs=0.2)
    assert np.isnan(voice.likeness([low * 0], [low], MEL)["pitch_error"])
