"""Two runs side by side: which knobs and surroundings differ, and by how much the metrics do."""

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplearn.config import difference, flat
from deeplearn.plain import finite, plain
from deeplearn.record.environment import EARLIER
from deeplearn.record.reading import Record, read_json
from deeplearn.record.statistics import Interval, difference_interval
from deeplearn.record.table import decimals, rows, shown, turned, widest

PASSING = {"started", EARLIER}
"""Parts of the environment stamp that say nothing about why two runs differ."""


def compare(a: Record, b: Record, width: int | None = None) -> str:
    """Text with the knobs, the surroundings and the metrics of two runs where they differ.

    The difference b - a has a 95 % interval (Welch) where both runs have several seeds.

    Args:
        width: characters a line may have: sentences are wrapped, and wider tables turned on their side and cut into
            parts.
    """
    parts = [f"A  {plain(a.folder)}  {a.experiment}\nB  {plain(b.folder)}  {b.experiment}"]
    parts += [f"{name}: {problem}" for name, run in (("A", a), ("B", b)) for problem in run.problems]
    if odd := other_data(a, b):
        parts.append(f"Not the same data ({odd}): the difference of the metrics says nothing about the models.")
    parts = [part if width is None else _wrapped(part, width) for part in parts]
    parts.append(_differences("knob", a.config, b.config, width) or "Both have the same knobs.")
    parts.append(_differences("environment", _surroundings(a), _surroundings(b), width))
    parts.append(_metrics(a, b, width))
    return "\n\n".join(part for part in parts if part)


def _wrapped(text: str, width: int) -> str:
    return "\n".join(
        line if len(line) <= width else textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


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
    """What `compare` tells, as JSON values; a metric's difference is b - a, null where one run lacks the metric.

    Standard deviations and 95 % intervals are null where one seed cannot give them.
    """
    ours, theirs = _values(a), _values(b)
    surroundings = difference(_surroundings(a), _surroundings(b))
    told = {
        "runs": [str(a.folder), str(b.folder)],
        "problems": {"a": a.problems, "b": b.problems},
        "other_data": other_data(a, b),
        "knobs": {name: list(pair) for name, pair in difference(a.config, b.config).items()},
        "environment": {name: list(pair) for name, pair in surroundings.items()},
        "metrics": {name: _told(ours.get(name), theirs.get(name)) for name in dict.fromkeys([*ours, *theirs])},
    }
    return finite(told)


def _told(x: Interval | None, y: Interval | None) -> dict[str, Any]:
    gap, pair = _difference(x, y) or (None,), {"a": x, "b": y}
    bounds = {
        name: None if value is None or value.sd is None else [value.low, value.high] for name, value in pair.items()
    }
    return {
        **{name: None if value is None else value.mean for name, value in pair.items()},
        "difference": gap[0],
        "sd": {name: None if value is None else value.sd for name, value in pair.items()},
        "interval": {**bounds, "difference": list(gap[1:]) or None},
    }


def _surroundings(run: Record) -> dict[str, Any]:
    return {name: value for name, value in run.environment.items() if name not in PASSING}


def _differences(what: str, a: Mapping[str, Any], b: Mapping[str, Any], width: int | None) -> str:
    from tabulate import tabulate

    ours, theirs = flat(a), flat(b)
    found = [
        [plain(name), plain(x) if name in ours else "", plain(y) if name in theirs else ""]
        for name, (x, y) in difference(a, b).items()
    ]
    header = [what, "A", "B"]
    text = tabulate(found, header, tablefmt="simple", disable_numparse=True) if found else ""
    if not found or width is None or widest(text) <= width:
        return text
    # Two spaces between columns; a long name leaves less room to the values, which go on in the next line.
    names = min(max(len(row[0]) for row in found), width // 3)
    columns = [names, *[max(1, (width - names - 4) // 2)] * 2]
    # By hand: with `maxcolwidths` tabulate reads "False" as a truth value, and shows True.
    folded = [["\n".join(textwrap.wrap(cell, size)) for cell, size in zip(row, columns, strict=True)] for row in found]
    return tabulate(folded, header, tablefmt="simple", disable_numparse=True)


def _metrics(a: Record, b: Record, width: int | None) -> str:
    from tabulate import tabulate

    ours, theirs = _values(a), _values(b)
    lines = []
    for name in dict.fromkeys([*ours, *theirs]):
        x, y = ours.get(name), theirs.get(name)
        places = decimals([value.mean for value in (x, y) if value is not None])
        lines.append([name, _text(x, places), _text(y, places), _gap(x, y, places)])
    if not lines:
        return "Neither run has metrics."
    header = ["metric", "A", "B", "B - A"]
    text = tabulate(lines, header, tablefmt="simple", disable_numparse=True)
    fits = lambda text: width is None or widest(text) <= width  # noqa: E731
    return text if fits(text) else turned(header, lines, "simple", fits)


def _values(run: Record) -> dict[str, Interval]:
    return rows([run])[0].metrics if run.result is not None else {}


def _text(value: Interval | None, places: int) -> str:
    return "" if value is None else " ".join(shown(value, places)).strip()


def _gap(x: Interval | None, y: Interval | None, places: int) -> str:
    gap = _difference(x, y)
    if gap is None:
        return ""
    mean, *bounds = (f"{value:+.{places}f}" for value in gap)
    return f"{mean} [{', '.join(bounds)}]" if bounds else mean


def _difference(x: Interval | None, y: Interval | None) -> tuple[float, ...] | None:
    """y - x with its 95 % bounds where both have several seeds; None where one is missing or NaN."""
    if x is None or y is None or math.isnan(x.mean) or math.isnan(y.mean):
        return None
    if min(len(x.values), len(y.values)) < 2:
        return (y.mean - x.mean,)
    return difference_interval(x.values, y.values)
