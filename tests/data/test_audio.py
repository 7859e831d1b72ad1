"""Recordings of every kind are read as the same samples, and what is wrong with a file is said with its name."""

import wave

import numpy as np
import pytest
from scipy.io import wavfile

from deeplearn.data import audio
from deeplearn.errors import DataError

RATE = 8000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def bits24(path, samples):
    """A WAV file of 24 bits, which scipy reads but does not write."""
    whole = np.rint(samples * (2**23 - 1)).astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 3, RATE, len(samples), "NONE", ""))
        file.writeframes(whole)


KINDS = {
    "8 bits": (lambda path: wavfile.write(path, RATE, np.rint(TONE * 127 + 128).astype(np.uint8)), 1e-2),
    "16 bits": (lambda path: audio.write(path, TONE, RATE), 1e-4),
    "24 bits": (lambda path: bits24(path, TONE), 1e-6),
    "32 bits": (lambda path: wavfile.write(path, RATE, np.rint(TONE.astype("f8") * 2**31).astype(np.int32)), 1e-6),
    "float": (lambda path: wavfile.write(path, RATE, TONE), 0),
    "double": (lambda path: wavfile.write(path, RATE, TONE.astype("f8")), 0),
    "stereo": (lambda path: wavfile.write(path, RATE, np.stack([TONE * 2, TONE * 0], 1)), 1e-7),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_wav_gives_the_same_samples(kind, tmp_path):
    store, tolerance = KINDS[kind]
    store(tmp_path / "tone.wav")
    samples, rate = audio.read(tmp_path / "tone.wav")
    assert (samples.dtype, rate) == (np.float32, RATE)
    np.testing.assert_allclose(samples, TONE, atol=tolerance)


def test_flac_gives_the_same_samples(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "tone.flac", TONE, RATE)
    np.testing.assert_allclose(audio.read(tmp_path / "tone.flac")[0], TONE, atol=1e-4)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "tone.flac").read_bytes()[:50])
    with pytest.raises(DataError, match=r"cut\.flac"):
        audio.read(tmp_path / "cut.flac")


@pytest.mark.parametrize(("old", "new"), [(22050, 8000), (8000, 16000), (44100, 16000)])
def test_a_tone_survives_resampling_and_what_the_new_rate_cannot_hold_is_removed(old, new):
    time, fresh = np.arange(old) / old, np.arange(new) / new
    low, high = np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 0.45 * old * time)
    found = audio.resampled((low + (high if new < old else 0)).astype(np.float32), old, new)
    middle = slice(new // 10, -new // 10)  # the filter's edges
    np.testing.assert_allclose(found[middle], np.sin(2 * np.pi * 300 * fresh)[middle], atol=5e-3)


@pytest.mark.parametrize("size", [0, 20, 44, 500, 15999])
def test_a_file_that_is_cut_off_is_named(size, tmp_path):
    audio.write(tmp_path / "tone.wav", TONE, RATE)
    whole = (tmp_path / "tone.wav").read_bytes()
    (tmp_path / "tone.wav").write_bytes(whole[:size])
    with pytest.raises(DataError, match=r"tone\.wav"):
        audio.read(tmp_path / "tone.wav")


def test_what_is_no_recording_is_named(tmp_path):
    (tmp_path / "notes.wav").write_text("not a recording at all")
    wavfile.write(tmp_path / "empty.wav", RATE, TONE[:0])
    wavfile.write(tmp_path / "wrong.wav", RATE, np.array([0.0, np.nan], np.float32))
    said = {"notes": "no whole WAV", "empty": "no samples", "wrong": "no numbers", "gone": "cannot be read"}
    for name, words in said.items():
        with pytest.raises(DataError, match=rf"{name}\.wav.*{words}"):
            audio.read(tmp_path / f"{name}.wav")


def test_clipping_is_seen_where_samples_stand_at_the_top():
    assert audio.clipped(TONE) == 0
    assert audio.clipped(np.clip(3 * TONE, -1, 1)) > 0.3
    assert audio.clipped(np.clip(3 * TONE, -1, 1) * 0.1) == 0  # silence and faint sounds are not too loud
    assert audio.clipped(TONE[:0]) == 0
