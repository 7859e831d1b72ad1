"""The folder checkpoints/: which steps lie there, and which of them can be trusted.

A checkpoint counts only once it is sealed. It is written into `<step>.partial/`; a manifest with the size and sha256
of every file, the step and the hash of the fit's own description is synced to disk among them, and only then does the
folder get its name `<step>`. A flipped byte thus leads to the older checkpoint, never to wrong numbers.
"""

import contextlib
import hashlib
import json
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from deeplearn import files, runtime
from deeplearn.errors import StorageError
from deeplearn.plain import LONGEST, plain

SEAL = "SEAL.json"
PARTIAL = ".partial"
"""Ending of a folder that is being written or removed: it never counts."""
DAMAGED = ".damaged"
"""Ending of a folder whose seal did not verify while there was an older one to go on from."""
FIT = "fit.json"
"""Beside checkpoints/: what is trained there, with an id. Seals hold its hash, so that no other run's can be taken."""
LARGEST_SEAL = 10_000_000
"""Bytes of a manifest that is read: some 50,000 files."""
PATIENCE = 600.0
"""Seconds that one process waits for what another has hashed; hashing 100 GB takes one about a minute."""
Entry = dict[str, int | str]
"""`size` in bytes and `sha256` of a file."""
Check = Callable[[Path], str | None]
"""What is wrong with a checkpoint, or None."""
WRITER = re.compile(r"(?:^|/)(?:ocdbt\.)?process_([0-9]+)(?:/|$)")
"""Where Orbax puts what one of several processes has written."""
OURS = re.compile(rf"([0-9]+)({re.escape(DAMAGED)}|{re.escape(PARTIAL)}.*)?")
"""Names in checkpoints/: a step, sealed, damaged or unfinished (Orbax adds an ending of its own while it writes)."""


def refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise StorageError(f"{folder} is a symbolic link; checkpoints are used only where they lie in their own run.")


def ours(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """(path, step, ending) of everything in checkpoints/ that a `Store` has made."""
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        if match := OURS.fullmatch(path.name):
            yield path, int(match[1]), match[2] or ""


def steps(folder: Path) -> list[int]:
    """Steps that were sealed, whole or not, oldest first."""
    return sorted(step for path, step, ending in ours(folder) if not ending and path.name == str(step))


def partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def remove(path: Path) -> None:
    """Remove what may be there; a sealed step loses its name first, so that no reader takes it while it goes."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        if not path.suffix:
            shutil.rmtree(partial(path), ignore_errors=True)
            path = path.rename(partial(path))
        shutil.rmtree(path, ignore_errors=True)


def newest(folder: Path, check: Check) -> tuple[int | None, dict[int, str]]:
    """The newest step whose seal verifies, and what is wrong with newer ones.

    Args:
        check: such as `verify`.

    Raises:
        StorageError: there were checkpoints, but none verifies.
    """
    found, faults = steps(folder), {}
    for step in reversed(found):
        path = folder.absolute() / str(step)
        fault = check(path)
        if fault is None:
            why = "its seal verifies" if step == found[-1] else "the newest whose seal verifies"
            say(f"restoring step {step} from {path} ({why})")
            return step, faults
        if path.is_symlink() or path.exists():  # Else the training has just removed it.
            faults[step] = fault
    faults |= {step: "set aside as damaged" for _, step, ending in ours(folder) if ending == DAMAGED and not faults}
    if faults:
        named = "; ".join(f"{step}: {fault}" for step, fault in faults.items())
        raise StorageError(
            f"no checkpoint in {folder} verifies ({named}); restore it from a copy, or start again with --restart."
        )
    return None, {}


def agree(folder: Path, choose: Callable[[Check], int | None]) -> int | None:
    """The step that the first of several processes chooses; all hash, each its share. Errors of the first end all."""
    import jax

    if jax.process_index() == 0:
        chosen = choose(_hashed_by_all)
        _tell(-1 if chosen is None else chosen, more=False)
        return chosen
    step, more = _tell()
    while more:
        _share_hashed(folder / str(step))
        step, more = _tell()
    return None if step < 0 else step


def _hashed_by_all(path: Path) -> str | None:
    """`verify`, in the first process."""
    fault, _ = described(path)
    if fault is None:
        _tell(int(path.name), more=True)
        fault = _share_hashed(path)
    return fault


def _share_hashed(path: Path) -> str | None:
    """What is wrong with a checkpoint of which every process hashes its share at the same time."""
    import jax
    from jax.experimental import multihost_utils

    fault, claimed = described(path)
    share = sorted(claimed)[jax.process_index() :: jax.process_count()]
    fault = fault or changed(path, {name: claimed[name] for name in share})
    faulty = np.flatnonzero(multihost_utils.process_allgather(np.bool_(fault is not None)))
    return fault or (f"process {faulty[0]} finds a file missing or changed" if faulty.size else None)


def _tell(step: int = -1, *, more: bool = False) -> tuple[int, bool]:
    """What the first process says: a step, and whether its files are to be hashed or it has been chosen."""
    from jax.experimental import multihost_utils

    said = multihost_utils.broadcast_one_to_all(np.array([step, more], np.int32))
    return int(said[0]), bool(said[1])


def entries(path: Path, process: int = 0, processes: int = 1) -> dict[str, Entry]:
    """What a process has written there, by name; all of it is synced first, so that power may fail at any time."""
    found = {name: status for name, status in files.walk(path) if _writer(name) % processes == process}
    for name in found:
        files.sync(path / name)
    sizes = {name: status.st_size for name, status in found.items() if stat.S_ISREG(status.st_mode)}
    hashed = zip(sizes.items(), _hashes([path / name for name in sizes]), strict=True)
    return {name: {"size": size, "sha256": digest} for (name, size), digest in hashed}


def _writer(name: str) -> int:
    """The process that has written a file or folder: Orbax names those of each, and the first writes the rest."""
    match = WRITER.search(name)
    return int(match[1]) if match else 0


def send(path: Path, process: int, processes: int) -> None:
    """To the first process, the `entries` of another, once Orbax has committed what all have written."""
    _wait_for(path, 0)
    told = _told(path, process)
    draft = told.with_name(f"{told.name}.new")
    draft.write_text(json.dumps(entries(path, process, processes)))
    draft.rename(told)


def gather(path: Path, processes: int) -> dict[str, Entry]:
    """The `entries` of all processes, each of which has hashed its own."""
    found = entries(path, 0, processes)
    for process in range(1, processes):
        told = _told(path, process)
        _wait_for(told, process)
        found |= files.read_json(told, LARGEST_SEAL)
        told.unlink()
    return found


def _told(path: Path, process: int) -> Path:
    """Beside the unfinished checkpoint, under a name that counts as unfinished, too."""
    return path.with_name(f"{path.name}.{process}.json")


def _wait_for(path: Path, process: int) -> None:
    """Raises StorageError where a process does not come: on a disk that is not shared, its files are seen by none."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise StorageError(
                f"{path} of process {process} did not appear within {PATIENCE:.0f} s; let --workdir lie on a disk "
                "that all processes share."
            )
        time.sleep(0.02)


