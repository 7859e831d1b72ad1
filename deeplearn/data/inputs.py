"""What a user gives to learn from or to predict with: a folder or a pattern stands for its files, hidden ones do not
count, and one bad input does not spoil the others.
"""

import concurrent.futures
import glob
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from deeplearn.errors import DataError, DeeplearnError, note

Read = TypeVar("Read")
TABLES = {".csv", ".tsv", ".txt"}
"""Endings of files that hold a table."""

LEFTOVERS = {"__MACOSX"}
"""Folders that archives of macOS bring along."""


def below(root: str | Path, suffixes: Collection[str], *, say: bool = True) -> list[Path]:
    """All files with one of these endings (".png") below a folder, sorted; links are followed, also those to folders.

    What is left out is counted on standard error: hidden files and folders, broken links, files with other endings.
    """
    found, left, seen = [], Counter(), set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)  # a link may lead back up
        visible = [] if real in seen else [name for name in folders if not hidden(name)]
        if real not in seen:
            left["hidden"] += len(folders) - len(visible) + sum(map(hidden, names))
            files = [Path(place, name) for name in names if not hidden(name)]
            found += [file for file in files if file.suffix.lower() in suffixes and file.is_file()]
            left.update(_why(file) for file in files if file.suffix.lower() not in suffixes or not file.is_file())
        seen.add(real)
        folders[:] = visible
    if say and left.total():
        note(f"{root}: left out " + ", ".join(f"{count} {why}" for why, count in sorted(left.items()) if count))
    return sorted(found)


def hidden(name: str) -> bool:
    """Whether a file or folder of that name is none of the user's."""
    return name.startswith(".") or name in LEFTOVERS


OURS = ("boxes", "copy", "mask", "denoise", "superresolve", "deblur", "inpaint", "colourise")
"""PHOTO.boxes.png is what predictions wrote beside PHOTO.png, PHOTO.mask.png what says where its holes are, and
TALK.copy.wav what a vocoder made of TALK.wav."""


def expanded(inputs: Iterable[str], suffixes: Collection[str]) -> list[str]:
    """Paths of files: those given, in place of a folder all below it, in place of a pattern (*.png) all that match;
    not what earlier predictions wrote beside them.

    Raises:
        DataError: a folder or a pattern stands for no file.
    """
    found = []
    for word in inputs:
        own: Sequence[str] = [word]
        if Path(word).is_dir():
            own = [str(file) for file in below(word, suffixes) if not _beside(str(file))]
        elif glob.has_magic(word) and not os.path.lexists(word):
            matching = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 (pathlib has none for absolute patterns)
            own = [file for file in matching if not _beside(file)]
        if not own:
            raise DataError(f"{word} stands for no file ({' '.join(sorted(suffixes))}); give another folder or pattern")
        found += own
    return found


def _beside(file: str) -> bool:
    """Whether a file belongs to another one, and is no input of its own."""
    return Path(file).stem.rpartition(".")[2] in OURS


def attempted(
    inputs: Iterable[str], read: Callable[[str], Read], *, threads: int = 1
) -> tuple[list[tuple[str, Read]], list[dict[str, Any]]]:
    """((input, what `read` made of it) for those it can read, and for each other a row whose `error` says why not).

    `deeplearn predict` names the errors, writes the other rows, and ends with the exit code of bad data.
    """

    def one(given: str) -> tuple[str, Read | None, str]:
        try:
            return given, read(given), ""
        except DeeplearnError as error:
            return given, None, str(error)

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(one, inputs))
    failed = [{"input": given, "error": error} for given, _, error in found if error]
    return [(given, value) for given, value, error in found if not error], failed


def accepted(inputs: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The inputs that none of the rows of a prediction names an error of."""
    refused = {row.get("input") for row in rows if row.get("error")}
    return [given for given in inputs if given not in refused]


def _why(file: Path) -> str:
    """Why a file is left out."""
    if file.is_symlink() and not file.exists():
        return "broken link(s)"
    return f"{file.suffix.lower() or 'without an ending'}" if file.is_file() else "no regular file(s)"
