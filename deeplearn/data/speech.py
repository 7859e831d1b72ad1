"""What people (or machines) said: sounds with their words."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int


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


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Utterances to learn from, to choose by, and to be judged on."""

    train: Sequence[Utterance]
    valid: Sequence[Utterance]
    tests: Mapping[str, Sequence[Utterance]]
    """Name -> utterances; every table shows all of them."""
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
