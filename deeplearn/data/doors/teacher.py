"""A voice to learn to speak from: recordings, what is said in them, and its phonemes as espeak reads the text."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from deeplearn.data import recordings
from deeplearn.data.doors import speech
from deeplearn.data.engines import Line, Spoken, speak
from deeplearn.data.sets import voices
from deeplearn.data.speech import Corpus, Utterance, normalised
from deeplearn.errors import DataError
from deeplearn.knobs import Amount, Count, Positive, Some

QUIET = 0.05
"""Seconds of silence put before and behind what a machine says: recordings of people have it, too."""
BEGIN, END, PAUSE = "<", ">", "_"
"""Phonemes that are none: the silence before and behind, and those that espeak makes between."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Whose voice."""

    teacher: Literal["espeak", "hibari", "asterisk"] = "espeak"
    """A machine (the synthesiser is then its student), or Asterisk's speaker."""
    voices: Some[str] = (voices.TEACHER,)
    """Of espeak; with several, each says all."""
    sentences: Count = 1200
    """How many sentences of the grammar a machine says to learn from."""
    phrases: Amount = 400
    """How many phrases with other words."""
    held: Count = 50
    """How many sentences it says for the test, and for validation."""
    speed: Count = 160
    """Words a minute of espeak."""
    path: Path | None = None
    """Your own recordings instead: a folder as LJSpeech has it, or with transcripts.csv (file,text[,speaker])."""
    tfds: str | None = None
    """A prepared TFDS set instead: ljspeech."""
    language: str = "en-us"
    """espeak's voice that reads the texts of recordings into phonemes."""
    longest: Positive = 12.0
    """Recordings of more seconds are left out."""


class Lesson(NamedTuple):
    """One recording."""

    sound: Int[np.ndarray, "T"]
    text: str
    speaker: str
    phonemes: tuple[str, ...]
    starts: Int[np.ndarray, "U"] | None
    """The sample at which each phoneme begins, where a machine tells."""

    def durations(self, hop: int, frames: int) -> Int[np.ndarray, "U"]:
        """Frames of each phoneme as the machine tells them, one at least; `hop` samples each, so many in all."""
        assert self.starts is not None, "only a machine tells how long its phonemes are"
        edges = np.append(np.round(self.starts / hop).astype(int), frames)
        for place in range(1, len(edges)):
            edges[place] = max(edges[place], edges[place - 1] + 1)
        return np.diff(edges)


def usable(part: Sequence[Lesson], known: Collection[str], hop: int, states: int) -> list[Lesson]:
    """The recordings whose phonemes are all known, with a frame (every `hop` samples) for each of their states.

    The others are counted on standard error.

    Raises:
        DataError: there are none.
    """
    found = [
        lesson
        for lesson in part
        if 1 + len(lesson.sound) // hop >= states * len(lesson.phonemes) and set(lesson.phonemes) <= set(known)
    ]
    if not found:
        raise DataError(
            f"none of {len(part)} recordings to learn from or to judge on is long enough for its text and without "
            "phonemes that the others lack: give more of them"
        )
    if len(found) < len(part):
        print(f"{len(part) - len(found)} of {len(part)} recordings are too short or too odd to use", file=sys.stderr)
    return found


