"""Settings that must be in place before JAX, or even the process, starts; docs/performance.md shows what each is worth.

Only the command line applies them, and only where the user has not: a variable that is set is left alone. They are part
of what decides the last bits of a result, so the environment stamp of every run records them. Must not import jax.
"""

import hashlib
import importlib.metadata
import math
import os
import platform
import re
import stat
import sys
from collections.abc import MutableMapping
from pathlib import Path

from deeplearn import files
from deeplearn.errors import ConfigError

SWITCH = "DEEPLEARN_RUNTIME"
"""`off`: leave the environment alone. `started` marks the one new process that `prepare` makes."""
MALLOC = (
    "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776"
)
"""XLA takes and returns large temporaries every step. Freed memory stays in the process's one heap (unless 2^40 bytes
of it are free) instead of going back to the system, whence it would come as fresh pages to be cleared; those of the
heap have 2 MiB instead of 4 KiB."""
RESTART = ("GLIBC_TUNABLES",)
"""Read by the C library when a process starts, so only a new process sees them."""
CACHE_BYTES = 2 * 2**30
"""Most that compiled programs may take on disk; the least recently used go first. A ResNet-50 step is a few MiB."""
CACHE_SECONDS = 0.05
"""Programs that compile faster are not kept: reading them back would take as long."""


def settings() -> dict[str, str]:
    """The environment variables that a run on this machine should have. Creates the compilation cache's folder."""
    chosen = {"NPROC": str(threads())}
    if (cache := _cache()) is not None:
        chosen["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        chosen["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(CACHE_BYTES)
        chosen["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = str(CACHE_SECONDS)
    if platform.libc_ver()[0] == "glibc":
        chosen["GLIBC_TUNABLES"] = MALLOC
    return chosen


def prepare(run: Path | None = None) -> None:
    """Apply `settings` where the user has set nothing; restarts the process, once, if it is our command line.

    In a notebook, a test or somebody's own program it sets what still takes effect, and never restarts.

    Args:
        run: folder of a run that is to be gone on with; it keeps the number of threads that it began with.

    Raises:
        ConfigError: the user has set another number.
    """
    if os.environ.get(SWITCH) in ("off", "started"):
        return
    if run is not None and _ours():
        keep_threads(run, os.environ)
    added = apply(os.environ)
    if any(name in added for name in RESTART) and _ours():
        sys.stdout.flush()
        sys.stderr.flush()
        os.environ[SWITCH] = "started"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def apply(environment: MutableMapping[str, str]) -> dict[str, str]:
    """Add the settings that the environment lacks; returns those."""
    added = {name: value for name, value in settings().items() if name not in environment}
    environment.update(added)
    return added


def keep_threads(run: Path, environment: MutableMapping[str, str]) -> None:
    """Set NPROC to what it was when the run began: XLA cuts sums by it, so that another would change the last bits.

    Raises:
        ConfigError: the environment says another number.
    """
    try:
        began = str(files.read_json(run / "env.json")["variables"]["NPROC"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # A new folder, or an older run.
    if not re.fullmatch(r"[1-9]\d{0,3}", began):
        return
    if environment.setdefault("NPROC", began) != began:
        raise ConfigError(
            f"the run in {run} began with NPROC={began}, and NPROC={environment['NPROC']} would change its last bits; "
            "unset NPROC to go on, or begin anew with --restart."
        )


def threads() -> int:
    """Threads that this process can really use: its processor affinity, or less where its control group has a quota.

    XLA looks at the affinity only, and makes 64 threads in a container that may use two processors of 64.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):  # Not Linux, or an older kind of control group.
        return usable
    return usable if quota == "max" else max(1, min(usable, math.ceil(int(quota) / int(period))))


def _ours() -> bool:
    """Whether the process runs our command, so that starting it again repeats nothing but its start."""
    script = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    return script.name in ("deeplearn", "deeplearn.exe") or script.resolve().parent in (
        Path(__file__).parent,
        Path(__file__).parent.parent / "experiments",
        Path(__file__).parent.parent / "benchmarks",
        Path(__file__).parent / "benchmarks",
    )


def _cache() -> Path | None:
    """A folder for compiled programs that nobody else can write to, since JAX runs what it finds there; else None.

    One for each kind of processor: a program compiled for another one could stop with an illegal instruction.
    """
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # Another's folder, such as the one for temporary files, would not do.
        return _without(Path("~/.cache"), "this account has no home")
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = platform.processor()
    features = re.search(r"^(?:flags|Features)\s*:.*$", text, re.M)
    kind = hashlib.sha256((features[0] if features else text).encode()).hexdigest()[:8]
    folder = root / "deeplearn" / f"jax-{importlib.metadata.version('jaxlib')}-{platform.machine()}-{kind}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        return _without(folder, error.strerror or "it cannot be made")
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022):
        return _without(folder, "others can write to it")
    return folder


def _without(folder: Path, reason: str) -> None:
    print(
        f"deeplearn: no compilation cache, every start compiles again ({folder}: {reason}); set XDG_CACHE_HOME.",
        file=sys.stderr,
    )
