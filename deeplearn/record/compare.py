"""Two runs side by side: which knobs and surroundings differ, and by how much the metrics do."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplearn.config import difference
from deeplearn.plain import plain
from deeplearn.record.environment import EARLIER
from deeplearn.record.reading import Record, read_json
from deeplearn.record.statistics import Interval, difference_interval
from deeplearn.record.table import decimals, rows, shown

PASSING = {"started", EARLIER}
"""Parts of the environment stamp that say nothing about why two runs differ."""


def compare(a: Record, b: Record) -> str:
    """Text with the knobs, the surroundings and the metrics of two runs where they differ.

    The difference b - a has a 95 % interval (Welch) where both runs have several seeds.
    """
    parts = [f"A  {plain(a.folder)}  {a.experiment}\nB  {plain(b.folder)}  {b.experiment}"]
    parts += [f"{name}: {problem}" for name, run in (("A", a), ("B", b)) for problem in run.problems]
    if odd := other_data(a, b):
        parts.append(f"Not the same data ({odd}): the difference of the metrics says nothing about the models.")
    parts.append(_differences("knob", a.config, b.config) or "Both have the same knobs.")
    stamps = [{k: v for k, v in run.environment.items() if k not in PASSING} for run in (a, b)]
    parts.append(_differences("environment", *stamps))
    parts.append(_metrics(a, b))
    return "\n\n".join(part for part in parts if part)


def other_data(a: Record, b: Record) -> str:
    """In which data two runs differ, by their fingerprints: empty where they have the same or do not say."""
    ours, theirs = (_fingerprints(run.folder) for run in (a, b))
    if a.experiment != b.experiment:
        return f"{a.experiment} and {b.experiment}"
    odd = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    return ", ".join(plain(name) for name in odd)


def _fingerprints(folder: Path) -> dict[str, Any]:
    """What fit.json says of the data of the run, or of its first seed."""
    for place in (folder, *sorted(folder.glob("seed-*"))):
        stored = read_json(place / "fit.json", [])
        if isinstance(data := stored.get("data"), dict):
            return data
    return {}


def differences(a: Record, b: Record) -> dict[str, Any]:
    """What `compare` tells, as JSON values; a metric's difference is b - a."""
    ours, theirs = _values(a), _values(b)
    both = {name: (ours[name], theirs[name]) for name in ours if name in theirs}
    return {
        "runs": [str(a.folder), str(b.folder)],
        "other_data": other_data(a, b),
        "knobs": {name: list(pair) for name, pair in difference(a.config, b.config).items()},
        "metrics": {name: {"a": x.mean, "b": y.mean, "difference": y.mean - x.mean} for name, (x, y) in both.items()},
    }


def _differences(what: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    from tabulate import tabulate

    found = [[plain(name), plain(x), plain(y)] for name, (x, y) in difference(a, b).items()]
    return tabulate(found, [what, "A", "B"], tablefmt="simple", disable_numparse=True) if found else ""


def _metrics(a: Record, b: Record) -> str:
    from tabulate import tabulate

    ours, theirs = _values(a), _values(b)
    lines = []
    for name in dict.fromkeys([*ours, *theirs]):
        x, y = ours.get(name), theirs.get(name)
        places = decimals([value.mean for value in (x, y) if value is not None])
        lines.append([name, _text(x, places), _text(y, places), _gap(x, y, places)])
    header = ["metric", "A", "B", "B - A"]
    return tabulate(lines, header, tablefmt="simple", disable_numparse=True) if lines else "Neither run has metrics."


def _values(run: Record) -> dict[str, Interval]:
    return rows([run])[0].metrics if run.result is not None else {}


def _text(value: Interval | None, places: int) -> str:
    return "" if value is None else " ".join(shown(value, places)).strip()


def _gap(x: Interval | None, y: Interval | None, places: int) -> str:
    if x is None or y is None or math.isnan(x.mean) or math.isnan(y.mean):
        return ""
    if min(len(x.values), len(y.values)) < 2:
        return f"{y.mean - x.mean:+.{places}f}"
    gap, low, high = difference_interval(x.values, y.values)
    return f"{gap:+.{places}f} [{low:+.{places}f}, {high:+.{places}f}]"
