"""What is said of recordings is what was put into them, in the scales of the training part."""

import numpy as np
import pytest

from deeplearn.errors import DataError
from deeplearn.methods import prosody
from deeplearn.methods.prosody import Measured
from deeplearn.methods.sound import Mel

MEL = Mel(rate=16000, size=512, window=400, hop=160, bands=4)
RNG = np.random.default_rng(0)
PHONEMES = [("<", "a", "b", ">"), ("<", "b", ">")]
FOUND = [
    Measured(RNG.normal(size=(12, 4)), np.array([0, 0] + [120.0] * 5 + [0] * 5), np.array([2, 5, 3, 2])),
    Measured(RNG.normal(size=(9, 4)), np.array([0, 0, 0] + [240.0] * 4 + [0] * 2), np.array([3, 4, 2])),
]
SCALES = prosody.scales(FOUND, PHONEMES, ["she", "she"], MEL, step=8)


def columns(frames: int, longest: int) -> dict[str, np.ndarray]:
    return prosody.columns(PHONEMES, ["she", "she"], FOUND, SCALES, frames, longest)


def test_each_phoneme_has_its_own_length_pitch_and_loudness():
    rows = columns(16, 6)
    assert rows["phonemes"].tolist() == [[0, 2, 3, 1, 0, 0], [0, 3, 1, 0, 0, 0]]
    assert rows["duration"].tolist() == [[2, 5, 3, 2, 0, 0], [3, 4, 2, 0, 0, 0]]
    octave = (rows["pitch"][1, 1] - rows["pitch"][0, 1]) * SCALES.pitch[1]
    assert octave == pytest.approx(np.log(2), rel=1e-5)
    assert not rows["pitch"][0, [0, 2, 3, 4, 5]].any()  # nobody sings there
    loud = FOUND[0].bands[2:7].mean()
    assert rows["energy"][0, 1] * SCALES.energy[1] + SCALES.energy[0] == pytest.approx(loud, abs=1e-5)


def test_bands_come_back_and_padding_changes_nothing():
    short, wide = columns(12, 4), columns(32, 9)
    for name, own in short.items():
        part = wide[name][tuple(map(slice, own.shape))]
        np.testing.assert_array_equal(part, own)
        assert not wide[name].sum() - own.sum()
    back = short["bands"][0] * np.array(SCALES.deviation) + np.array(SCALES.mean)
    np.testing.assert_allclose(back, FOUND[0].bands, atol=5e-3)  # kept in half precision


def test_a_phoneme_that_was_never_recorded_is_named():
    with pytest.raises(DataError, match="never said zz"):
        prosody.asked([("<", "zz", ">")], ["she"], SCALES, 4)


def test_each_text_has_the_speaker_that_was_asked_for_and_a_stranger_is_named():
    two = prosody.scales(FOUND, PHONEMES, ["she", "he"], MEL, step=8)
    assert prosody.asked(PHONEMES, ["she", "he"], two, 4)["speaker"].tolist() == [1, 0]
    with pytest.raises(DataError, match="'it' was never recorded; there are he, she"):
        prosody.asked(PHONEMES, ["he", "it"], two, 4)


def test_errors_of_durations_and_boundaries_are_in_milliseconds():
    """Two frames of 10 ms are moved from one phoneme to the next: one boundary is off by 20 ms, two lengths are."""
    true, found = [np.array([2, 5, 3, 2])], [np.array([2, 7, 1, 2])]
    assert prosody.duration_error(found, true, MEL) == pytest.approx(20)
    assert prosody.boundary_error(found, true, MEL) == pytest.approx(20 / 3)
    assert prosody.duration_error(true, true, MEL) == prosody.boundary_error(true, true, MEL) == 0


def test_usual_durations_are_medians_of_the_recordings():
    (usual,) = prosody.medians(PHONEMES, FOUND, [("<", "b", "a", ">")])
    assert usual.tolist() == [2.5, 3.5, 5, 2]


def test_a_whisper_has_scales():
    silent = [own._replace(pitch=own.pitch * 0) for own in FOUND]
    assert prosody.scales(silent, ["a"], ["she"], MEL, step=8).pitch == (0.0, 1.0)
