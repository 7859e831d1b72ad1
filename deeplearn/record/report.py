"""One self-contained HTML page about any number of runs: it loads nothing, runs no script, and prints well."""

import base64
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn import files
from deeplearn.config import flat
from deeplearn.plain import LONGEST, plain
from deeplearn.record import figures
from deeplearn.record.compare import other_data
from deeplearn.record.environment import facts
from deeplearn.record.folder import write_text
from deeplearn.record.reading import UNSHOWN, Record
from deeplearn.record.statistics import Interval
from deeplearn.record.table import System, by_experiment, decimals, rows, seeds_of, shown, systems, table
from deeplearn.record.words import measure, titled, words

LARGEST_FIGURE = 8_000_000
"""Bytes of a picture file; a larger one would make the page slow to open, so it is named instead, like a link."""
PICTURES = 40
"""Most curves, and most tables of counts, of one system; drawing takes a tenth of a second each."""
ROWS = 100
"""Rows and columns of a table that are shown."""
LINES = 12
"""Systems drawn in one picture; more cannot be told apart."""
COLUMN = 430.0
"""Points: a wider picture takes the full width of the page instead of half of it."""
PLACES = {"workdir", "restart"}
"""Knobs that say where a run lies, not what it is."""
TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".wav": "audio/wav"}


def page(runs: Sequence[Record], out: Path) -> Path:
    """Write the page about these runs, finished or not, to `out`; returns the path.

    Raises:
        StorageError: the disk is full or read-only.
    """
    refused: list[tuple[Path, str]] = []
    try:
        sections = _sections(runs)
    except Exception:  # Whatever a stranger's numbers and names may have led to: one bad run must not hide the rest.
        runs, refused = _drawable(runs)
        sections = _sections(runs)
    problems = [(run.folder, problem) for run in runs for problem in run.problems] + refused + list(_strangers(runs))
    text = engine().get_template("report.html.jinja").render(sections=sections, problems=problems)
    write_text(Path(out), text, "--output")
    return Path(out)


def _strangers(runs: Sequence[Record]) -> Iterator[tuple[Path, str]]:
    """(folder, what is wrong) of runs that stand in one table though their data differ."""
    for first, *others in by_experiment(runs).values():
        for run in others:
            if odd := other_data(first, run):
                yield (
                    run.folder,
                    f"not the same data as {first.folder} ({odd}): the models cannot be compared",
                )


def engine() -> Any:
    """Jinja2 with our templates: what a value says is escaped, and shown as `plain` shows it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=PackageLoader("deeplearn.record"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["markup"] = Markup  # Only for what this module drew itself; all text from run folders is escaped.
    made.finalize = lambda value: value if isinstance(value, Markup) else plain(value, 10 * LONGEST)
    return made


def _drawable(runs: Sequence[Record]) -> tuple[list[Record], list[tuple[Path, str]]]:
    """The runs that sections can be made of, and (folder, what is wrong) of the others."""
    good, refused = [], []
    for run in runs:
        try:
            _sections([run])
            good.append(run)
        except Exception as error:
            refused.append((run.folder, f"this run cannot be shown ({type(error).__name__}: {error})"))
    return good, refused


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the template shows of one experiment."""

    name: str
    table: str
    """HTML."""
    curves: list[str]
    """SVG."""
    count: int
    """Runs."""
    parts: list["Part"]
    knobs: list["Knob"]


@dataclass(frozen=True, kw_only=True)
class Knob:
    name: str
    values: list[tuple[str, bool]]
    """(value, whether it is not the default), system by system."""
    notable: bool
    """Changed in a system or different between systems."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the template shows of one system."""

    label: str
    runs: list[Record]
    metrics: list[tuple[str, str, str]]
    """(name, mean ± sd, interval), over all splits."""
    confusions: list[tuple[str, str]]
    """(caption, SVG)."""
    tables: list[tuple[str, list[list[str]]]]
    pictures: list[tuple[str, str | None, bool]]
    """(caption, data address, or None where the file is too large, whether it takes the full width)."""
    facts: list[tuple[str, str]]
    """The environment of the last run in words."""


def _sections(runs: Sequence[Record]) -> list[Section]:
    return [_section(name, group) for name, group in by_experiment(runs).items()]


def _section(name: str, runs: Sequence[Record]) -> Section:
    joined = systems(runs)
    metrics = {row.label: row.metrics for row in rows(runs) if row.runs}
    return Section(
        name=name,
        table=table(runs, "html"),
        curves=list(_curves(joined)),
        count=len(runs),
        parts=[_part(system, metrics.get(system.label, {})) for system in joined],
        knobs=_knobs(joined),
    )


def _part(system: System, metrics: Mapping[str, Interval]) -> Part:
    finished = [run for run in system.runs if run.result is not None]
    tables = finished[-1].result.tables if finished else {}
    ranks = {name: _array(values).ndim for name, values in tables.items()}
    return Part(
        label=system.label,
        runs=system.runs,
        metrics=[(name, *shown(value, decimals([value.mean]))) for name, value in metrics.items()],
        confusions=[_confusion(name, finished) for name, rank in ranks.items() if _is_confusion(name, rank)][:PICTURES],
        tables=[
            (name, [[f"{value:.4g}" for value in row] for row in np.atleast_2d(_array(tables[name]))[:ROWS, :ROWS]])
            for name, rank in ranks.items()
            if rank in (1, 2) and not _is_confusion(name, rank)
        ],
        pictures=[_picture(path) for path in system.runs[-1].figures],
        facts=list(facts(system.runs[-1].environment)),
    )


