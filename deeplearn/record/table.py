"""Result tables: a row for every configuration, seeds joined, competitors beside, the best in bold."""

import html
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from deeplearn.config import flat
from deeplearn.plain import plain
from deeplearn.record.reading import Record
from deeplearn.record.statistics import Interval, interval

LABEL = 200
"""Characters of a label."""
COLUMNS = 8
"""Columns of numbers such as 0.9812 ± 0.0021 that a sheet of paper has room for."""
Format = Literal["github", "latex", "text", "html"]
HOUSEKEEPING = {"seed", "seeds", "together", "workdir", "log_every", "eval_every", "save_every", "keep", "sinks"}
"""Knobs that do not make another system of it: runs that differ in these alone share a row."""
LOWER_IS_BETTER = set(
    "loss error mae mse rmse mape nll ece calibration brier eer wer cer ter mcd fid perplexity distance deviation "  # noqa: SIM905
    "substitutions deletions insertions deletion randomised gap".split()
)
SHARES = {
    *("accuracy", "top", "calibration", "coverage", "precision", "recall", "f", "map", "ap", "ar", "eer", "iou", "auc"),
    *("tar", "nmi", "copies", "pointing"),
}
"""First words of metrics that lie between 0 and 1: `recall@10`, `top5`, `ap_small`, `accuracy at 100`."""
NEITHER_IS_BETTER = {"coverage", "clusters", "length", "count", "skipped", "steps", "depth", "blanks"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system of one experiment."""

    label: str
    metrics: dict[str, Interval]
    runs: list[Record]
    """The runs that the row joins; empty for a competitor."""
    parameters: int = 0
    seconds: float = 0.0


def table(runs: Sequence[Record], format: Format = "github", width: int | None = None) -> str:
    """The results of finished runs, one table an experiment: value, or mean ± sd [95 % interval] over seeds.

    Args:
        width: characters a line of text or Markdown may have; a table that is wider is turned on its side, then cut
            into parts.
    """
    from tabulate import tabulate

    parts = []
    for experiment, group in by_experiment(runs).items():
        systems = rows(group)
        header, cells = _cells(systems, format)
        if not cells:
            continue
        style = {"github": "github", "latex": "latex_raw", "text": "simple", "html": "unsafehtml"}[format]
        aligned = ["left"] + ["right"] * (len(header) - 1)
        text = tabulate(cells, header, tablefmt=style, disable_numparse=True, colalign=aligned)
        fits = _on_a_page if format == "html" else lambda text: width is None or widest(text) <= width
        if format != "latex" and not fits(text):
            text = turned(header, cells, style, fits)
        if format == "latex":
            for rule in ("top", "mid", "bottom"):
                text = text.replace(r"\hline", rf"\{rule}rule", 1)
        lines = [_escaped(line, format) for line in _pairs(systems)]
        if lines and format == "html":
            text += f'<p class="soft">{"<br>".join(lines)}</p>'
        elif lines:
            text += "\n\n" + "\n".join(f"- {line}" if format == "github" else line for line in lines)
        parts.append((experiment, text))
    if format == "html" or len(parts) == 1:
        return "\n\n".join(text for _, text in parts)
    title = {"github": "### {}", "latex": "% {}", "text": "{}"}[format]
    return "\n\n".join(f"{title.format(name)}\n\n{text}" for name, text in parts)


def widest(text: str) -> int:
    """Characters of the longest line."""
    return max(map(len, text.splitlines()))


def _on_a_page(text: str) -> bool:
    """Whether a phone and a sheet of paper show the columns of an HTML table, none of whose numbers is broken."""
    return text.partition("</tr>")[0].count("</th>") <= COLUMNS


def turned(header: Sequence[str], cells: Sequence[Sequence[str]], style: str, fits: Callable[[str], bool]) -> str:
    """A table with a line for each metric, of as many models at a time as fit side by side; no number is cut.

    A model is a line of cells and its name the first of them.
    """
    from tabulate import tabulate

    def drawn(models: Sequence[Sequence[str]]) -> str:
        lines = [[name, *(model[i] for model in models)] for i, name in enumerate(header) if i]
        aligned = ["left"] + ["right"] * len(models)
        return tabulate(lines, ["", *(model[0] for model in models)], style, disable_numparse=True, colalign=aligned)

    parts, rest = [], list(cells)
    while rest:
        count = len(rest)
        while count > 1 and not fits(drawn(rest[:count])):
            count -= 1
        parts.append(drawn(rest[:count]))
        rest = rest[count:]
    return "\n\n".join(parts)


def by_experiment(runs: Sequence[Record]) -> dict[str, list[Record]]:
    """Title -> runs that may be compared: one experiment on one data set (the same `data` knobs)."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for run in runs:
        groups.setdefault((run.experiment, json.dumps(run.config.get("data"), sort_keys=True)), []).append(run)
    titles: dict[str, list[Record]] = {}
    for (experiment, _), group in groups.items():
        siblings = [other[0] for (name, _), other in groups.items() if name == experiment]
        titles[" · ".join([experiment, *_telling(group[0], siblings)])] = group
    return titles


def _telling(run: Record, siblings: Sequence[Record]) -> list[str]:
    """The data knobs that tell a group from the others; one that is off says so only where it is alone."""
    data = [_data(sibling) for sibling in siblings]
    own = _data(run)
    differing = [name for name in own if any(other.get(name) != own[name] for other in data)]
    on = [name for name in differing if own[name] not in (None, False)]
    alone = all(any(other.get(name) != own[name] for name in on) for other in data if other != own)
    return [_knob(name, own[name]) for name in (on if alone else differing)]


def _data(run: Record) -> dict[str, Any]:
    data = run.config.get("data")
    return flat(data if isinstance(data, dict) else {"data": data})


@dataclass(frozen=True, kw_only=True)
class System:
    """Runs of one experiment that differ in the seed alone."""

    label: str
    runs: list[Record]


def systems(runs: Sequence[Record]) -> list[System]:
    """The runs of one experiment, finished or not, joined over seeds and labelled by the knobs that tell them apart."""
    groups: dict[str, list[Record]] = {}
    for run in runs:
        knobs = {name: value for name, value in run.config.items() if name not in HOUSEKEEPING}
        groups.setdefault(json.dumps(knobs, sort_keys=True) if knobs else str(run.folder), []).append(run)
    labels = _labels([group[0] for group in groups.values()])
    return [System(label=label, runs=group) for label, group in zip(labels, groups.values(), strict=True)]


def rows(runs: Sequence[Record]) -> list[Row]:
    """The systems in the finished runs of one experiment, then the competitors that they were measured beside."""
    ours = []
    for system in systems(runs):
        finished = [run for run in system.runs if run.result is not None]
        if finished:
            ours.append(_row(system.label, finished))
    return ours + _competitors(ours)


def _labels(runs: Sequence[Record]) -> list[str]:
    """What tells systems apart: the knobs that differ, or the model where there is one system only."""
    knobs = [{k: v for k, v in flat(run.config).items() if k not in HOUSEKEEPING} for run in runs]
    # Only among runs that have the knob: one that has come since says nothing of those before it.
    names = [
        name
        for name in dict.fromkeys(n for k in knobs for n in k)
        if len({json.dumps(k[name]) for k in knobs if name in k}) > 1
    ]
    names = sorted(names, key=lambda name: not name.startswith("model"))[
        :4
    ]  # More would not fit a table; the page lists all knobs.
    texts = [", ".join(_knob(name, k[name]) for name in names if name in k) for k in knobs]
    if len(runs) == 1:
        model = knobs[0].get("model") or knobs[0].get("model.name")
        network = model and knobs[0].get("network")  # that is looked into instead of one of our own
        texts = [str(network or model or runs[0].experiment)]
    named = [
        text if text and texts.count(text) == 1 else run.folder.name for text, run in zip(texts, runs, strict=True)
    ]
    return [plain(name, LABEL) for name in named]


def lower_is_better(metric: str) -> bool | None:
    """Whether small values of a metric are good, by the words in its name; None where neither end is."""
    words = set(re.split(r"[^a-z0-9]+", metric.rpartition("/")[2].lower()))
    return None if words & NEITHER_IS_BETTER else bool(words & LOWER_IS_BETTER)


def decimals(values: Sequence[float]) -> int:
    """Places after the point that a column needs: four digits of its largest number, three of one below 0.1."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if not largest:
        return 0
    leading = math.ceil(math.log10(largest)) - 1  # 1.0 as 0.99: an accuracy or a percentage looks like its neighbours.
    return max(0, 3 - leading) if leading >= -1 else min(8, 2 - leading)


def shown(value: Interval, places: int) -> tuple[str, str]:
    """("0.9812 ± 0.0021", "[0.9790, 0.9834]"): mean ± sd and the 95 % interval of the mean, empty for one seed."""
    if value.sd is None or value.low is None or value.high is None:
        if 0 < abs(value.mean) < 0.5 * 10**-places:  # 3e-16 is not 0.
            return f"{value.mean:.1e}", ""
        return "NaN" if math.isnan(value.mean) else f"{value.mean:.{places}f}", ""
    return f"{value.mean:.{places}f} ± {value.sd:.{places}f}", f"[{value.low:.{places}f}, {value.high:.{places}f}]"


def _knob(name: str, value: Any) -> str:
    return str(value) if name in ("name", "model") or name.endswith(".name") else f"{name}={value}"


def _row(label: str, group: list[Record]) -> Row:
    values = {}
    for metric in dict.fromkeys(name for run in group for name in run.result.metrics):
        found = dict(item for run in group for item in _by_seed(run, metric))
        values[metric] = _within(metric, interval(list(found.values())))
    last = group[-1].result
    return Row(label=label, metrics=values, runs=group, parameters=last.parameters, seconds=last.seconds)


def _within(metric: str, value: Interval) -> Interval:
    """The interval of a share stays within 0 and 1, which Student's does not know."""
    word = re.split("[^a-z]", metric.rpartition("/")[2])[0]
    if word not in SHARES or value.low is None or value.high is None:
        return value
    return replace(value, low=min(max(value.low, 0.0), value.mean), high=max(min(value.high, 1.0), value.mean))


def _by_seed(run: Record, metric: str) -> Iterator[tuple[Any, float]]:
    """(seed, value): by seed, so that the same seed trained twice does not count as two."""
    seed = run.config.get("seed")
    seed = seed if isinstance(seed, int) else repr(seed)  # A damaged config may say anything.
    if metric in run.result.seeds:
        for number, value in enumerate(run.result.seeds[metric].values):
            yield (seed + number if isinstance(seed, int) else number), value
    elif metric in run.result.metrics:
        value = run.result.metrics[metric]
        yield seed, math.nan if value is None else value


def seeds_of(run: Record) -> set[Any]:
    """The seeds whose values a run holds; one that holds none stands for itself."""
    return {seed for metric in run.result.metrics for seed, _ in _by_seed(run, metric)} or {str(run.folder)}


def _competitors(ours: Sequence[Row]) -> list[Row]:
    """One row a competitor, or one for each system where it differs between them (other data, another split)."""
    found: dict[tuple[str, str], tuple[dict[str, Interval], str]] = {}
    for row in ours:
        for name in dict.fromkeys(name for run in row.runs for name in run.result.baseline):
            measured = [run.result.baseline[name] for run in row.runs if name in run.result.baseline]
            values = {metric: _joined(metric, measured) for metric in dict.fromkeys(m for x in measured for m in x)}
            found.setdefault((name, repr(values)), (values, row.label))
    names = [name for name, _ in found]
    return [
        Row(label=name if names.count(name) == 1 else f"{name} ({beside})", metrics=values, runs=[])
        for (name, _), (values, beside) in found.items()
    ]


def _pairs(ours: Sequence[Row]) -> Iterator[str]:
    """A line for each value that one run and a competitor have of every test example (`study.paired`)."""
    for row in ours:
        for name, metrics in (row.runs[0].result.paired if len(row.runs) == 1 else {}).items():
            for metric, gap in metrics.items():
                places = decimals([gap.difference, gap.low, gap.high])
                bounds = f"[{gap.low:+.{places}f}, {gap.high:+.{places}f}]"
                sign = "p < 0.001" if gap.p < 0.001 else f"p = {gap.p:.3f}"
                yield f"{metric}, {name} - {row.label}: {gap.difference:+.{places}f} {bounds}, {sign}"


def _joined(metric: str, measured: Sequence[Mapping[str, float | None]]) -> Interval:
    values = [math.nan if x[metric] is None else x[metric] for x in measured if metric in x]
    return interval(values if len(set(values)) > 1 else values[:1])


def _cells(rows: Sequence[Row], format: Format) -> tuple[list[str], list[list[str]]]:
    """Header and body as text, marked up for the format."""
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    tested = [name for name in metrics if name.startswith("test")]
    metrics = tested or metrics  # What was chosen on validation does not compete.
    extra = [name for name in ("parameters", "seconds") if any(getattr(row, name) for row in rows)]
    many = max((len(value.values) for row in rows for value in row.metrics.values()), default=1)
    header = ["model", *metrics, *(["seeds"] if many > 1 else []), *extra]
    body = [[_escaped(row.label, format)] for row in rows]
    for metric in metrics:
        present = [row.metrics[metric].mean for row in rows if metric in row.metrics]
        places = decimals(present)
        best = _best(metric, [round(value, places) for value in present])
        for row, line in zip(rows, body, strict=True):
            value = row.metrics.get(metric)
            line.append("" if value is None else _cell(value, places, round(value.mean, places) == best, format))
    for row, line in zip(rows, body, strict=True):
        if many > 1:
            line.append(str(max(len(v.values) for v in row.metrics.values())) if row.runs else "")
        line += [f"{getattr(row, name):,.0f}" if getattr(row, name) else "" for name in extra]
    header = [_escaped(name, format) for name in header]
    # A sheet of paper is too narrow for long names, which break at their seams alone.
    return [re.sub("[/_]", r"\g<0><wbr>", name) if format == "html" else name for name in header], body


def _cell(value: Interval, places: int, best: bool, format: Format) -> str:
    mean, bounds = (_escaped(text, format) for text in shown(value, places))
    if best:
        mean = {"github": "**{}**", "latex": r"\textbf{{{}}}", "text": "* {}", "html": "<strong>{}</strong>"}[
            format
        ].format(mean)
    return mean + (f"<br><small>{bounds}</small>" if bounds and format == "html" else f" {bounds}" if bounds else "")


def _best(metric: str, values: Sequence[float]) -> float | None:
    lower, values = lower_is_better(metric), [value for value in values if not math.isnan(value)]
    if lower is None or len(set(values)) < 2:
        return None
    return min(values) if lower else max(values)


LATEX = str.maketrans(
    {char: rf"\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", '"': r"\textquotedbl{}"}
)
MARKDOWN = re.compile(
    r"[\\`*|~]|\b_|_\b"  # code, emphasis (an underscore inside a word is none) and cells
    r"|<(?=[a-z/!?])|&(?=#?\w+;)|(?<=\])[(\[:]|(?<=:)//|(?<=www)\.",  # tags, entities, links
    re.IGNORECASE,
)


def _escaped(text: str, format: Format) -> str:
    """The text as it is, whatever signs it holds."""
    text = plain(text)
    if format == "latex":
        return text.translate(LATEX)
    if format == "github":
        return MARKDOWN.sub(lambda found: "".join(f"\\{char}" for char in found[0]), text)
    return html.escape(text) if format == "html" else text
