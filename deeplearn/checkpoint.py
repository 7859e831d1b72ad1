"""Checkpoints: the only file that knows Orbax.

A checkpoint counts only once it is sealed: after Orbax has committed `checkpoints/<step>/`, a manifest with the size
and sha256 of every file is synced to disk and renamed into place. Restoring takes the newest step whose seal verifies,
so a flipped byte leads to the older checkpoint, never to wrong numbers (Orbax itself restores flipped bytes silently).
"""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from deeplearn.errors import ConfigError, StorageError

SEAL = "SEAL.json"
DAMAGED = ".damaged"


class Store:
    """Saves in the background, seals, restores; use it as a context manager so that the last save is finished.

    Methods raise StorageError where the disk is full, read-only or holds nothing that can be trusted.
    """

    def __init__(self, folder: Path, *, keep: int = 2):
        self.folder = folder.absolute()
        self._keep = keep
        # What goes wrong is raised here, in one sentence; Orbax logs hundreds of lines about it besides.
        logging.getLogger("absl").addFilter(_not_from_orbax)
        self._orbax = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="seal")
        self._pending: Future[None] | None = None
        self.sealed: int | None = None
        """The newest step that is safe on disk."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except StorageError as lost:
            if error is None:
                raise
            _say(str(lost))  # The first error is the one to show; this one must not hide it.
        finally:
            self._thread.shutdown()
            self._orbax.close()

    def save(self, step: int, state: PyTree) -> None:
        """Copy the state to the host and return; writing and sealing go on in the background, one save at a time."""
        self.wait()
        target = self.folder / str(step)
        if (target / SEAL).exists():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if sum(leaf.nbytes for leaf in jax.tree.leaves(state)) > shutil.disk_usage(self.folder).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # Before the rest of the disk is taken, too.
            if target.exists() and jax.process_index() == 0:
                shutil.rmtree(target)  # Committed by Orbax but never sealed: the run died in between.
            self._orbax.save(target, args=ocp.args.StandardSave(_flat(state)))
        except (OSError, ValueError) as error:
            raise self._not_saved(error) from error
        self._pending = self._thread.submit(self._finish, step, target)

    def _finish(self, step: int, target: Path) -> None:
        self._orbax.wait_until_finished()
        if jax.process_index() == 0:  # Orbax commits, here, only what all processes have written.
            seal(target)
            for old in steps(self.folder)[: -self._keep]:
                shutil.rmtree(self.folder / str(old), ignore_errors=True)
        self.sealed = step

    def wait(self) -> None:
        """Return once the save under way is sealed."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        try:
            pending.result()
        except Exception as error:  # Orbax passes on what the disk says under various types.
            for partial in self.folder.glob("*orbax-checkpoint-tmp*"):
                shutil.rmtree(partial, ignore_errors=True)  # Else the unfinished copy keeps the disk full.
            raise self._not_saved(error) from error

    def _not_saved(self, error: Exception) -> StorageError:
        told = re.search(r"os_error_code='(\d+)'", str(error))  # TensorStore's way to pass the system's error on.
        reason = os.strerror(int(told[1])) if told else getattr(error, "strerror", None) or str(error).splitlines()[0]
        safe = f"step {self.sealed} is safe" if self.sealed is not None else "older checkpoints are untouched"
        return StorageError(
            f"cannot write a checkpoint into {self.folder} ({reason}); {safe}; "
            "free space or choose another --workdir, and run again to resume."
        )

    def restore(self, target: PyTree) -> tuple[int, PyTree] | None:
        """The newest checkpoint that verifies, placed as `target` says; None where there is none at all.

        Args:
            target: tree of ShapeDtypeStruct with shardings; any mesh will do, whatever the checkpoint was saved on.

        Raises:
            ConfigError: tree, shape or type differ: the checkpoint belongs to another model or optimizer.
            StorageError: there are checkpoints, but none that verifies.
        """
        step = self._newest()
        if step is None:
            return None
        path = self.folder / str(step)
        flat = _flat(target)
        _compare(self._orbax.metadata(path).item_metadata.tree, flat, path)
        restored = self._orbax.restore(path, args=ocp.args.StandardRestore(flat))
        return step, jax.tree.unflatten(jax.tree.structure(target), [restored[name] for name in flat])

    def arrays(self) -> tuple[int, dict[str, jax.Array]] | None:
        """As `restore`, but as path -> array on the default device, where no target is known."""
        step = self._newest()
        if step is None:
            return None
        path = self.folder / str(step)
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        saved = self._orbax.metadata(path).item_metadata.tree
        target = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here) for name, leaf in saved.items()}
        return step, self._orbax.restore(path, args=ocp.args.StandardRestore(target))

    def _newest(self) -> int | None:
        """The newest step whose seal verifies. The first process chooses for all; its errors end the others, too."""
        if jax.process_count() == 1:
            return self._choose()
        chosen = self._choose() if jax.process_index() == 0 else None
        step = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if chosen is None else chosen)))
        return None if step < 0 else step

    def _choose(self) -> int | None:
        """Verify from the newest step down; damaged ones are set aside by renaming, never deleted."""
        found = steps(self.folder)
        for step in reversed(found):
            path = self.folder / str(step)
            fault = verify(path)
            if fault is None:
                why = "its seal verifies" if step == found[-1] else "the newest whose seal verifies"
                _say(f"restoring step {step} from {path} ({why})")
                return step
            aside = path.with_name(path.name + DAMAGED)
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            _say(f"checkpoint {step} is damaged ({fault}); set aside as {aside}")
        if found:
            raise StorageError(
                f"no checkpoint in {self.folder} verifies; restore it from a copy, or start again in a new --workdir."
            )
        return None


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def steps(folder: Path) -> list[int]:
    """Steps with a committed checkpoint, sealed or not, oldest first."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()) if folder.is_dir() else []


def seal(path: Path) -> None:
    """Write the manifest of a committed checkpoint; everything is synced first, so that power may fail at any time."""
    files = _files(path)
    for name in files:
        _sync(path / name)
    for folder in [entry for entry in path.rglob("*") if entry.is_dir()]:
        _sync(folder)
    manifest = {name: {"size": (path / name).stat().st_size, "sha256": _sha256(path / name)} for name in files}
    draft = path / f"{SEAL}.tmp"
    draft.write_text(json.dumps(manifest, indent=1))
    _sync(draft)
    draft.rename(path / SEAL)
    _sync(path)
    _sync(path.parent)


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None. Reads every byte; symbolic links and foreign files are faults too."""
    try:
        manifest = json.loads((path / SEAL).read_text())
        claimed = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in manifest.items()}
    except FileNotFoundError:
        return "it was never sealed: the run stopped while saving"
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return "its seal is unreadable"
    if any(entry.is_symlink() for entry in path.rglob("*")):
        return "it holds a symbolic link"
    found = set(_files(path))
    if odd := sorted(found ^ set(claimed)):
        return f"{odd[0]} is {'not in the seal' if odd[0] in found else 'missing'}"
    for name, (size, digest) in claimed.items():
        if (path / name).stat().st_size != size or _sha256(path / name) != digest:
            return f"{name} has changed"
    return None


