"""Checkpoints: the only file that knows Orbax.

`Store` is for the one training that holds the folder's lock. `read` is for everybody else: it changes nothing. Both
take the newest step whose seal verifies (see `sealed`); Orbax itself restores flipped bytes silently.
"""

import contextlib
import errno
import logging
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from deeplearn import files, sealed
from deeplearn.errors import ConfigError, StorageError
from deeplearn.lock import locked
from deeplearn.sealed import say

READS = 20
"""Times that a reader looks again where the training has removed what it was about to read."""


class Store:
    """Saves in the background, seals, restores; a context manager that holds the folder's lock and finishes the save.

    Entering and all methods raise StorageError where the disk is full, read-only or holds nothing that can be trusted;
    entering raises ConfigError where another training has the folder.
    """

    def __init__(self, folder: Path, *, keep: int = 2):
        self.folder = folder.absolute()
        self._keep = keep
        self._pending: Future[None] | None = None
        self.sealed: int | None = None
        """The newest step that is safe on disk."""
        self.seconds = 0.0
        """How long the last save took, from the call to the seal."""

    def __enter__(self) -> Self:
        sealed.refuse_link(self.folder)
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.folder))
            stack.enter_context(_without_late_answers())
            self._orbax = stack.enter_context(ocp.AsyncCheckpointer(_quiet(ocp.StandardCheckpointHandler())))
            self._thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="seal"))
            self._sweep()  # A killed run leaves unfinished copies, which would fill the disk.
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            try:
                self.wait()
            except StorageError as lost:
                if error is None:
                    raise
                say(str(lost))  # The first error is the one to show; this one must not hide it.

    def save(self, step: int, state: PyTree) -> None:
        """Copy the state to the host and return; writing and sealing go on in the background, one save at a time."""
        self.wait()
        target = self.folder / str(step)
        if target.exists():
            return
        started = time.monotonic()
        try:
            if sum(leaf.nbytes for leaf in jax.tree.leaves(state)) > shutil.disk_usage(self.folder).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # Before the rest of the disk is taken, too.
            self._orbax.save(sealed.partial(target), args=ocp.args.StandardSave(flat(state)))
        except (OSError, ValueError) as error:
            raise self._not_saved(error) from error
        self._pending = self._thread.submit(self._finish, step, target, started)

    def _finish(self, step: int, target: Path, started: float) -> None:
        self._orbax.wait_until_finished()
        partial, process, processes = sealed.partial(target), jax.process_index(), jax.process_count()
        if process > 0:
            sealed.send(partial, process, processes)
        else:  # Orbax commits, here, only what all processes have written.
            sealed.seal(partial, step, sealed.fit_hash(self.folder), sealed.gather(partial, processes))
            partial.rename(target)
            files.sync(self.folder)
            self._prune()
        self.sealed, self.seconds = step, time.monotonic() - started

    def _prune(self) -> None:
        """Remove all but the newest, and what was damaged at steps that have been made again."""
        kept = sealed.steps(self.folder)[-self._keep :]
        for path, step, ending in sealed.ours(self.folder):
            if (not ending and step < kept[0]) or (ending == sealed.DAMAGED and step <= kept[-1]):
                sealed.remove(path)

    def _sweep(self) -> None:
        for path, _, ending in sealed.ours(self.folder) if jax.process_index() == 0 else ():
            if ending.startswith(sealed.PARTIAL):
                sealed.remove(path)

    @property
    def saving(self) -> bool:
        """Whether a save is still under way."""
        return self._pending is not None and not self._pending.done()

    def wait(self) -> None:
        """Return once the save under way is sealed."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        try:
            pending.result()
        except Exception as error:  # Orbax passes on what the disk says under various types.
            self._sweep()  # Else the unfinished copy keeps the disk full.
            raise self._not_saved(error) from error

    def _not_saved(self, error: Exception) -> StorageError:
        told = re.search(r"os_error_code='(\d+)'", str(error))  # TensorStore's way to pass the system's error on.
        reason = os.strerror(int(told[1])) if told else getattr(error, "strerror", None) or _first_line(error)
        safe = f"step {self.sealed} is safe" if self.sealed is not None else "older checkpoints are untouched"
        return StorageError(
            f"cannot write a checkpoint into {self.folder} ({reason}); {safe}; "
            "free space, or copy the run to another folder, and run again there to resume."
        )

    def clear(self) -> None:
        """Remove all checkpoints, damaged ones too: the user wants to start again."""
        for path, _, _ in sealed.ours(self.folder) if jax.process_index() == 0 else ():
            sealed.remove(path)

    def restore(self, target: PyTree) -> tuple[int, PyTree] | None:
        """The newest checkpoint that verifies, placed as `target` says; None where there is none at all.

        Newer ones that do not verify are set aside by renaming, as soon as there is an older one that does.

        Args:
            target: tree of ShapeDtypeStruct with shardings; any mesh will do, whatever the checkpoint was saved on.

        Raises:
            ConfigError: tree, shape or type differ: the checkpoint belongs to another model or optimizer.
            StorageError: there are checkpoints, but none that verifies.
        """
        step = self._choose(sealed.verify) if jax.process_count() == 1 else sealed.agree(self.folder, self._choose)
        if step is None:
            return None
        path = self.folder / str(step)
        wanted = flat(target)
        _compare(_saved(self._orbax, path), wanted, path)
        restored = self._orbax.restore(path, args=ocp.args.StandardRestore(wanted))
        return step, jax.tree.unflatten(jax.tree.structure(target), [restored[name] for name in wanted])

    def _choose(self, check: sealed.Check) -> int | None:
        """The newest step whose seal verifies; damaged ones that are newer are set aside."""
        chosen, faults = sealed.newest(self.folder, check)
        for step, fault in faults.items():
            path = self.folder / str(step)
            aside = path.with_name(path.name + sealed.DAMAGED)
            sealed.remove(aside)
            path.rename(aside)
            say(f"checkpoint {step} is damaged ({fault}); set aside as {aside}")
        return chosen


def read(
    folder: Path, shapes: Mapping[str, jax.ShapeDtypeStruct] | None = None, *, seeds: int = 1
) -> tuple[int, dict[str, jax.Array]] | None:
    """(step, path -> array on the default device) of the newest checkpoint that verifies; None where there is none.

    Only what evaluation uses is read: step, extra/, and params/ or the averages that an optimizer keeps of them.
    Nothing on disk is changed, so a training may be at work there.

    Args:
        shapes: the "params/..." and "extra/..." of the model that is to take them, compared before memory is taken.
        seeds: that may have trained together; every leaf then has one more axis [S] in front.

    Raises:
        ConfigError: the checkpoint is one of another model.
        StorageError: there are checkpoints, but none that verifies.
    """
    sealed.refuse_link(folder)
    for _ in range(READS):
        step, faults = sealed.newest(folder, sealed.verify)
        for bad, fault in faults.items():
            say(f"checkpoint {bad} in {folder} is damaged ({fault})")
        path = folder.absolute() / str(step)
        if step is None and not sealed.steps(folder):
            return None
        try:
            return step, _arrays(path, shapes, seeds)
        except ConfigError:
            raise
        except Exception as error:  # Orbax has no type of its own for what it cannot read.
            if path.exists():
                raise StorageError(f"cannot read {path} ({_first_line(error)}); restore it from a copy.") from error
    raise StorageError(f"the checkpoints in {folder} change faster than they can be read; try again.")


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """path -> shape of what `read` would read of the newest checkpoint; no number of it is read."""
    with _alone() as orbax:
        saved = _saved(orbax, folder.absolute() / str(sealed.steps(folder)[-1]))
    return {name: tuple(saved[there].shape) for name, there in _used(saved).items()}


def _arrays(path: Path, shapes: Mapping[str, jax.ShapeDtypeStruct] | None, seeds: int) -> dict[str, jax.Array]:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with _alone() as orbax:
        saved = _saved(orbax, path)
        used = _used(saved)
        if shapes is not None:
            together = len(saved[used["step"]].shape) == 1
            leaves = {"step": jax.ShapeDtypeStruct((), np.int32), **shapes}
            if together:
                leaves = {name: leaf.update(shape=(seeds, *leaf.shape)) for name, leaf in leaves.items()}
            _compare({name: saved[there] for name, there in used.items()}, leaves, path)
        size = sum(math.prod(saved[there].shape) * saved[there].dtype.itemsize for there in used.values())
        if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
            raise ConfigError(f"{path} would take {size / 2**30:,.0f} GiB of memory, more than this machine has.")
        target = {
            there: jax.ShapeDtypeStruct(saved[there].shape, saved[there].dtype, sharding=here)
            for there in used.values()
        }
        how = ocp.checkpoint_utils.construct_restore_args(target)
        found = orbax.restore(path, args=ocp.args.PyTreeRestore(target, how, partial_restore=True))
    return {name: found[there] for name, there in used.items()}


@contextlib.contextmanager
def _alone() -> Iterator[ocp.Checkpointer]:
    """What reads in one process; Orbax would have it wait for the others."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"read-{me}"
    )
    handler = _quiet(ocp.PyTreeCheckpointHandler(multiprocessing_options=alone))
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as orbax:
        yield orbax


