"""The run folder: everything that one run leaves behind, in files that outlive this code.

runs/<experiment>/<date>-<time>-<4 hex>/
    config.json      {"experiment", "config", "changed": knobs that are not at their defaults}
    command.txt      one command a start; the last one made the result
    env.json         versions, devices, processor, git commit (diff.patch where files were changed) of the last start,
                     and under "earlier" what was different at those before
    metrics.jsonl    {"step", "seconds", name: value, ...} a line
    result.json      `Result`, written when all is measured
    seal.json        hashes of what a prediction depends on beside the checkpoints, written last (see `seal`)
    lock             who is at work here, while somebody is (see `deeplearn.lock`)
    notes.md         what its maker says of it: yours to write, shown in reports
    checkpoints/  assets/  figures/  events.out.tfevents.*
"""

import contextlib
import hashlib
import json
import os
import secrets
import shlex
import shutil
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from deeplearn import files
from deeplearn.config import changed, to_json
from deeplearn.errors import ConfigError, UsageError
from deeplearn.lock import LOCK
from deeplearn.plain import finite, plain
from deeplearn.record.environment import after, diff_patch, environment
from deeplearn.record.statistics import Interval, Paired

CONFIG = "config.json"
SEAL = "seal.json"
RESULT = "result.json"
LOG = "metrics.jsonl"
ENVIRONMENT = "env.json"
PARTIAL = ".partial"
"""Ending of a file while it is written."""
STAMPS = {CONFIG, SEAL, LOCK, ENVIRONMENT, "command.txt", "diff.patch", "experiment.py"}
"""What a run folder holds before anything is trained."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a finished run found."""

    experiment: str
    config: dict[str, Any]
    """As `to_json(config)`."""
    metrics: dict[str, float | None]
    """"split/metric" -> value, the mean where there are several seeds; None where it is not a finite number."""
    baseline: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Competitor -> the same metrics on the same split."""
    paired: dict[str, dict[str, Paired]] = field(default_factory=dict)
    """Competitor -> metric -> how much more the competitor has than we, on the same test examples."""
    seeds: dict[str, Interval] = field(default_factory=dict)
    """Metric -> its values over seeds."""
    tables: dict[str, Any] = field(default_factory=dict)
    """Name -> nested lists; a name that ends in "confusion" holds counts [truth, prediction]."""
    classes: list[str] = field(default_factory=list)
    """Names of the rows and columns of the tables."""
    steps: int = 0
    """Updates that the run might make; one whose patience ended has made fewer."""
    seconds: float = 0.0
    """Wall-clock time of the run."""
    parameters: int = 0
    """Trained numbers in the model."""
    finished: str = ""
    """UTC time; filled in when the result is written."""


def run_folder(folder: Path | None, experiment: str, source: bytes | None = None) -> Path:
    """The folder as given, or the name of a new one under DEEPLEARN_RUNS, by default `runs`; the same in all processes.

    Raises:
        UsageError: the folder holds another experiment, or files that are not a run.
        ConfigError: the experiment's file has changed.
    """
    if folder is None:
        name = _agreed(f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")
        return root() / Path(experiment).stem / name
    if jax.process_index() == 0:
        _check_free(folder, experiment, _digest(source))
    return folder


def open_run(folder: Path | None, config: Any, experiment: str, source: bytes | None = None) -> Path:
    """Make the run folder and stamp it. In a run of many processes all get the same folder, and the first writes.

    Args:
        folder: as in `run_folder`; one that others may use has to be locked.
        config: the knobs, a dataclass.
        experiment: name or path of the experiment's file.
        source: the experiment's file where it is not one of ours; a copy stays in the folder as experiment.py.

    Raises:
        UsageError: the folder holds another experiment, or files that are not a run.
        StorageError: the disk is full or read-only.
    """
    folder = run_folder(folder, experiment, source)
    if jax.process_index() > 0:
        return folder
    code = Path(experiment) if experiment.endswith(".py") else None
    stamp = after(_object(folder / ENVIRONMENT), environment(code))
    head = {"experiment": experiment, "source": _digest(source), "config": to_json(config), "changed": changed(config)}
    write_text(folder / SEAL, json.dumps({"files": None}) + "\n")  # First: from here on the files change.
    if source is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "experiment.py").write_bytes(source)
    commands, earlier = folder / "command.txt", ""
    with contextlib.suppress(OSError):
        earlier = files.read(commands).decode("utf-8", errors="replace")
    write_text(folder / CONFIG, json.dumps(head, indent=1) + "\n")
    write_text(folder / ENVIRONMENT, json.dumps(stamp, indent=1, default=str) + "\n")
    write_text(commands, f"{earlier}{_command()}\n")
    if stamp["git"] and stamp["git"]["dirty"] and (patch := diff_patch(code)):
        write_text(folder / "diff.patch", patch)
    if root().absolute() in folder.absolute().parents:
        _point(root() / "latest", folder)
    return folder


def root() -> Path:
    """Where new run folders go."""
    return Path(os.environ.get("DEEPLEARN_RUNS", "runs"))


def _digest(source: bytes | None) -> str | None:
    return None if source is None else hashlib.sha256(source).hexdigest()


class Before(NamedTuple):
    """A run folder as it is before `open_run`."""

    stamps: dict[str, bytes | None]
    """What `open_run` may write over; None where it is no file that can be read."""
    rest: dict[str, tuple[int, int]]
    """Every other file, with its size and the time of its last change."""


def before(folder: Path) -> Before:
    """What `withdraw` needs to put a folder back."""
    if jax.process_index() > 0:
        return Before({}, {})  # The first process writes, also while the others would look.
    stamps = {name: _bytes(folder / name) for name in STAMPS - {LOCK} if os.path.lexists(folder / name)}
    return Before(stamps, _rest(folder))


def _bytes(path: Path) -> bytes | None:
    try:
        return files.read(path)
    except OSError:  # a link, or larger than any of ours
        return None


def _rest(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    others = (path for path in files.below(folder) if path.name not in STAMPS)
    for path in others:  # Another training may be at work there: it is refused, but only later.
        with contextlib.suppress(FileNotFoundError):
            found[str(path)] = (path.lstat().st_size, path.lstat().st_mtime_ns)
    return found


def withdraw(folder: Path, before: Before) -> bool:
    """Take back what `open_run` wrote, where nothing else in the folder has changed since; whether the folder went."""
    if jax.process_index() > 0 or _rest(folder) != before.rest:
        return False
    if not before.stamps and not before.rest:
        shutil.rmtree(folder)
        latest = folder.parent.parent / "latest"
        if latest.is_symlink() and not latest.exists():
            latest.unlink()
    for name in sorted(before.stamps, key=SEAL.__eq__):  # The seal last: it speaks of all others.
        if (data := before.stamps[name]) is not None:
            (folder / name).write_bytes(data)
    return not folder.exists()


def write_result(folder: Path, result: Result) -> None:
    """Write result.json, whole or not at all."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    values = to_json(replace(result, finished=now))
    values = {name: value if name == "config" else finite(value) for name, value in values.items()}
    write_text(folder / "result.json", json.dumps(values, indent=1) + "\n")


