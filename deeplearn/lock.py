"""One training a folder: an advisory lock that the system takes back when its owner dies, however it dies."""

import contextlib
import errno
import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import jax
import numpy as np

from deeplearn import files
from deeplearn.errors import ConfigError

LOCK = "lock"
"""The file that is locked; it names the owner while a training runs, and is gone when it has ended in order."""
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What disks without locks answer, such as Lustre mounted without `flock`."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made if there is none. The first of several processes holds it for all.

    On NFS since Linux 2.6.12 the lock holds between hosts. Where the disk knows no locks, a line says so.

    Raises:
        ConfigError: another training has it; the message names its host, process and start.
        StorageError: the folder cannot be written.
    """
    fresh = not folder.exists()
    descriptor = take(folder / LOCK) if jax.process_index() == 0 else None
    if not _agreed(descriptor is not None):
        raise ConfigError(
            f"{folder} is in use by {_owner(folder / LOCK)}; wait for it, stop it, or choose another --workdir."
        )
    try:
        yield
    finally:
        if descriptor is not None:
            release(folder / LOCK, descriptor)
            if fresh:  # Nothing may have come of it, and then nothing is left.
                with contextlib.suppress(OSError):
                    folder.rmdir()


def take(path: Path) -> int | None:
    """The open, locked file, or None where another process holds it. Raises StorageError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                print(
                    f"{path.parent} lies on a disk without locks ({error.strerror}): "
                    "see to it that no second training uses the folder",
                    file=sys.stderr,
                )
            if _is(descriptor, path):
                break
            os.close(descriptor)  # Its owner ended, and removed the file, between our two calls.
    except OSError as error:
        raise files.unwritable(path, error) from error
    started = datetime.now(UTC).isoformat(timespec="seconds")
    owner = {"host": platform.node(), "pid": os.getpid(), "started": started}
    with contextlib.suppress(OSError):  # A disk that has no room for a name can still hold the lock.
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(owner).encode())
    return descriptor


def release(path: Path, descriptor: int) -> None:
    """Give back what `take` gave."""
    path.unlink(missing_ok=True)  # While it is still held: nobody can have taken it.
    os.close(descriptor)


def _is(descriptor: int, path: Path) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _owner(path: Path) -> str:
    try:
        owner = files.read_json(path, 10_000)
        return f"process {int(owner['pid'])} on {owner['host']}, started {owner['started']}"
    except (OSError, ValueError, TypeError, KeyError):  # It has not written its name yet, or has just ended.
        return "another training"


def _agreed(taken: bool) -> bool:
    """What the first process found, in all processes."""
    if jax.process_count() == 1:
        return taken
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return bool(broadcast_one_to_all(np.int32(taken)))