def seal(path: Path, step: int, fit: str | None, found: Mapping[str, Entry]) -> None:
    """Write the manifest of a committed checkpoint, of its `entries`."""
    (path / SEAL).write_text(json.dumps({"step": step, "fit": fit, "files": found}, indent=1))
    files.sync(path / SEAL)
    files.sync(path)


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None. Reads every byte; links, pipes and foreign files are faults too."""
    fault, claimed = described(path)
    return fault or changed(path, claimed)


def described(path: Path) -> tuple[str | None, dict[str, Entry]]:
    """(what is wrong with a checkpoint as far as its files' names and sizes tell, what its manifest says of them)."""
    if path.is_symlink():
        return "it is a symbolic link", {}
    try:
        manifest = files.read_json(path / SEAL, LARGEST_SEAL)
        claimed = {
            name: {"size": int(entry["size"]), "sha256": str(entry["sha256"])}
            for name, entry in manifest["files"].items()
        }
        step, fit = manifest["step"], manifest["fit"]
    except FileNotFoundError:
        return "its seal is missing", {}
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return "its seal is unreadable", {}
    if str(step) != path.name:
        return f"its seal is that of step {step}", {}
    if fit != fit_hash(path.parent):
        return f"it does not belong to the {FIT} beside it", {}
    try:
        return _misfit(path, claimed), claimed
    except OSError as error:
        return f"it cannot be read ({error.strerror})", {}


def _misfit(path: Path, claimed: Mapping[str, Entry]) -> str | None:
    """Which file lacks, is too many, or has another size than the manifest says."""
    found = {name: status for name, status in files.walk(path) if name != SEAL and not stat.S_ISDIR(status.st_mode)}
    for name, status in found.items():
        if not stat.S_ISREG(status.st_mode):
            return f"{name} is no regular file"
    if odd := sorted(found.keys() ^ claimed.keys()):
        return f"{odd[0]} is {'not in the seal' if odd[0] in found else 'missing'}"
    other = [name for name, entry in claimed.items() if found[name].st_size != entry["size"]]
    return f"{min(other)} has changed" if other else None


def changed(path: Path, claimed: Mapping[str, Entry]) -> str | None:
    """Which file has other bytes than the manifest says; a file that cannot be read counts, too."""
    try:
        hashed = zip(claimed.items(), _hashes([path / name for name in claimed]), strict=True)
        other = [name for (name, entry), now in hashed if now != entry["sha256"]]
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return f"{min(other)} has changed" if other else None


def _hashes(paths: Sequence[Path]) -> list[str]:
    """sha256 of the files, several at a time: a processor hashes slower than a good disk reads."""
    with ThreadPoolExecutor(runtime.threads(), thread_name_prefix="hash") as pool:
        return list(pool.map(files.sha256, paths))


def fit_hash(folder: Path) -> str | None:
    """Of the description beside checkpoints/; None where there is none: not every caller of `fit` writes one."""
    with contextlib.suppress(OSError):
        return hashlib.sha256(files.read(folder.parent / FIT)).hexdigest()
    return None


def say(message: str) -> None:
    print(plain(message, 10 * LONGEST), file=sys.stderr, flush=True)