def _is_confusion(name: str, rank: int) -> bool:
    return name.endswith("confusion") and rank == 2


def _array(values: Any) -> np.ndarray:
    """Nested lists as an array, null as NaN; of rank 0 where they are no numbers or not rectangular."""
    try:
        array = np.asarray(values, np.float64)
    except (ValueError, TypeError, OverflowError):
        return np.zeros(())
    return np.where(np.abs(array) < UNSHOWN, array, np.nan) if array.size else np.zeros(())


def _confusion(name: str, runs: Sequence[Record]) -> tuple[str, str]:
    """(caption, SVG): counts of one seed, or shares over several."""
    last, shape = runs[-1].result, _array(runs[-1].result.tables.get(name)).shape
    counted: set[Any] = set()
    matrices, weights = [], []
    for run in sorted(runs, key=lambda run: -len(seeds_of(run))):
        own, matrix = seeds_of(run), _array(run.result.tables.get(name))
        if matrix.shape == shape and not own <= counted:  # a seed trained twice is one
            matrices.append(matrix)
            weights.append(len(own))
            counted |= own
    count, split = len(counted), name.rpartition("/")[0] or name
    mean = np.average(matrices, axis=0, weights=weights)
    if count == 1:
        caption = f"{split}: how many examples of each true class were given which class"
    else:  # A mean of counts is the count of nothing.
        mean = 100 * mean / np.maximum(mean.sum(1, keepdims=True), 1e-9)
        caption = f"{split}: per cent of each true class that were given which class, mean over {count} seeds"
    return caption, figures.confusion(mean, classes=last.classes)


def _curves(joined: Sequence[System]) -> Iterator[str]:
    """Of one system a picture a metric, with a line a split; of several a picture a metric and split."""
    joined = joined[:LINES]
    names = dict.fromkeys(n for s in joined for run in s.runs for log in run.histories for entry in log for n in entry)
    pictures: dict[str, dict[str, Any]] = {}
    for name in names:
        metric = name.rpartition("/")[2]
        for system in joined:
            line = _line(system.runs, name)
            if metric not in ("step", "seconds") and len(line[0]) > 1:
                split = name.rpartition("/")[0]
                picture, label = (metric, split or metric) if len(joined) == 1 else (name, system.label)
                pictures.setdefault(picture, {})[label] = line
    for name, series in list(pictures.items())[:PICTURES]:
        values = [value for line in series.values() for value in line[1]]
        if min(values) < max(values):  # A constant, such as no skipped step, needs no picture.
            wide = 0 < 100 * min(values) < max(values)  # A linear axis would hide the end of the curve.
            split, _, metric = name.rpartition("/")
            split = next(iter(series)) if len(joined) == len(series) == 1 else split
            title = f"{words(metric)}, {split}" if split not in ("", metric) else words(metric)
            yield figures.curves(series, title=title, x="steps", y=measure(metric), log_y=wide)


def _line(runs: Sequence[Record], name: str) -> tuple[Sequence[float], ...]:
    """(steps, mean over seeds), and (lowest, highest) where there are several."""
    found: dict[float, list[float]] = {}
    logs = [log for run in runs for log in run.histories]
    for log in logs:
        for entry in log:
            if math.isfinite(entry.get(name, math.nan)):
                found.setdefault(entry["step"], []).append(entry[name])
    steps = sorted(found)
    mean, low, high = ([float(of(found[step])) for step in steps] for of in (np.mean, min, max))
    return (steps, mean, low, high) if len(logs) > 1 else (steps, mean)


def _knobs(joined: Sequence[System]) -> list[Knob]:
    configs = [[flat(run.config) for run in system.runs] for system in joined]
    knobs = []
    for name in dict.fromkeys(name for group in configs for config in group for name in config):
        if name in PLACES:
            continue
        values = []
        for system, group in zip(joined, configs, strict=True):
            texts = dict.fromkeys(str(config[name]) if name in config else "–" for config in group)
            values.append((", ".join(texts), any(name in run.changed for run in system.runs)))
        notable = len({text for text, _ in values}) > 1 or any(changed for _, changed in values)
        knobs.append(Knob(name=name, values=values, notable=notable))
    return knobs


def _picture(path: Path) -> tuple[str, str | None, bool]:
    caption = path.stem.replace("-", " ").replace("_", " ")
    try:
        data = files.read(path, LARGEST_FIGURE)
    except OSError as error:
        return f"{caption}: {path} is left out ({error.strerror})", None, False
    box = re.search(rb'viewBox="0 0 (\d+\.?\d*) ', data[:2000]) if path.suffix == ".svg" else None
    # A sound stands below the picture of its name, as wide as that.
    wide = path.suffix == ".wav" or (box is not None and float(box[1]) > COLUMN)
    # As an image, an SVG from a run folder can neither run scripts nor load anything.
    caption = titled(data, path.suffix) or caption
    return caption, f"data:{TYPES[path.suffix]};base64,{base64.b64encode(data).decode()}", wide