def _files(path: Path) -> list[str]:
    """Relative names of all regular files but the seal."""
    return sorted(
        str(file.relative_to(path)) for file in path.rglob("*") if file.is_file() and not file.name.startswith(SEAL)
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flat(tree: PyTree) -> dict[str, jax.Array]:
    """path -> leaf: names survive where container types (optax's named tuples) would not."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _compare(saved: dict[str, jax.ShapeDtypeStruct], target: dict[str, jax.ShapeDtypeStruct], path: Path) -> None:
    """Orbax would silently cast another type; a checkpoint of another model must be an error that says where."""
    if odd := sorted(set(saved) ^ set(target)):
        side = "the checkpoint lacks" if odd[0] in target else "only the checkpoint has"
        raise ConfigError(
            f"{path} belongs to another model or optimizer: {side} {odd[0]}; "
            "use the knobs it was made with, or a new --workdir."
        )
    for name, leaf in target.items():
        have, want = (tuple(saved[name].shape), saved[name].dtype), (tuple(leaf.shape), leaf.dtype)
        if have != want:
            raise ConfigError(
                f"{path} belongs to another model: {name} is {have[1]}{list(have[0])} there, "
                f"{want[1]}{list(want[0])} here; use the knobs it was made with, or a new --workdir."
            )
