"""The user's own recordings: a folder of WAV or FLAC files, and a table of what is said in them.

DIR/transcripts.csv   file,text[,speaker][,accent][,split]      files relative to the folder; split: train, valid, test
DIR/metadata.csv      LJ001-0001|text[|text in words]           without a header, the files in DIR/wavs (as LJSpeech)
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deeplearn.data import audio, paged, split
from deeplearn.data.csvfile import read_file
from deeplearn.data.speech import Corpus, Utterance, normalised
from deeplearn.errors import DataError

NAMES = {
    "file": ("file", "path", "audio", "wav", "filename"),
    "text": ("text", "transcript", "sentence", "word", "label"),
}
"""What the two columns may be called."""
PARTS = ("train", "valid", "test")
CLIPPED = 1e-3
"""Share of samples at the top from which a recording is said to be clipped: single loud peaks are not."""
SILENT = 1e-3
"""Largest amplitude, -60 dB, below which there is nothing to hear."""


class Entry(NamedTuple):
    """One row of the table."""

    file: Path
    text: str
    speaker: str
    accent: str
    part: str
    """train, valid, test, or empty where the table does not say."""
    written: str
    """The text as it stands in the table."""


class Recorded(NamedTuple):
    """The recordings that can be used, and what a user should know of the others."""

    utterances: list[Utterance]
    parts: list[str]
    findings: list[str]


def folder(path: str | Path, rate: int, seed: int, longest: float) -> tuple[Corpus, list[str]]:
    """(all recordings of a folder, what a user should know of them).

    Without a column `split`, a fifth is the test and a tenth the validation: whole speakers where there are three or
    more. Recordings that are silent, or longer than `longest` seconds, are left out and named.

    Raises:
        DataError: names the file, or the line of the table, that is missing, empty or cannot be read.
    """
    root = Path(path)
    entries = listed(root)
    found = heard(entries, rate, longest)
    if not found.utterances:
        raise DataError(f"{root} holds no recording that can be used: {'; '.join(found.findings)}")
    parts = np.array(found.parts) if any(found.parts) else _parts(found.utterances, seed)
    sides = {name: [u for u, own in zip(found.utterances, parts, strict=True) if own == name] for name in PARTS}
    if empty := [name for name in PARTS if not sides[name]]:
        raise DataError(f"{root} has no recordings for {empty[0]}: give more of them, or name some in a column split")
    corpus = Corpus(
        train=sides["train"], valid={"valid": sides["valid"]}, tests={"test": sides["test"]}, name=root.resolve().name
    )
    return corpus, [*found.findings, *_shared(sides)]


def _shared(sides: dict[str, list[Utterance]]) -> list[str]:
    """What training and test have in common, so that the test is easier than it looks."""
    train, test = sides["train"], sides["test"]
    found = []
    if both := {u.speaker for u in train} & {u.speaker for u in test} - {""}:
        found.append(f"{len(both)} speakers are in training and test alike, such as {min(both)}")
    if copies := len(_digests(train) & _digests(test)):
        found.append(f"{copies} recordings of the test are in the training, too")
    return found


def _digests(utterances: Sequence[Utterance]) -> set[bytes]:
    return {hashlib.sha256(utterance.sound).digest() for utterance in utterances}


def listed(root: Path) -> list[Entry]:
    """The rows of the folder's table."""
    if (table := root / "transcripts.csv").is_file():
        return _with_header(table)
    if (table := root / "metadata.csv").is_file():
        return _of_ljspeech(table)
    raise DataError(
        f"{root} holds no transcripts.csv: write one with a line file,text and below it a line for each recording"
    )


def heard(entries: Sequence[Entry], rate: int, longest: float) -> Recorded:
    """The recordings at a rate in Hz."""
    found, sounds = Recorded([], [], []), paged.Pool()
    odd: dict[str, list[str]] = {}
    for entry in entries:
        samples, own = audio.read(entry.file)
        seconds = len(samples) / own
        if np.abs(samples).max() < SILENT:
            odd.setdefault("silent, and left out", []).append(entry.file.name)
            continue
        if seconds > longest:
            odd.setdefault(f"longer than {longest:g} s, and left out", []).append(entry.file.name)
            continue
        if audio.clipped(samples) > CLIPPED:
            odd.setdefault("clipped: recorded too loud", []).append(entry.file.name)
        if own < rate:
            odd.setdefault(f"recorded at {own} Hz: they hold nothing above {own // 2}", []).append(entry.file.name)
        sound = sounds.kept(audio.pcm(audio.resampled(samples, own, rate)))
        found.utterances.append(Utterance(sound, entry.text, entry.speaker, entry.accent, entry.written))
        found.parts.append(entry.part)
    found.findings.extend(f"{len(names)} recordings are {what}, such as {names[0]}" for what, names in odd.items())
    return found


def _with_header(table: Path) -> list[Entry]:
    file = read_file(table)
    names = {what: next((name for name in known if name in file.columns), None) for what, known in NAMES.items()}
    for what, name in names.items():
        if name is None:
            raise DataError(f"{table} has no column {what!r}; its first line names {', '.join(file.columns)}")
    columns = {what: file.columns[name].to_pylist() for what, name in names.items() if name}
    count = len(columns["file"])
    for what in ("speaker", "accent", "split"):
        columns[what] = file.columns[what].to_pylist() if what in file.columns else [""] * count
    rows = zip(*(columns[what] for what in ("file", "text", "speaker", "accent", "split")), strict=True)
    return [_entry(table.parent, row, partial(file.where, number)) for number, row in enumerate(rows)]


def _of_ljspeech(table: Path) -> list[Entry]:
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table} cannot be read ({error}): save it as UTF-8") from error
    found = []
    for number, line in enumerate(lines, 1):
        name, *texts = line.split("|")
        if not texts:
            raise DataError(f"{table}, line {number} has no | between the file's name and its text: add it")
        found.append(_entry(table.parent / "wavs", (name, texts[-1], "", "", ""), partial(_line, table, number)))
    return found


def _line(table: Path, number: int) -> str:
    return f"{table}, line {number}"


def _entry(root: Path, row: Iterable[str | None], where: Callable[[], str]) -> Entry:
    """A row as an entry; `where` says where it stands, and takes its time."""
    name, text, speaker, accent, part = (cell or "" for cell in row)
    words = normalised(text)
    if not words:
        raise DataError(f"{where()} has no words in its text {text!r}: write what is said, or remove the line")
    file = root / name
    if not file.suffix:
        file = next((own for suffix in audio.SUFFIXES if (own := file.with_name(file.name + suffix)).is_file()), file)
    if not file.is_file():
        raise DataError(f"{where()} names {file}, which is no file: correct the name")
    if part and part not in PARTS:
        raise DataError(f"{where()}: split is {part!r}; write {', '.join(PARTS)}")
    return Entry(file, words, speaker, accent, part, text)


def _parts(utterances: Sequence[Utterance], seed: int) -> np.ndarray:
    """The part of each utterance."""
    speakers = np.array([utterance.speaker for utterance in utterances])
    parts = np.full(len(utterances), "train", object)

    def hold(rows: np.ndarray, share: float, name: str) -> None:
        if len(set(speakers[rows])) > 1 and len(set(speakers)) > 2:
            held = split.grouped(speakers[rows], share, seed)[1]
        else:
            held = split.shuffled(len(rows), share, seed)[1]
        parts[rows[held]] = name

    hold(np.arange(len(utterances)), 0.2, "test")
    hold(np.flatnonzero(parts == "train"), 0.1, "valid")
    return parts
