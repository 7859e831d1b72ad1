"""What a result depends on besides code and config: versions, devices, processor, settings, git state.

Nothing here names the machine or its user, so that a report can be shown to anybody.
"""

import importlib.metadata
import os
import platform
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from deeplearn import files
from deeplearn.config import flat

PACKAGES = (
    *("deeplearn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorstore", "ml_dtypes", "numpy", "scipy"),
    *("scikit-learn", "pillow", "sentencepiece", "sacrebleu", "grain", "tensorflow-datasets"),
)
# Only these: others may hold addresses, names or keys.
VARIABLES = re.compile(
    r"(JAX|XLA)_(?!.*(ADDRESS|BIND)).*|LIBTPU_INIT_ARGS|NVIDIA_TF32_OVERRIDE|NPROC|GLIBC_TUNABLES|TF_CUDNN_DETERMINISTIC"
    r"|(OMP|OPENBLAS|MKL)_NUM_THREADS|CUDA_VISIBLE_DEVICES|DEEPLEARN_(DATA|RUNS|RUNTIME)|TFDS_DATA_DIR"
    r"|SLURM_(JOB_NUM_NODES|NTASKS)"
)
EARLIER = "earlier"
"""In env.json: what was different at each start before the last."""
UNTRACKED = 20
"""New files in a checkout that are named."""
# The extensions that decide which vector code XLA and BLAS choose, hence the last bits of a result on a CPU.
VECTOR = re.compile(r"sse4_2|fma|f16c|avx\w*|amx\w*|asimd\w*|sve\w*|bf16|i8mm")


def environment(code: Path | None = None) -> dict[str, Any]:
    """The stamp that is written as `env.json`, as JSON values; `code` is the experiment's file where it is a user's."""
    devices = Counter((device.platform, device.device_kind) for device in jax.devices())
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": _versions(),
        "devices": [{"platform": p, "kind": kind, "count": count} for (p, kind), count in devices.items()],
        "processes": jax.process_count(),
        "cpu": cpu(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "variables": {name: _homeless(text) for name, text in sorted(os.environ.items()) if VARIABLES.fullmatch(name)},
        "settings": {
            "x64": jax.config.jax_enable_x64,
            "matmul_precision": jax.config.jax_default_matmul_precision or "default",
            "partitionable_threefry": jax.config.jax_threefry_partitionable,
        },
        "git": git_state(code),
    }


def after(before: dict[str, Any], stamp: dict[str, Any]) -> dict[str, Any]:
    """The stamp of a start that follows others: it keeps of each of them what was different then."""
    earlier = before.get(EARLIER)
    last = {name: value for name, value in before.items() if name != EARLIER and stamp.get(name) != value}
    return stamp | {EARLIER: [*(earlier if isinstance(earlier, list) else []), last]} if before else stamp


def cpu() -> dict[str, Any]:
    """Model, vector extensions, cores of the machine, and threads that this process may use."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:  # Not Linux.
        text = ""
    model = re.search(r"^model name\s*: (.*)$", text, re.M)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.M)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": model[1] if model else platform.processor() or platform.machine(),
        "isa": sorted(flag for flag in set(flags[1].split()) if VECTOR.fullmatch(flag)) if flags else [],
        "cores": os.cpu_count(),
        "threads": usable,
    }


def git_state(code: Path | None = None) -> dict[str, Any] | None:
    """Commit of the code and whether it was changed since, which `diff_patch` shows; None where it is not a checkout.

    New files that are no code are in no patch: some are named under "untracked", where there are any.
    """
    top = _checkout(code)
    commit = top and _git(top, "rev-parse", "HEAD")
    if not commit:
        return None
    found = (_git(top, "status", "--porcelain", "-z", "--no-renames") or "").split("\0")
    lines = [(line[:2], line[3:]) for line in found if line]
    new = [name for state, name in lines if state == "??" or "A" in state]
    modules = _git(top, "ls-files", "--others", "--exclude-standard", "--", "*.py")  # in new folders too
    dirty = len(new) < len(lines) or bool(modules) or any(name.endswith(".py") for name in new)
    others = [name for name in new if not name.endswith(".py")]
    more = [f"and {len(others) - UNTRACKED} more"] if len(others) > UNTRACKED else []
    untracked = {"untracked": others[:UNTRACKED] + more} if others else {}
    return {"commit": commit.strip(), "dirty": dirty, **untracked}


def diff_patch(code: Path | None = None) -> str:
    """What `git apply` needs to get from the commit to the code that ran, new Python files included."""
    top = _checkout(code)
    if top is None:
        return ""
    with tempfile.TemporaryDirectory() as scratch:  # An index of our own: the user's is not to be touched.
        index = str(Path(scratch) / "index")
        _git(top, "read-tree", "HEAD", index=index)
        _git(top, "add", "--intent-to-add", "--", "*.py", index=index)
        return _git(top, "diff", "--no-ext-diff", "--no-textconv", "HEAD", index=index) or ""


def _checkout(code: Path | None) -> Path | None:
    """The checkout that holds this package, else the one with the experiment's file: not where we happen to be."""
    package = Path(__file__)
    tracked = _git(package.parent, "ls-files", "--error-unmatch", package.name) is not None
    home = package.parent if tracked else code and code.resolve().parent
    top = home and _git(home, "rev-parse", "--show-toplevel")
    return Path(top.strip()) if top else None


def _git(folder: Path, *arguments: str, index: str = "") -> str | None:
    """What git prints; None where it fails, is not installed or hangs. The checkout's settings start no program."""
    safe = [word for setting in ("core.fsmonitor=false", "core.hooksPath=/dev/null") for word in ("-c", setting)]
    command = ["git", *safe, "-C", str(folder), *arguments]
    env = os.environ | {"GIT_OPTIONAL_LOCKS": "0"} | ({"GIT_INDEX_FILE": index} if index else {})
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _homeless(text: str) -> str:
    """A path without the name of the user."""
    home = str(files.home())
    return text.replace(home, "~") if len(home) > 1 else text


FACTS = (
    ("system", "system", ""),
    ("memory", "memory_gib", " GiB"),
    ("processes", "processes", ""),
    ("Python", "python", ""),
)


def facts(stamp: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The environment stamp as short lines; whatever is missing or of another shape is passed over."""
    devices, cpu, git = stamp.get("devices"), stamp.get("cpu"), stamp.get("git")
    if isinstance(stamp.get("started"), str):
        yield "started", stamp["started"].replace("T", " ")
    if isinstance(devices, list):
        yield "devices", ", ".join(f"{d.get('count')} × {d.get('kind')}" for d in devices if isinstance(d, dict))
    if isinstance(cpu, dict):
        yield "processor", f"{cpu.get('model')}, {cpu.get('threads')} of {cpu.get('cores')} cores"
        isa = cpu.get("isa")
        yield "vector extensions", " ".join(map(str, isa)) if isinstance(isa, list) else ""
    yield from ((name, f"{stamp[key]}{unit}") for name, key, unit in FACTS if stamp.get(key))
    for key in ("packages", "variables", "settings", "data"):
        if isinstance(stamp.get(key), dict):
            yield key, ", ".join(f"{name} {value}" for name, value in flat(stamp[key]).items())
    if isinstance(git, dict):
        yield "commit", f"{git.get('commit')}{' with local changes (diff.patch)' if git.get('dirty') else ''}"
        if isinstance(new := git.get("untracked"), list):
            yield "files that the commit lacks", ", ".join(map(str, new))
