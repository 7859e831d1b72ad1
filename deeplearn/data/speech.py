"""What people (or machines) said: sounds with their words."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy.typing import ArrayLike

from deeplearn.data.audio import padded
from deeplearn.data.buckets import Buckets, bounds


class Utterance(NamedTuple):
    """One sound and what is said in it."""

    sound: Int[np.ndarray, "T"]
    """int16 samples at the rate of its corpus."""
    text: str
    """As `normalised` gives it."""
    speaker: str = ""
    """Whose voice it is; empty where nobody says."""
    accent: str = ""
    """How the speaker pronounces."""
    written: str = ""
    """The text with its commas and capitals, for who reads it aloud; empty where there is no other than `text`."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Utterances to learn from, to choose by, and to be judged on."""

    train: Sequence[Utterance]
    valid: Mapping[str, Sequence[Utterance]]
    """Name -> utterances to choose by."""
    tests: Mapping[str, Sequence[Utterance]]
    """Name -> utterances to be judged on; every table shows all of them."""
    name: str
    credits: str = ""
    """Who recorded what, under which licence."""


def normalised(text: str) -> str:
    """Lower case, letters, digits and apostrophes alone, one space between words: what recognition is scored on.

    Everything else, such as punctuation and hyphens, becomes a space (Unicode NFKC first).
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    words = re.sub(r"[^\w']|_", " ", text).split()
    return " ".join(filter(None, (word.strip("'") for word in words)))


def alphabet(utterances: Sequence[Utterance]) -> str:
    """All characters of the texts, in the order of their numbers from 1 (0 is CTC's blank)."""
    return "".join(sorted({letter for utterance in utterances for letter in utterance.text}))


def spelled(text: str, letters: str) -> list[int]:
    """Numbers of the characters; those that the alphabet lacks cannot be recognised and are left out."""
    return [letters.index(letter) + 1 for letter in text if letter in letters]


def written(symbols: ArrayLike, letters: str) -> list[str]:
    """Rows of numbers [N, L] as texts, blanks at their ends removed."""
    return ["".join(letters[number - 1] for number in row if number).strip() for row in np.asarray(symbols).tolist()]


def columns(utterances: Sequence[Utterance], letters: str, samples: int, longest: int) -> dict[str, np.ndarray]:
    """`sound` [N, samples], its real `samples` [N], `label` [N, longest] and its real `letters` [N]."""
    numbers = [spelled(utterance.text, letters) for utterance in utterances]
    label = np.zeros((len(utterances), longest), np.int32)
    for row, own in zip(label, numbers, strict=True):
        row[: len(own)] = own
    return {
        "sound": padded([utterance.sound for utterance in utterances], samples),
        "samples": np.array([len(utterance.sound) for utterance in utterances], np.int32),
        "label": label,
        "letters": np.array([len(own) for own in numbers], np.int32),
    }


def buckets(
    utterances: Sequence[Utterance], letters: str, *, most: int, step: int, batch: int, seed: int, name: str
) -> Buckets:
    """Training utterances in at most so many shapes, whose lengths are multiples of `step` samples."""
    lengths = np.array([len(utterance.sound) for utterance in utterances])
    limits = bounds(lengths, most, step)
    longest = max(len(spelled(utterance.text, letters)) for utterance in utterances)
    place = np.searchsorted(limits, lengths)
    parts = [
        columns([utterances[n] for n in np.flatnonzero(place == part)], letters, limit, longest)
        for part, limit in enumerate(limits)
    ]
    return Buckets(parts=parts, batch=batch, seed=seed, name=name)
