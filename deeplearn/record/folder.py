"""The run folder: everything that one run leaves behind, in files that outlive this code.

runs/<experiment>/<date>-<time>-<4 hex>/
    config.json      {"experiment", "config", "changed": knobs that are not at their defaults}
    command.txt      one command a start; the last one made the result
    env.json         versions, devices, processor, git commit (diff.patch where files were changed)
    metrics.jsonl    {"step", "seconds", name: value, ...} a line
    result.json      `Result`, written when all is measured
    seal.json        hashes of what a prediction depends on beside the checkpoints, written last (see `seal`)
    lock             who is at work here, while somebody is (see `deeplearn.lock`)
    checkpoints/  assets/  figures/  events.out.tfevents.*
"""

import contextlib
import hashlib
import json
import math
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deeplearn.config import changed, from_json, to_json
from deeplearn.errors import ConfigError, StorageError, UsageError
from deeplearn.lock import LOCK
from deeplearn.record.environment import diff_patch, environment
from deeplearn.record.statistics import Interval, Paired

CONFIG = "config.json"
SEAL = "seal.json"
STAMPS = {CONFIG, SEAL, LOCK, "env.json", "command.txt", "diff.patch", "experiment.py"}
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
    seconds: float = 0.0
    """Wall-clock time of the run."""
    parameters: int = 0
    """Trained numbers in the model."""
    finished: str = ""
    """UTC time; filled in when the result is written."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run folder as read: what is missing or damaged is empty here and named in `problems`."""

    folder: Path
    experiment: str
    config: dict[str, Any]
    changed: list[str]
    environment: dict[str, Any]
    command: str
    histories: list[list[dict[str, float]]]
    """What was logged: one entry a step, with "step" and "seconds"; one list a seed where seeds trained one by one."""
    result: Result | None
    figures: list[Path]
    problems: list[str]


def run_folder(folder: Path | None, experiment: str, source: bytes | None = None) -> Path:
    """The folder as given, or the name of a new one under DEEPLEARN_RUNS, by default `runs`; the same in all processes.

    Raises:
        UsageError: the folder holds another experiment, or files that are not a run.
        ConfigError: the experiment's file has changed.
    """
    if folder is None:
        name = _agreed(f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")
        return _root() / Path(experiment).stem / name
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
    stamp = environment()
    head = {"experiment": experiment, "source": _digest(source), "config": to_json(config), "changed": changed(config)}
    write_text(folder / SEAL, json.dumps({"files": None}) + "\n")  # First: from here on the files change.
    if source is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "experiment.py").write_bytes(source)
    commands = folder / "command.txt"
    earlier = commands.read_text() if commands.exists() else ""
    write_text(folder / CONFIG, json.dumps(head, indent=1) + "\n")
    write_text(folder / "env.json", json.dumps(stamp, indent=1, default=str) + "\n")
    write_text(commands, f"{earlier}{_command()}\n")
    if stamp["git"] and stamp["git"]["dirty"]:
        write_text(folder / "diff.patch", diff_patch())
    if _root().absolute() in folder.absolute().parents:
        _point(_root() / "latest", folder)
    return folder


def _root() -> Path:
    return Path(os.environ.get("DEEPLEARN_RUNS", "runs"))


def _digest(source: bytes | None) -> str | None:
    return None if source is None else hashlib.sha256(source).hexdigest()


def withdraw(folder: Path) -> None:
    """Take back what `open_run` wrote, where nothing else has come into the folder since."""
    if jax.process_index() == 0 and {path.name for path in folder.iterdir()} <= STAMPS:
        shutil.rmtree(folder)
        latest = folder.parent.parent / "latest"
        if latest.is_symlink() and not latest.exists():
            latest.unlink()


