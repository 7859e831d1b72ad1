"""Parallel texts, English and another language, to learn translation from."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deeplearn.data.sets import bible, gettext, number_words
from deeplearn.data.text import Corpus, Pair, copies, read_pairs
from deeplearn.errors import ConfigError, DataError, note
from deeplearn.knobs import Count, Some


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which parallel text."""

    name: Literal["bible", "gettext", "numbers"] = "bible"
    """Bibles by verse, software messages, or (synthetic) numbers in words."""
    language: Literal["de", "fr", "ru", "es"] = "de"
    """Translate English into it."""
    editions: Some[bible.Edition] = ("web",)
    """English Bibles; the first is translated from, the others are further training pairs."""
    honest: bool = True
    """Hold out whole books, or groups of similar messages; otherwise sentences at random (the easy split)."""
    source: Path | None = None
    """Own sentences, one a line; or a gettext catalogue (.po, .mo) that holds the translations too."""
    target: Path | None = None
    """Their translations, line by line."""
    valid: tuple[Path, Path] | None = None
    """Own sentences and their translations to choose on, two files; without them, a part of the others."""
    test: tuple[Path, Path] | None = None
    """Own sentences and their translations to test on, two files; without them, a part of the others."""
    tfds: str | None = None
    """A prepared TFDS set of English and the language, such as wmt14_translate/de-en, ted_hrlr_translate/ru_to_en."""
    vocabulary: Count = 4000
    """Pieces of the SentencePiece vocabulary, one for both languages."""


@functools.cache
def load(data: Data) -> Corpus:
    """The three parts of the text. Raises DataError where a file or a line of it is wrong."""
    if data.source is not None:
        return _own(data)
    if data.valid or data.test:
        raise ConfigError("--data.valid and --data.test go with files of your own to learn from: --data.source.")
    if data.tfds is not None:
        return Corpus(*(public(data, split) for split in ("train", "validation", "test")))
    if data.name == "bible":
        return bible.corpus(data.language, data.editions, split="books" if data.honest else "verses")
    if data.name == "gettext":
        return gettext.corpus(data.language, threshold=0.6 if data.honest else 1)
    return number_words.corpus()


def _own(data: Data) -> Corpus:
    """The user's text, split as the user did, else by similarity; says what the parts share."""
    if data.target is None and data.source.suffix not in (".po", ".mo"):
        raise ConfigError("--data.source needs --data.target, the translations line by line.")
    own = read_pairs(data.source, data.target) if data.target else gettext.read_catalogue(data.source)
    if len(own) < 100:
        raise DataError(f"{data.source}: {len(own)} pairs are too few to learn from and to test on; give 100 or more.")
    valid, test = (None if files is None else read_pairs(*files) for files in (data.valid, data.test))
    if valid is None or test is None:
        made = gettext.split(own, held_out=0.05, threshold=0.6 if data.honest else 1, seed=0)
        # The part that is not needed is learnt from.
        own = made.train + (made.valid if valid is not None else []) + (made.test if test is not None else [])
        valid, test = made.valid if valid is None else valid, made.test if test is None else test
    corpus = Corpus(own, valid, test)
    for name, count in copies(corpus).items():
        if count:
            whole = len(getattr(corpus, name))
            note(f"note: {count} of {whole} {name} pairs are training pairs, too; results on them will be too good")
    return corpus


def title(data: Data) -> str:
    """What the text is called in reports."""
    return str(data.source or data.tfds or f"{data.name}-en-{data.language}")


def public(data: Data, split: str) -> list[Pair]:
    """The pairs of one split of a TFDS set. Raises ConfigError where it holds other languages."""
    from deeplearn.data import tfds

    records = tfds.read(data.tfds, split)
    if len(records) and not {"en", data.language} <= set(records[0]):
        raise ConfigError(
            f"{data.tfds} holds {' and '.join(records[0])}, not en and {data.language}; choose another --data.language."
        )
    found = (records[row] for row in range(len(records)))
    return [(record["en"].decode(), record[data.language].decode()) for record in found]