def told(lessons: Sequence[Lesson], hop: int) -> list[Int[np.ndarray, "U"]]:
    """Frames of each phoneme of the recordings whose machine tells, centred on every so many samples."""
    return [own.durations(hop, 1 + len(own.sound) // hop) for own in lessons if own.starts is not None]


def grammatical(data: Data) -> bool | None:
    """Whether the texts are sentences of the grammar that `voices` has; None where nobody knows their language."""
    return None if data.path is not None or data.tfds is not None else data.teacher != "asterisk"


class Lessons(NamedTuple):
    """All parts; no sentence is in two of them."""

    train: list[Lesson]
    valid: list[Lesson]
    test: list[Lesson]


def load(data: Data, rate: int, seed: int) -> Lessons:
    """All parts at a rate in Hz.

    Raises:
        DataError: names what is missing or cannot be read.
    """
    if data.path is not None:
        return _read(recordings.folder(data.path, rate, seed, data.longest)[0], data, rate)
    if data.tfds is not None:
        return _read(speech.public(data.tfds, rate, data.longest), data, rate)
    if data.teacher == "asterisk":
        found = voices.asterisk(rate)
        corpus = Corpus(train=found.train, valid={"valid": found.valid}, tests={"test": found.test}, name="asterisk")
        return _read(corpus, data, rate)
    texts = [
        [*_different("train", data.sentences, seed), *(voices.phrases(data.phrases, seed) if data.phrases else [])],
        _different("valid", data.held, 1),
        _different("test", data.held, 2),
    ]
    if data.teacher == "hibari":
        return Lessons(*(_with_phonemes(voices.hibari(part, rate), data, rate) for part in texts))
    return Lessons(*(_by_espeak(part, data, rate) for part in texts))


def phonemes(spoken: Spoken) -> tuple[str, ...]:
    """Of a text as espeak says it."""
    names = [name or PAUSE for name in spoken.phonemes]
    while names and names[-1] == PAUSE:
        names.pop()
    return (BEGIN, *names, END)


def pausing(names: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """The phonemes of a text for a voice that has said the `known` ones.

    One that never paused, since none of its recordings is of more than one phrase, pauses as it ends and begins.
    """
    if PAUSE in known:
        return tuple(names)
    runs = [(name, len(list(run))) for name, run in groupby(names)]
    return tuple(own for name, count in runs for own in ((END, BEGIN) if name == PAUSE else (name,) * count))


def read_aloud(texts: Sequence[str], language: str, rate: int) -> list[tuple[str, ...]]:
    """Phonemes of texts. Raises DataError where a text has none."""
    spoken = speak("espeak", [Line(text=text, voice=language) for text in texts], rate)
    found = [phonemes(own) for own in spoken]
    for text, names in zip(texts, found, strict=True):
        if len(names) < 3:
            raise DataError(f"there is nothing to say in {text!r}: give a text with words.")
    return found


def _different(part: str, count: int, seed: int) -> list[str]:
    """So many different sentences."""
    return list(dict.fromkeys(voices.sentences(part, 20 * count, seed)))[:count]


def _by_espeak(texts: Sequence[str], data: Data, rate: int) -> list[Lesson]:
    lines = [Line(text=text, voice=voice, speed=data.speed) for voice in data.voices for text in texts]
    quiet, found = round(QUIET * rate), []
    for line, own in zip(lines, speak("espeak", lines, rate), strict=True):
        names = phonemes(own)
        real = own.starts[: len(names) - 2]
        end = own.starts[len(names) - 2] if len(own.starts) > len(names) - 2 else len(own.sound)
        starts = np.concatenate([[0], real + quiet, [end + quiet]])
        found.append(Lesson(np.pad(own.sound, quiet), normalised(line.text), line.voice, names, starts))
    return found


def _read(corpus: Corpus, data: Data, rate: int) -> Lessons:
    sides = (corpus.train, corpus.valid["valid"], next(iter(corpus.tests.values())))
    if strange := {u.speaker for side in sides[1:] for u in side} - {u.speaker for u in sides[0]}:
        raise DataError(
            f"{corpus.name}: {min(strange)} speaks in validation or test only, and a voice cannot be learnt without "
            "hearing it: name the part of each recording in a column split of transcripts.csv"
        )
    return Lessons(*(_with_phonemes(side, data, rate) for side in sides))


def _with_phonemes(part: Sequence[Utterance], data: Data, rate: int) -> list[Lesson]:
    names = read_aloud([u.written or u.text for u in part], data.language, rate)
    return [Lesson(u.sound, u.text, u.speaker, own, None) for u, own in zip(part, names, strict=True)]
