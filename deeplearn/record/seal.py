"""The seal of a run: what its model is made of beside the checkpoints, with sizes and hashes.

The configuration, what every fit says of itself (`fit.json`) and of its data, and the assets are small files that
decide what a prediction means: classes in another order would be silently wrong. Checkpoints have seals of their own,
which hold the hash of the fit.json beside them.

    seal.json    {"files": {name: {"size", "sha256"}}, "steps": {folder of a fit: its last checkpoint}},
                 or {"files": null} while a training is at work
"""

import json
import os
import stat
from pathlib import Path

from deeplearn import files
from deeplearn.errors import StorageError
from deeplearn.record.folder import CONFIG, SEAL, write_text
from deeplearn.sealed import FIT, steps

COVERED = {FIT, "data.json"}
"""In every folder; besides, config.json, experiment.py and everything below assets/."""
LARGEST = 64 * 2**20
"""Bytes of a seal that is read."""


def write(folder: Path) -> None:
    """Seal a run folder: the last thing that a training does."""
    names = sorted(_sealed(folder))
    listed = {name: {"size": (folder / name).stat().st_size, "sha256": files.sha256(folder / name)} for name in names}
    places = sorted(path.parent for path in folder.rglob("checkpoints") if path.is_dir())
    last = {str(place.relative_to(folder)): max(steps(place / "checkpoints"), default=None) for place in places}
    write_text(folder / SEAL, json.dumps({"files": listed, "steps": last}, indent=1) + "\n")


def ended(folder: Path) -> bool:
    """Whether the run in a folder has come to its end, pictures and all. Raises StorageError where `check` does."""
    check(folder)
    return files.read_json(folder / SEAL, LARGEST)["files"] is not None


def check(folder: Path) -> None:
    """Compare a run folder with its seal; a run that is not finished has none to compare with.

    Raises:
        StorageError: names the file that has changed, is missing, or was added.
    """
    try:
        stored = files.read_json(folder / SEAL, LARGEST)
        listed = stored["files"]
        claimed = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in (listed or {}).items()}
        last = {str(place): step for place, step in stored.get("steps", {}).items() if step is not None}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else "is damaged"
        raise StorageError(f"{folder / SEAL} {what}; {_MEND}") from error
    if listed is None:
        return
    found = _sealed(folder)
    if odd := sorted(found.keys() ^ claimed.keys()):
        what = "was added after the run had ended" if odd[0] in found else "is missing"
        raise StorageError(f"{folder / odd[0]} {what}; {_MEND}")
    for name, (size, digest) in claimed.items():
        if found[name] != size or files.sha256(folder / name) != digest:
            raise StorageError(f"{folder / name} has changed since the run ended; {_MEND}")
    for place, step in last.items():
        if not os.path.lexists(folder / place / "checkpoints" / str(step)):
            raise StorageError(f"{folder / place}/checkpoints/{step}, with which the run ended, is missing; {_MEND}")


_MEND = "restore it from a copy of the run, or train again."


def _sealed(folder: Path) -> dict[str, int]:
    """Name -> size of what the seal covers, in the run folder and the folders of its fits.

    Raises:
        StorageError: one of them is not a regular file.
    """
    found = {}
    for name, status in files.walk(folder):
        *places, last = name.split("/")
        ours = name in (CONFIG, "experiment.py") or last in COVERED or "assets" in places
        if not ours or stat.S_ISDIR(status.st_mode):
            continue
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{folder / name} is no regular file; {_MEND}")
        found[name] = status.st_size
    return found
