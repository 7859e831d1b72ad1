"""Spectra and back: a direct Fourier transform, librosa's numbers, and what must come back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods import sound
from deeplearn.methods.sound import Mel

TIME = np.arange(4000) / 8000
CHIRP = (0.4 * np.sin(2 * np.pi * (200 * TIME + 1500 * TIME**2)) + 0.1 * np.cos(2 * np.pi * 3100 * TIME)).astype("f4")
MEL = Mel()


def test_the_transform_is_the_direct_one():
    window, frame = sound.hann(MEL), 17
    cut = np.pad(CHIRP, MEL.size)[MEL.size + frame * MEL.hop - MEL.size // 2 :][: MEL.size] * window
    place = np.arange(MEL.size)
    direct = [np.sum(cut * np.exp(-2j * np.pi * k * place / MEL.size)) for k in range(MEL.size // 2 + 1)]
    np.testing.assert_allclose(np.asarray(sound.spectrum(jnp.asarray(CHIRP), MEL))[frame], direct, atol=2e-5)


def test_spectra_are_those_of_librosa():
    """librosa 0.11.0: stft and feature.melspectrogram with power=1, pad_mode="constant", everything else by default."""
    found = np.asarray(sound.spectrum(jnp.asarray(CHIRP), MEL)).T
    theirs = [[-3.4151 + 0.1584j, 0.0041 + 0.0016j], [0.0148 + 0.0580j, -0.0002], [0.0341, -0.0003]]
    np.testing.assert_allclose(found[[3, 60, 128]][:, [0, 10]], theirs, atol=1e-4)
    logs = np.asarray(sound.log_mel(jnp.asarray(CHIRP), MEL))
    assert logs.shape == (51, 40)
    np.testing.assert_allclose(
        logs[[0, 7, 25, 50]][:, [0, 5, 20, 39]],
        [
            [-1.94853, -3.50592, -6.67914, -5.81001],
            [-7.82577, -0.83406, -11.23649, -10.73496],
            [-10.90878, -9.62441, -7.54248, -10.7366],
            [-4.65051, -4.60311, -3.89675, -5.36964],
        ],
        atol=2e-2,  # the smallest amplitudes, 1e-5 of the largest, are rounding of float32
    )


def test_the_filters_are_those_of_librosa():
    found = sound.filters(Mel(rate=22050, size=1024, window=1024, hop=256, bands=80, low=0, high=8000))
    places = [(0, 1), (10, 18), (40, 82), (79, 360)]
    theirs = [0.01552772, 0.01096482, 0.00523443, 0.00278283]
    np.testing.assert_allclose([found[place] for place in places], theirs, rtol=1e-5)
    assert found.sum() == pytest.approx(3.7136884, rel=1e-6)


def test_frames_do_not_depend_on_what_follows_the_recording():
    short, long = jnp.asarray(CHIRP), jnp.asarray(np.pad(CHIRP, (0, 1234)))
    count = sound.frames(len(CHIRP), MEL)
    np.testing.assert_allclose(sound.log_mel(long, MEL)[:count], sound.log_mel(short, MEL), atol=1e-4)


@pytest.mark.parametrize("hop", [64, 80, 100])
def test_the_samples_come_back_from_their_spectrum(hop):
    mel = Mel(hop=hop)
    back = np.asarray(sound.samples(sound.spectrum(jnp.asarray(CHIRP), mel), mel))
    assert len(back) == 4000 // hop * hop
    np.testing.assert_allclose(back, CHIRP[: len(back)], atol=1e-5)


def test_overlapping_is_the_adjoint_of_framing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=800).astype("f4"), rng.normal(size=(11, MEL.size)).astype("f4")
    left = jnp.vdot(sound.framed(jnp.asarray(x), MEL), y)
    right = jnp.vdot(x, sound.overlapped(jnp.asarray(y), MEL))
    assert float(left) == pytest.approx(float(right), rel=1e-4)


def test_amplitudes_from_mel_bands_have_these_bands():
    bands = sound.log_mel(jnp.asarray(CHIRP), MEL)
    found = sound.amplitudes(bands, MEL)
    assert float(found.min()) >= 0
    again, wanted = found @ sound.filters(MEL).T, jnp.exp(bands)
    assert float(jnp.linalg.norm(again - wanted) / jnp.linalg.norm(wanted)) < 0.05


def test_griffin_lim_finds_phases_that_agree_with_the_amplitudes():
    wanted = jnp.abs(sound.spectrum(jnp.asarray(CHIRP), MEL))

    def gap(steps):
        found = sound.griffin_lim(wanted, MEL, jax.random.key(0), steps=steps)
        return float(jnp.linalg.norm(jnp.abs(sound.spectrum(found, MEL)) - wanted) / jnp.linalg.norm(wanted))

    assert gap(40) < 0.1 < gap(0) / 3
