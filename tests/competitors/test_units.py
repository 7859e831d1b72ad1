"""Speech from recorded pieces: what was recorded whole comes back whole."""

import numpy as np
import pytest

from deeplearn.competitors.units import Inventory, inventories
from deeplearn.data.doors.teacher import Lesson
from deeplearn.errors import DataError
from deeplearn.methods.prosody import Measured
from deeplearn.methods.sound import Mel

HOP = 80
SPEAKERS = [("ann", 100), ("ben", 200)]
TONE = {name: 2 * np.pi * hertz / 8000 for name, hertz in {"a": 200, "b": 500, "c": 900, "<": 0, ">": 0}.items()}


def recorded(names):
    """Eight frames of a tone for each phoneme; the cepstrum is which one it is."""
    sound = np.concatenate([np.sin(TONE[name] * np.arange(8 * HOP)) for name in names])
    cepstra = np.repeat([[ord(name) % 7, ord(name) % 5] for name in names], 8, axis=0) + 0.0
    return (sound * 8000).astype(np.int16), np.arange(1, len(names) + 1) * 8, cepstra


@pytest.fixture
def inventory():
    texts = ["<abc>", "<cab>", "<bca>"]
    sounds, ends, cepstra = zip(*(recorded(text) for text in texts), strict=True)
    return Inventory(sounds=sounds, phonemes=[list(t) for t in texts], ends=ends, cepstra=cepstra, hop=HOP, rate=8000)


def test_a_recorded_sentence_comes_back_as_it_was(inventory):
    found = inventory.say(list("<cab>"))
    wanted = inventory.sounds[1] / 32768
    np.testing.assert_allclose(found[: 39 * HOP], wanted[: 39 * HOP], atol=1e-4)


def test_a_new_sentence_is_made_of_the_units_that_hold_its_phonemes(inventory):
    found = inventory.say(list("<abca>"))
    assert abs(len(found) - 48 * HOP) < 2 * HOP
    middle = found[12 * HOP : 14 * HOP]
    peak = np.abs(np.fft.rfft(middle)).argmax() * 8000 / len(middle)
    assert peak == pytest.approx(200, abs=60)


def test_a_phoneme_without_recordings_is_named(inventory):
    with pytest.raises(DataError, match="'x'"):
        inventory.say(list("<xx>"))


def test_nobody_speaks_with_another_speakers_pieces():
    rng, length = np.random.default_rng(0), np.array([8, 8, 8])
    lessons = [Lesson(np.full(24 * HOP, level, np.int16), "", who, tuple("<a>"), None) for who, level in SPEAKERS]
    found = [Measured(rng.normal(size=(24, 20)), np.zeros(24), length) for _ in lessons]
    pieces = inventories(lessons, found, Mel(rate=8000, hop=HOP, bands=20))
    for who, level in SPEAKERS:
        np.testing.assert_allclose(pieces[who].say(list("<a>")) * 32768, level)
