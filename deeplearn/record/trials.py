"""The trials of a sweep, the best first: a table, and a page with what each knob does."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn.plain import counted, plain
from deeplearn.record import figures
from deeplearn.record.figures import COLOURS, INK, canvas, dress
from deeplearn.record.folder import write_text
from deeplearn.record.report import engine
from deeplearn.record.statistics import Interval
from deeplearn.record.table import decimals, lower_is_better, shown

LINES = 12
"""Curves in one picture; more cannot be told apart."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial as it is shown."""

    name: str
    knobs: Mapping[str, Any]
    value: Interval | None = None
    """Of the metric that trials are compared by, over seeds; None where the trial has not ended, or failed."""
    note: str = ""
    """Why there is no value."""


def best_first(trials: Sequence[Tried], metric: str) -> list[Tried]:
    """Sorted by the metric; those without a value come last."""
    sign = 1 if lower_is_better(metric) else -1

    def place(trial: Tried) -> tuple[bool, float]:
        value = math.nan if trial.value is None else trial.value.mean
        return math.isnan(value), 0.0 if math.isnan(value) else sign * value

    return sorted(trials, key=place)


def table(trials: Sequence[Tried], metric: str, width: int | None = None) -> str:
    """Text; where it would be wider than the screen, without the intervals."""
    from tabulate import tabulate

    for bounds in (True, False):
        header, lines = _cells(trials, metric, bounds)
        text = tabulate(lines, header, tablefmt="simple", disable_numparse=True)
        if width is None or max(map(len, text.splitlines())) <= width:
            break
    return text


def _cells(trials: Sequence[Tried], metric: str, bounds: bool = True) -> tuple[list[str], list[list[str]]]:
    ordered = best_first(trials, metric)
    places = decimals([trial.value.mean for trial in ordered if trial.value is not None])
    names = list(dict.fromkeys(name for trial in ordered for name in trial.knobs))
    lines = []
    for rank, trial in enumerate(ordered, 1):
        value = trial.note or "under way" if trial.value is None else " ".join(shown(trial.value, places)[: 1 + bounds])
        knobs = [_text(trial.knobs[name]) if name in trial.knobs else "" for name in names]
        lines.append([str(rank), *knobs, plain(value.strip(), 60), trial.name])
    return ["", *map(plain, names), metric, "run"], lines


def page(trials: Sequence[Tried], metric: str, title: str, command: str, out: Path) -> Path:
    """Write the page; returns its path. Raises StorageError where the disk refuses."""
    header, lines = _cells(trials, metric)
    done = [trial for trial in best_first(trials, metric) if trial.value is not None]
    pictures = [*_curves(done, metric), *([parallel(done, metric)] if len(done) > 1 else [])]
    text = (
        engine()
        .get_template("sweep.html.jinja")
        .render(title=title, metric=metric, header=header, rows=lines, pictures=pictures, command=command)
    )
    write_text(out, text)
    return out


def _curves(done: Sequence[Tried], metric: str) -> Iterator[str]:
    """For each knob of numbers the metric over it, a line for each choice of the others that was tried twice."""
    for knob in dict.fromkeys(name for trial in done for name in trial.knobs):
        lines: dict[str, list[tuple[float, Interval]]] = {}
        for trial in done:
            if _is_number(trial.knobs.get(knob)) and trial.value is not None:
                others = ", ".join(f"{name} {_text(value)}" for name, value in trial.knobs.items() if name != knob)
                lines.setdefault(others or metric, []).append((trial.knobs[knob], trial.value))
        lines = {name: sorted(own, key=lambda point: point[0]) for name, own in lines.items() if len(own) > 1}
        if not lines or len(lines) > LINES:
            continue
        values = [x for own in lines.values() for x, _ in own]
        series = {name: _line(own) for name, own in lines.items()}
        yield figures.curves(series, x=knob, y=metric, log_x=_is_log(values), markers=True)


def _line(points: Sequence[tuple[float, Interval]]) -> tuple[Sequence[float], ...]:
    """(x, mean), and (low, high) where there are several seeds."""
    xs, values = zip(*points, strict=True)
    mean = [value.mean for value in values]
    if any(value.low is None for value in values):
        return xs, mean
    return xs, mean, [value.low for value in values], [value.high for value in values]


def parallel(done: Sequence[Tried], metric: str) -> str:
    """Parallel coordinates (Inselberg, 1985): an axis a knob, the metric last; a line a trial, darker if better."""
    names = list(dict.fromkeys(name for trial in done for name in trial.knobs))
    columns = [[trial.knobs.get(name) for trial in done] for name in names]
    columns.append([trial.value.mean if trial.value else math.nan for trial in done])
    scaled, ticks = zip(*map(_axis, columns), strict=True)
    with canvas(None, max(4.5, 1.6 * len(columns)), 3.2) as (figure, svg):
        axes = figure.subplots()
        for rank in reversed(range(len(done))):
            axes.plot(
                range(len(columns)),
                [own[rank] for own in scaled],
                color=COLOURS[1] if rank == 0 else COLOURS[0],
                alpha=1.0 if rank == 0 else 0.9 - 0.7 * rank / len(done),
                linewidth=2.0 if rank == 0 else 1.2,
            )
        dress(axes, "", "", "the best trial is orange")
        axes.grid(False)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xticks(range(len(columns)), [*names, metric])
        for place, marks in enumerate(ticks):
            axes.axvline(place, color=INK, linewidth=0.8, alpha=0.5)
            for height, text in marks:
                axes.text(place + 0.03, height, text, color=INK, fontsize=8, va="center")
    return svg[0]


def _axis(values: Sequence[Any]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights from 0 to 1, and (height, text) of a few marks: numbers by their size, anything else in its order."""
    if not all(_is_number(value) for value in values):
        texts = [_text(value) for value in values]
        known = sorted(dict.fromkeys(texts), key=counted)
        heights = np.array([known.index(text) for text in texts]) / max(len(known) - 1, 1)
        return heights, [(known.index(text) / max(len(known) - 1, 1), text) for text in known]
    numbers = np.log(np.array(values, np.float64)) if _is_log(values) else np.array(values, np.float64)
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    heights = (numbers - low) / (high - low) if high > low else np.full(len(values), 0.5)
    order = sorted({float(value): float(height) for value, height in zip(values, heights, strict=True)}.items())
    few = order if len(order) <= 5 else [order[0], order[-1]]
    return heights, [(height, f"{value:.4g}") for value, height in few]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_log(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= 8 * min(values)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