def write_text(path: Path, text: str, knob: str = "--workdir") -> None:
    """Write a file so that a crash leaves either the old or the new one.

    Args:
        knob: names another place for the file.

    Raises:
        StorageError: the disk refuses.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise files.unwritable(path, error, knob) from error


def _check_free(folder: Path, experiment: str, source: str | None) -> None:
    """A run folder may be taken up again; anything else that lies there must not be written into."""
    if not folder.exists():
        return
    names = {path.name.removesuffix(PARTIAL) for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    begun = not (folder / CONFIG).exists() and names <= (STAMPS if SEAL in names else {LOCK})
    if begun:
        return  # Nothing is there, or what a start leaves that is killed at once.
    head = _object(folder / CONFIG)
    if head.get("experiment") != experiment:
        what = f"a run of {plain(head['experiment'])}" if "experiment" in head else "files that are not a run"
        raise UsageError(f"{folder} holds {what}; choose another --workdir.")
    if head.get("source") != source:
        raise ConfigError(f"{experiment} has changed since {folder} was begun; restore it, or use a new --workdir.")


def _object(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is none, or a damaged one."""
    with contextlib.suppress(OSError, ValueError):
        value = files.read_json(path)
        return value if isinstance(value, dict) else {}
    return {}


def _agreed(name: str) -> str:
    """The first process's name, in all processes."""
    if jax.process_count() == 1:
        return name
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return bytes(np.asarray(broadcast_one_to_all(np.frombuffer(name.encode(), np.uint8)))).decode()


def _command() -> str:
    """The command line that repeats this start."""
    program, *arguments = sys.argv
    ours = Path(program).name == "deeplearn" or Path(program).parts[-2:] == ("deeplearn", "__main__.py")
    start = ["deeplearn"] if ours else ["python", program]
    return shlex.join(start + arguments)


def _point(link: Path, folder: Path) -> None:
    """Let the link `runs/latest` point at the folder; a disk without symbolic links must not stop a run."""
    fresh = link.with_name(f".latest-{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        fresh.symlink_to(os.path.relpath(folder, link.parent))
        fresh.replace(link)
