"""Reading files that a stranger may have put there, and knowing them again: regular ones only, of bounded size."""

import contextlib
import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deeplearn.errors import StorageError

LARGEST_TEXT = 64 * 2**20
"""Bytes of a JSON or text file that is read whole: a log of 300,000 lines, ten times as much once it is parsed."""

DEEPEST = 50
"""Levels of a JSON value; ours have six. Whoever walks through one may then call himself for each level."""


def read(path: Path, limit: int = LARGEST_TEXT) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; no link is followed, and no pipe can make this wait.

    Raises:
        OSError: there is none, or it is something else or larger.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        entry = os.fstat(descriptor)
        if not stat.S_ISREG(entry.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if entry.st_size > limit:
            raise OSError(errno.EFBIG, f"more than {limit} bytes", str(path))
        return file.read(limit)


def read_json(path: Path, limit: int = LARGEST_TEXT) -> Any:
    """The value that a JSON file holds.

    Raises:
        OSError: as `read`.
        ValueError: it is no JSON, or nested too deeply to be ours.
    """
    return parse_json(read(path, limit))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError where it is none, or nested too deeply to be ours."""
    with contextlib.suppress(RecursionError):
        value = json.loads(text)
        level = [value] if isinstance(value, dict | list) else []
        for _ in range(DEEPEST):
            if not level:
                return value
            inner = [part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole)]
            level = [part for part in inner if isinstance(part, dict | list)]
    raise ValueError("nested too deeply")


def home() -> Path:
    """The user's folder; below the one for temporary files where the account has none, as in many containers."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"home-{os.getuid()}"


def refuse_unwritable(folder: Path, knob: str) -> None:
    """Before any work is done whose results go there; makes nothing. StorageError names the knob to change."""
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise unwritable(folder, error, knob) from error


def unwritable(path: Path, error: OSError, knob: str = "--workdir") -> StorageError:
    """What to say where the disk refuses a file.

    Args:
        knob: names another place; the folder of a run that has begun has no such knob, since it goes on where it lies.
    """
    begun = knob == "--workdir" and any(os.path.lexists(folder / "config.json") for folder in path.parents[:2])
    step = "copy the run to another folder and resume it there" if begun else f"choose another folder with {knob}"
    return StorageError(f"cannot write {path} ({error.strerror}); free some space or {step}.")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Let the disk have what was written to a file or folder, so that power may fail."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def below(folder: Path) -> Iterator[Path]:
    """All files below a folder, links not followed; what another process takes away meanwhile is passed over."""
    for place, _, names in os.walk(folder):  # Path.rglob would raise where a folder has just gone.
        yield from (Path(place, name) for name in names)


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """(name relative to the folder, what lies there) of everything below it; links are named, never followed."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as found:
            for entry in sorted(found, key=lambda one: one.name):
                name, status = f"{inside}{entry.name}", entry.stat(follow_symlinks=False)
                yield name, status
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(f"{name}/")