def _used(saved: Mapping[str, Any]) -> dict[str, str]:
    """step, params/ and extra/ -> the leaf of a checkpoint that evaluation uses: of the best step or an average where
    the run keeps one."""
    names = {name.removeprefix("state/"): name for name in saved}
    used = {name: names[name] for name in names if name == "step" or name.startswith(("params/", "extra/"))}
    averages = {name.partition("/average/")[2]: there for name, there in names.items() if name.startswith("opt/")}
    used |= {f"params/{name}": there for name, there in averages.items() if name}
    return {name: names.get(f"best/{name}", there) for name, there in used.items()}


def _saved(orbax: Any, path: Path) -> dict[str, Any]:
    """name -> what says shape and type, of a checkpoint's leaves."""
    return orbax.metadata(path).item_metadata.tree


@contextlib.contextmanager
def _without_late_answers() -> Iterator[None]:
    """TensorStore answers the writes that a full disk has ended when nobody listens, and prints each as a traceback."""
    before = sys.unraisablehook

    def hook(args: Any) -> None:
        if str(args.exc_value) != "Event loop is closed":
            before(args)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _quiet(handler: Any) -> Any:
    """What goes wrong is raised here, in one sentence; Orbax logs hundreds of lines about it besides."""
    logging.getLogger("absl").addFilter(_not_from_orbax)
    return handler


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def flat(tree: PyTree) -> dict[str, jax.Array]:
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
