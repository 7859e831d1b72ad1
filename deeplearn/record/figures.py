"""Pictures as SVG text: small, the same bytes for the same data, readable on light and dark pages alike.

Every function returns the SVG and writes it to `path` where one is given. Matplotlib is imported inside.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Num

from deeplearn.record.folder import write_text

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#a6761d")
"""Okabe & Ito's palette, which colour-blind readers tell apart, without black and yellow, which vanish on a page."""
INK = "#010203"
"""Drawn as text and axes, then replaced by `currentColor`, which the style sheet below sets by the reader's theme."""
THEMES = "<style>svg{color:#24292f}@media (prefers-color-scheme:dark){svg{color:#d5dae1}}</style>"
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def curves(
    series: Mapping[str, Sequence[Any]],
    path: Path | None = None,
    *,
    x: str = "step",
    y: str = "",
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    markers: bool = False,
) -> str:
    """Lines: name -> (x [N], y [N]) or (x [N], y [N], low [N], high [N]) with a shaded band; x may be names."""
    # Curves that cross the whole picture, or a long legend (wide or high), leave no room for one inside.
    below = len(series) > 1 and (markers or max(len(name) for name in series) > 16 or len(series) > 5)
    names = any(isinstance(x, str) for xs, *_ in series.values() for x in xs[:1])
    with canvas(path, 5.0, 3.0 + (0.18 * len(series) if below else 0) + 0.5 * names) as (figure, svg):
        axes = figure.subplots()
        for number, (name, (xs, ys, *band)) in enumerate(series.items()):
            colour = COLOURS[number % len(COLOURS)]
            dash = ("-", "--", ":")[number // len(COLOURS) % 3]
            marker = "o" if markers or len(xs) < 2 else None
            axes.plot(xs, ys, dash, color=colour, label=name, linewidth=1.6, marker=marker, markersize=4)
            if band:
                axes.fill_between(xs, *band, color=colour, alpha=0.18, linewidth=0)
        dress(axes, x, y, title)
        if log_x:  # Setting "linear" would take the labels of dates away.
            _logarithmic(axes, "x")
        if log_y:
            _logarithmic(axes, "y")
        if names:
            axes.tick_params(axis="x", rotation=90)
        if any(np.issubdtype(np.asarray(xs).dtype, np.datetime64) for xs, *_ in series.values()):
            figure.autofmt_xdate()
        if below:
            figure.legend(loc="outside lower left", frameon=False, fontsize=8, labelcolor=INK)
        elif len(series) > 1:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return svg[0]


def scatter(
    predicted: Num[np.ndarray, "N"],
    true: Num[np.ndarray, "N"],
    path: Path | None = None,
    *,
    x: str = "true",
    y: str = "predicted",
    unit: str = "",
    title: str = "",
    low: Num[np.ndarray, "N"] | None = None,
    high: Num[np.ndarray, "N"] | None = None,
    log: bool = False,
) -> str:
    """Predicted against true values, with the diagonal where they agree and, where given, intervals [low, high]."""
    with canvas(path, 4.0, 4.0) as (figure, svg):
        axes = figure.subplots()
        ends = [min(np.min(true), np.min(predicted)), max(np.max(true), np.max(predicted))]
        axes.plot(ends, ends, color=INK, linewidth=0.8, alpha=0.6)
        pixels = len(true) > 1000  # As shapes, every point takes 100 bytes or more.
        if low is not None and high is not None:
            axes.vlines(true, low, high, color=COLOURS[0], alpha=0.15, linewidth=0.8, rasterized=pixels)
        axes.scatter(true, predicted, s=8, color=COLOURS[0], alpha=0.5, linewidths=0, rasterized=pixels)
        unit = f" ({unit})" if unit else ""
        if log:
            _logarithmic(axes, "x")
            _logarithmic(axes, "y")
        else:
            axes.locator_params(nbins=5)  # More numbers of six digits would touch each other.
        dress(axes, f"{x}{unit}", f"{y}{unit}", title)
    return svg[0]


def groups(
    points: Float[np.ndarray, "N 2"],
    labels: Num[np.ndarray, "N"],
    path: Path | None = None,
    *,
    x: str = "",
    y: str = "",
    title: str = "",
) -> str:
    """Points of a plane coloured by group 0, 1, 2, ..., its number at its median; after eight the shapes change."""
    with canvas(path, 4.5, 4.0) as (figure, svg):
        axes = figure.subplots()
        for label in np.unique(labels):
            own, colour = points[labels == label], COLOURS[int(label) % len(COLOURS)]
            shape = "o^sDvP"[int(label) // len(COLOURS) % 6]
            axes.scatter(
                *own.T, s=6, marker=shape, color=colour, alpha=0.6, linewidths=0, rasterized=len(points) > 1000
            )
            axes.text(*np.median(own, axis=0), str(label), color=INK, fontsize=11, ha="center", va="center")
        dress(axes, x, y, title)
        if not x:  # A map's coordinates mean nothing.
            axes.set_xticks([])
            axes.set_yticks([])
    return svg[0]


def bars(
    values: Mapping[str, float],
    path: Path | None = None,
    *,
    errors: Mapping[str, float] | None = None,
    unit: str = "",
    title: str = "",
) -> str:
    """Horizontal bars, name -> value, each with its number; errors are half lengths of the whiskers."""
    with canvas(path, 5.0, 0.6 + 0.32 * len(values)) as (figure, svg):
        axes = figure.subplots()
        names, numbers = list(values), list(values.values())
        whiskers = None if errors is None else [errors.get(name, 0.0) for name in names]
        drawn = axes.barh(names, numbers, xerr=whiskers, color=COLOURS[0], height=0.65, ecolor=INK)
        axes.bar_label(drawn, [f"{number:.4g}" for number in numbers], padding=4, fontsize=8, color=INK)
        axes.margins(x=0.2)
        axes.invert_yaxis()
        dress(axes, unit, "", title)
        axes.grid(False, axis="y")
    return svg[0]


def confusion(
    counts: Num[np.ndarray, "R C"], path: Path | None = None, *, classes: Sequence[str] = (), title: str = ""
) -> str:
    """Counts [truth, prediction] as cells shaded by the share of their row; up to 30 classes also show the numbers."""
    counts = np.maximum(np.nan_to_num(np.asarray(counts), posinf=0, neginf=0), 0)
    rows, columns = counts.shape
    side = float(np.clip(0.36 * max(rows, columns), 3.0, 8.0))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with canvas(path, side + 0.9, side * rows / columns + 0.8) as (figure, svg):
        axes = figure.subplots()
        axes.imshow(_shades(share), interpolation="none", aspect="auto")
        if max(rows, columns) <= 30:
            for i, j in np.argwhere(counts > 0):
                colour = "white" if share[i, j] > 0.5 else INK
                axes.text(j, i, f"{counts[i, j]:.3g}", ha="center", va="center", fontsize=7, color=colour)
        dress(axes, "predicted", "true", title)
        axes.grid(False)
        enough = len(classes) >= max(rows, columns)
        names = classes if enough else [str(number) for number in range(max(rows, columns))]
        if max(rows, columns) <= 60:
            turned = max(len(name) for name in names) > 3
            axes.set_xticks(range(columns), names[:columns], rotation=90 if turned else 0)
            axes.set_yticks(range(rows), names[:rows])
    return svg[0]


def heatmap(
    weights: Float[np.ndarray, "R C"],
    path: Path | None = None,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    x: str = "",
    title: str = "",
) -> str:
    """Weights between 0 and 1, such as attention, as cells that are the more opaque the larger; names on both sides."""
    with canvas(path, 1.5 + 0.18 * len(columns), 1.2 + 0.18 * len(rows)) as (figure, svg):
        axes = figure.subplots()
        axes.imshow(_shades(np.asarray(weights)), interpolation="none", aspect="auto")
        dress(axes, x, "", title)
        axes.grid(False)
        axes.set_xticks(range(len(columns)), columns, rotation=90)
        axes.set_yticks(range(len(rows)), rows)
    return svg[0]


def images(
    pictures: Sequence[Num[np.ndarray, "H W *C"]] | Num[np.ndarray, "N H W *C"],
    path: Path | None = None,
    *,
    captions: Sequence[str] = (),
    wrong: Sequence[bool] = (),
    columns: int = 8,
    inches: float = 1.0,
    title: str = "",
) -> str:
    """A sheet of pictures in [0, 1], grey [H, W] or [H, W, 1] or RGB; captions of those marked wrong are orange."""
    rows = -(-len(pictures) // columns)
    tall = max((picture.shape[0] / picture.shape[1] for picture in map(np.asarray, pictures)), default=1.0)
    height = inches * tall + 0.16 * max((caption.count("\n") + 1 for caption in captions), default=0)
    with canvas(path, inches * columns, height * rows + 0.3 * (bool(title) + any(wrong))) as (figure, svg):
        for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
            axes.axis("off")
            if place >= len(pictures):
                continue
            picture = np.clip(np.asarray(pictures[place], np.float64), 0, 1)
            picture = picture[..., 0] if picture.shape[-1] == 1 and picture.ndim == 3 else picture
            # "none": the raw pixels are embedded, and the viewer enlarges them.
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="none")
            if place < len(captions):
                bad = place < len(wrong) and wrong[place]
                axes.set_title(captions[place], fontsize=7, color=COLOURS[1] if bad else INK, pad=2)
        if title:
            figure.suptitle(title, fontsize=10, color=INK)
        if any(wrong):
            figure.supxlabel("orange: wrong", fontsize=8, color=COLOURS[1])
    return svg[0]


def _logarithmic(axes: Any, which: Literal["x", "y"]) -> None:
    """Powers of ten as plain numbers; Matplotlib would write formulas, which nothing here parses."""
    from matplotlib.ticker import LogFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(LogFormatter())  # which writes numbers between them where the axis is short


def _shades(share: Float[np.ndarray, "R C"]) -> Float[np.ndarray, "R C 4"]:
    """One blue, more opaque for larger shares: right on any background. The square root keeps rare errors visible."""
    from matplotlib.colors import to_rgba

    colour = np.broadcast_to(np.asarray(to_rgba(COLOURS[0])), (*share.shape, 4)).copy()
    colour[..., 3] = np.sqrt(share)
    return colour


def dress(axes: Any, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.set_title(title, color=INK, fontsize=10)
    axes.tick_params(colors=INK, labelsize=8, length=3)
    axes.grid(True, color=INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set(color=INK, alpha=0.4)


@contextmanager
def canvas(path: Path | None, width: float, height: float) -> Iterator[tuple[Any, list[str]]]:
    """(figure of that many inches, list that holds the SVG afterwards), without pyplot's global state."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = {
        "svg.hashsalt": "deeplearn",  # Fixed ids: the same data gives the same bytes.
        "svg.fonttype": "none",  # Text stays text: small, searchable, in the reader's font.
        "image.composite_image": False,
        "font.size": 9.0,
        "text.parse_math": False,  # Names are the user's: "$" is a class of restaurants, not the start of a formula.
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        result: list[str] = []
        yield figure, result
        buffer, title = io.StringIO(), {"Title": words} if (words := _title(figure)) else {}
        metadata = {"Date": None, "Creator": None, **title}
        figure.savefig(buffer, format="svg", dpi=150, transparent=True, metadata=metadata)
        if path is not None and path.suffix == ".png":
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=150, facecolor="white", metadata=title)
    result.append(_themed(buffer.getvalue()))
    if path is not None and path.suffix != ".png":
        write_text(Path(path), result[0])


def _title(figure: Any) -> str:
    """What a picture shows, in one line, for its caption and for readers that hear it: its title and its axes."""
    title, axes = figure.get_suptitle(), figure.axes[0] if len(figure.axes) == 1 else None
    if axes is None:
        return " ".join(title.split())
    labels = [label for label in (axes.get_ylabel(), axes.get_xlabel()) if label]
    parts = [part for part in (title or axes.get_title(), " over ".join(labels)) if part]
    return " ".join(": ".join(parts).split())


def _themed(svg: str) -> str:
    """Let text and axes follow the reader's light or dark theme, and drop what only identifies the program."""
    svg = re.sub(r"^.*?(?=<svg)", "", svg, count=1, flags=re.S)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # Two figures on one page must not share names.
    svg = svg.replace(INK, "currentColor").replace("'DejaVu Sans'", FONTS)
    return re.sub(r"(<svg[^>]*>)", rf"\1{THEMES}", svg, count=1)