def write_result(folder: Path, result: Result) -> None:
    """Write result.json, whole or not at all."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    values = to_json(replace(result, finished=now))
    values = {name: value if name == "config" else _finite(value) for name, value in values.items()}
    write_text(folder / "result.json", json.dumps(values, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a crash leaves either the old or the new one; StorageError where the disk refuses."""
    partial = path.with_name(path.name + ".partial")
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
        raise StorageError(
            f"cannot write {path} ({error.strerror}); free some space or choose another folder with --workdir."
        ) from error


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Run folders among and below the given folders, oldest first, each once.

    Raises:
        UsageError: a place does not exist or holds no run.
    """
    found = []
    for place in places:
        inside = sorted(_runs_below(place), key=lambda run: run.name)
        if not inside:
            what = "holds no run" if place.is_dir() else "does not exist"
            raise UsageError(f"{place} {what}; give a folder that `deeplearn train` printed, or runs/latest.")
        found += inside
    return list({path.resolve(): path for path in found}.values())


def _runs_below(place: Path) -> Iterator[Path]:
    """Not inside a run, whose folders of single seeds are no runs of their own; links are followed only at the top."""
    if any((place / name).is_file() for name in ("config.json", "result.json", "metrics.jsonl")):
        yield place.resolve() if place.is_symlink() else place
    elif place.is_dir():
        for inner in place.iterdir():
            if not inner.is_symlink():
                yield from _runs_below(inner)


def load_run(folder: Path) -> Record:
    """Read a run folder, finished or not; nothing inside it can make this fail.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} does not exist; give a folder that `deeplearn train` printed, or runs/latest.")
    problems: list[str] = []
    head = _read_json(folder / "config.json", problems)
    logs = [folder / "metrics.jsonl", *sorted(folder.glob("seed-*/metrics.jsonl"))]
    histories = [history for log in logs if (history := read_history(log, problems))]
    stored = _read_json(folder / "result.json", problems) if (folder / "result.json").exists() else None
    result = None
    if stored is None:
        last = f", last logged step {histories[-1][-1]['step']:.0f}" if histories else ", nothing logged"
        problems.append(f"unfinished: no result.json{last}")
    elif stored:
        try:
            result = from_json(Result, stored)
        except ConfigError as error:
            problems.append(f"result.json is damaged: {error}")
    config = head.get("config")
    name = head.get("experiment") or (result.experiment if result else folder.resolve().parent.name)
    commands = (folder / "command.txt").read_text(errors="replace") if (folder / "command.txt").is_file() else ""
    return Record(
        folder=folder,
        experiment=Path(str(name)).stem,
        config=config if isinstance(config, dict) else result.config if result else {},
        changed=[name for name in head.get("changed") or [] if isinstance(name, str)],
        environment=_read_json(folder / "env.json", problems),
        command=_repeating(commands.splitlines()),
        histories=histories,
        result=result,
        figures=sorted(p for p in (folder / "figures").glob("*") if p.suffix in (".svg", ".png", ".jpg")),
        problems=problems,
    )


def read_history(path: Path, problems: list[str]) -> list[dict[str, float]]:
    """Entries of metrics.jsonl, one a step (what was logged of a step later joins what came first).

    A line that is torn or damaged is left out and named in `problems`; null is read as NaN.
    """
    steps: dict[float, dict[str, float]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    except OSError as error:
        lines = problems.append(f"{path.name} cannot be read ({error.strerror})") or []
    for number, line in enumerate(lines, 1):
        try:
            entry = {name: math.nan if value is None else float(value) for name, value in json.loads(line).items()}
            steps.setdefault(entry["step"], {}).update(entry)
        except (ValueError, TypeError, AttributeError, KeyError):
            problems.append(f"{path.name} line {number} is damaged and left out")
    return [steps[step] for step in sorted(steps)]


def _read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{path.name} is missing")
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} is damaged: {error}")
    else:
        if isinstance(value, dict):
            return value
        problems.append(f"{path.name} is damaged: not an object")
    return {}


def _check_free(folder: Path, experiment: str, source: str | None) -> None:
    """A run folder may be taken up again; anything else that lies there must not be written into."""
    if not folder.exists() or (folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK, SEAL}):
        return  # At most what a start leaves that is killed at once.
    head = _read_json(folder / "config.json", [])
    if head.get("experiment") != experiment:
        what = f"a run of {head['experiment']}" if "experiment" in head else "files that are not a run"
        raise UsageError(f"{folder} holds {what}; choose another --workdir.")
    if head.get("source") != source:
        raise ConfigError(f"{experiment} has changed since {folder} was begun; restore it, or use a new --workdir.")


def _agreed(name: str) -> str:
    """The first process's name, in all processes."""
    if jax.process_count() == 1:
        return name
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return bytes(np.asarray(broadcast_one_to_all(np.frombuffer(name.encode(), np.uint8)))).decode()


def _repeating(commands: list[str]) -> str:
    """The last start that said all knobs, without its folder: what makes such a run again, in a new one."""
    for command in reversed(commands):
        try:
            words = shlex.split(command)
        except ValueError:
            continue
        if "resume" in words[:2]:
            continue
        keep = [word for i, word in enumerate(words) if word != "--workdir" and (i == 0 or words[i - 1] != "--workdir")]
        return shlex.join(word for word in keep if not word.startswith("--workdir="))
    return ""


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


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
