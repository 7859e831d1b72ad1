"""The journal of a sweep: a line for each trial that is proposed and for its end, by any number of processes."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deeplearn import files
from deeplearn.config import from_json
from deeplearn.errors import ConfigError, StorageError, note
from deeplearn.record.folder import RESULT, Result

JOURNAL = "journal.jsonl"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the journal says of one."""

    number: int
    knobs: dict[str, Any]
    metrics: dict[str, float | None] | None = None
    """Of the validation, where it has ended well."""
    failed: str = ""
    """Why it ended otherwise."""

    @property
    def name(self) -> str:
        return f"trial-{self.number:03}"

    @property
    def open(self) -> bool:
        return self.metrics is None and not self.failed


def trials_of(folder: Path) -> list[Trial]:
    """The trials of the journal in the order they were proposed; a line that was torn by a kill does not count."""
    found: dict[int, Trial] = {}
    try:
        lines = files.read(folder / JOURNAL).decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = files.parse_json(line)
            number = int(said["trial"])
            if "knobs" in said:
                found[number] = Trial(number=number, knobs=dict(said["knobs"]))
            else:
                found[number] = replace(found[number], metrics=said.get("metrics"), failed=said.get("failed", ""))
    return list(found.values())


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Alone with the journal: wait for it, and hand out what adds a line."""
    try:
        with (folder / JOURNAL).open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)

            def add(said: Mapping[str, Any]) -> None:
                file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
                torn = b"" if file.read(1) in (b"", b"\n") else b"\n"
                file.write(torn + json.dumps(said).encode() + b"\n")
                os.fsync(file.fileno())

            yield add
    except OSError as error:
        raise StorageError(f"cannot write {folder / JOURNAL} ({error.strerror}); free some space.") from error


def reopen(folder: Path) -> None:
    """Let the trials be trained again, with the same knobs, whose results are gone or damaged since they ended."""
    with held(folder) as add:
        for trial in trials_of(folder):
            if trial.metrics is not None and not _kept(folder / trial.name / RESULT, trial.metrics):
                note(f"{folder / trial.name / RESULT} is missing or damaged: the trial is taken up again")
                add({"trial": trial.number, "knobs": trial.knobs})


def _kept(result: Path, metrics: Collection[str]) -> bool:
    with contextlib.suppress(OSError, ValueError, ConfigError):
        return set(metrics) <= from_json(Result, files.read_json(result)).metrics.keys()
    return False
