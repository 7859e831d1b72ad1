"""Run folders as they are found: finished or not, damaged, or made by a stranger to do harm."""

import math
import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplearn import files
from deeplearn.config import from_json
from deeplearn.errors import ConfigError, UsageError
from deeplearn.plain import LONGEST, counted, plain, plain_values
from deeplearn.record.folder import CONFIG, ENVIRONMENT, LOG, RESULT, Result

SEEDS = 1000
"""Folders of seeds that are looked at."""
PICTURES = 100
"""Files of figures/ that are looked at."""
NOTES = 200
"""Lines of notes that are shown."""
LAST_STEP = 2**31
"""Steps are counted in int32."""
UNSHOWN = 1e100
"""No float32 is as large, and pictures of larger numbers fail."""


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
    notes: str
    """What notes.md says, line by line."""
    problems: list[str]


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Run folders among and below the given folders, oldest first, each once.

    Raises:
        UsageError: a place does not exist, is no folder or holds no run.
    """
    found = []
    for place in places:
        inside = sorted(_runs_below(place), key=lambda run: run.name)
        if not inside:
            what = "holds no run" if place.is_dir() else _no_folder(place)
            raise UsageError(f"{place} {what}; give a folder that `deeplearn train` printed, or runs/latest.")
        found += inside
    return list({path.resolve(): path for path in found}.values())


def _no_folder(place: Path) -> str:
    return "is a file, not a folder" if place.exists() else "does not exist"


def _runs_below(place: Path, levels: int = 10) -> Iterator[Path]:
    """Not inside a run, whose folders of single seeds are no runs of their own; links are followed only at the top."""
    if any(os.path.lexists(place / name) for name in (CONFIG, RESULT, LOG)):
        yield place.resolve() if place.is_symlink() else place
    elif place.is_dir() and os.access(place, os.R_OK | os.X_OK) and levels:
        for inner in place.iterdir():
            if not inner.is_symlink():
                yield from _runs_below(inner, levels - 1)


def load_run(folder: Path) -> Record:
    """Read a run folder, finished or not; nothing inside it can make this fail.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        what = _no_folder(folder)
        raise UsageError(f"{folder} {what}; give a folder that `deeplearn train` printed, or runs/latest.")
    problems: list[str] = []
    head = read_json(folder / CONFIG, problems)
    seeds = [place for place in folder.glob("seed-*") if place.is_dir() and not place.is_symlink()]
    seeds = sorted(seeds, key=lambda place: counted(place.name))[:SEEDS]
    histories = [history for place in (folder, *seeds) if (history := read_history(place / LOG, problems))]
    ended = os.path.lexists(folder / RESULT)
    stored = read_json(folder / RESULT, problems) if ended else None
    result = None
    if stored is None:
        last = f", last logged step {histories[-1][-1]['step']:.0f}" if histories else ", nothing logged"
        problems.append(f"unfinished: no result.json{last}")
    elif stored:
        try:
            result = from_json(Result, stored)
        except ConfigError as error:
            problems.append(f"result.json is damaged: {plain(error)}")
    config, names = head.get("config"), head.get("changed")
    name = head.get("experiment") or (result.experiment if result else folder.resolve().parent.name)
    return Record(
        folder=folder,
        experiment=Path(plain(name)).stem,
        config=config if isinstance(config, dict) else result.config if result else {},
        changed=[name for name in names if isinstance(name, str)] if isinstance(names, list) else [],
        environment=read_json(folder / ENVIRONMENT, problems),
        command=plain(_repeating(_lines(folder / "command.txt", problems)), 10 * LONGEST),
        histories=histories,
        result=result,
        figures=_pictures(folder / "figures", problems),
        notes="\n".join(plain(line) for line in _lines(folder / "notes.md", problems, blank=True)[:NOTES]).strip(),
        problems=problems,
    )


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


def _pictures(folder: Path, problems: list[str]) -> list[Path]:
    """The pictures and sounds of a folder: no links, and not endlessly many."""
    if folder.is_symlink():
        problems.append("figures is a link, which is not followed")
        return []
    found = [path for path in folder.glob("*") if path.suffix in (".svg", ".png", ".jpg", ".wav")]
    if len(found) > PICTURES:
        problems.append(f"figures holds {len(found)} pictures, of which the first {PICTURES} are shown")
    return sorted(found, key=lambda path: counted(path.name))[:PICTURES]


def read_history(path: Path, problems: list[str]) -> list[dict[str, float]]:
    """Entries of metrics.jsonl, one a step (what was logged of a step later joins what came first).

    Lines that are torn or damaged are left out and counted in `problems`; null is read as NaN.
    """
    steps: dict[float, dict[str, float]] = {}
    damaged: list[int] = []
    for number, line in enumerate(_lines(path, problems), 1):
        try:
            entry = {plain(name): _logged(value) for name, value in files.parse_json(line).items()}
            if not 0 <= entry["step"] < LAST_STEP:
                raise ValueError("no step of ours")
            steps.setdefault(entry["step"], {}).update(entry)
        except (ValueError, TypeError, AttributeError, KeyError):
            damaged.append(number)
    if damaged:
        more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
        problems.append(f"{path.name}: line {', '.join(map(str, damaged[:3]))}{more} is damaged and left out")
    return [steps[step] for step in sorted(steps)]


def _logged(value: Any) -> float:
    """A number of metrics.jsonl; NaN for null and for what no picture can show."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value) if abs(value) < UNSHOWN else math.nan


def _lines(path: Path, problems: list[str], *, blank: bool = False) -> list[str]:
    """The lines of a text file, those with nothing in them only where they count; none where there is no file."""
    try:
        text = files.read(path).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{path.name} cannot be read ({error.strerror})")
        return []
    return [line for line in text.splitlines() if blank or line.strip()]


def read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        value = plain_values(files.read_json(path))
    except FileNotFoundError:
        problems.append(f"{path.name} is missing")
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} is damaged: {plain(getattr(error, 'strerror', None) or error)}")
    else:
        if isinstance(value, dict):
            return value
        problems.append(f"{path.name} is damaged: not an object")
    return {}
