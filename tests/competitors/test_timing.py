"""Phonemes cut by a recogniser's letters: one that hears each letter in its middle puts cuts between the middles."""

from types import SimpleNamespace

import numpy as np

from deeplearn.competitors.timing import aligned, timings
from deeplearn.data.doors.teacher import Lesson, told
from deeplearn.methods.prosody import Measured
from deeplearn.methods.sound import Mel

FINE = Mel(rate=16000, size=512, window=400, hop=160, bands=20)
COARSE = Mel(rate=8000, size=256, window=200, hop=80, bands=20)
STRIDE, SOUNDS, LETTERS = 3, ["ʃ", "k", "u", "ɪ", "b"], "abcde"
"""Frames a step of the recogniser; phonemes, and the letter that is each."""


def recorded(count: int) -> tuple[list[Lesson], list[np.ndarray]]:
    """Silent recordings with the frames of each phoneme, and the frame in the middle of each letter."""
    rng, lessons, middles = np.random.default_rng(0), [], []
    for _ in range(count):
        order, lasting = rng.permutation(5), rng.integers(9, 15, 7)
        starts = np.concatenate([[0], np.cumsum(lasting)])
        names = ("<", *(SOUNDS[number] for number in order), ">")
        sound = np.zeros((starts[-1] - 1) * FINE.hop, np.int16)
        text = "".join(LETTERS[number] for number in order)
        lessons.append(Lesson(sound, text, "", names, starts[:-1] * FINE.hop))
        middles.append((starts[1:-2] + starts[2:-1]) // 2)
    return lessons, middles


def recogniser(middles: list[np.ndarray]) -> SimpleNamespace:
    """Hears blanks, but in the middle of each letter that letter."""

    def predict(rows: dict[str, np.ndarray], batch: int) -> tuple[np.ndarray, np.ndarray]:
        logp = np.tile(np.where(np.arange(6) == 0, 0.0, -20.0), (len(middles), 80, 1)).astype(np.float32)
        for own, label, places in zip(logp, rows["label"], middles, strict=True):
            own[places // STRIDE, 0], own[places // STRIDE, label[: len(places)]] = -20, 0
        return logp, rows["samples"] // COARSE.hop // STRIDE + 1

    fitted = SimpleNamespace(sound=COARSE, alphabet=LETTERS)
    return SimpleNamespace(fitted=fitted, config=SimpleNamespace(stride=STRIDE), predict=predict)


def test_phonemes_are_cut_between_the_letters_that_are_heard():
    lessons, middles = recorded(24)
    found = aligned(recogniser(middles), lessons, lessons, FINE, 2)
    assert all(own.sum() == 1 + len(lesson.sound) // FINE.hop for own, lesson in zip(found, lessons, strict=True))
    # Silence is no letter, so where the first one begins is not heard.
    gaps = [np.cumsum(own)[1:-2] - lesson.starts[2:-1] // FINE.hop for own, lesson in zip(found, lessons, strict=True)]
    assert np.abs(np.concatenate(gaps)).mean() < STRIDE


def test_nothing_is_scored_where_nobody_tells_the_truth_and_no_alignment_without_a_recogniser():
    lessons, middles = recorded(6)
    found = [Measured(np.zeros((0, 0)), np.zeros(0), own) for own in told(lessons, FINE.hop)]
    assert timings(lessons, found, [own._replace(starts=None) for own in lessons], recogniser(middles), FINE, 2) == {}
    assert timings(lessons, found, lessons, None, FINE, 2).keys() == {"usual durations"}
    assert timings(lessons, found, lessons, recogniser(middles), FINE, 2).keys() == {
        "usual durations",
        "alignment by our recogniser",
    }
