"""Nets of threshold units for people: drawn as circles and lines, in characters, and by the plane that they divide."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from deeplearn.record.figures import COLOURS, INK, canvas, dress

Layers = Sequence[Mapping[str, str]]
"""Units by layer, the inputs first: name -> what is written into them."""
Synapses = Sequence[tuple[str, str, bool]]
"""From, to, and whether it inhibits."""


def network(nets: Mapping[str, tuple[Layers, Synapses]], path: Path | None = None, *, title: str = "") -> str:
    """Nets below each other, each with its name: units in circles, what they need to fire, and synapses between them.

    A line ends in a dot where it excites and in a ring where it inhibits, as in McCulloch and Pitts' drawings.
    """
    heights = [max(map(len, layers)) for layers, _ in nets.values()]
    longest = max(len(layers) for layers, _ in nets.values())
    with canvas(path, 1.3 * longest + 0.4, sum(0.8 * height + 0.5 for height in heights)) as (figure, svg):
        rows = figure.subplots(len(nets), 1, squeeze=False, height_ratios=[height + 0.6 for height in heights])
        for axes, (name, (layers, synapses)), height in zip(rows[:, 0], nets.items(), heights, strict=True):
            _draw(axes, layers, synapses)
            axes.set(xlim=(-0.5, 1.6 * longest - 1.1), ylim=(-height / 2 - 0.1, height / 2 + 0.1), aspect="equal")
            dress(axes, "", "", name)
            axes.axis("off")
        if title:
            figure.suptitle(title, fontsize=10, color=INK)
    return svg[0]


def _draw(axes: Any, layers: Layers, synapses: Synapses, radius: float = 0.28) -> None:
    from matplotlib.patches import Circle

    place = _placed(layers, synapses)
    for number, (a, b, inhibits) in enumerate(synapses):
        twins = [i for i, synapse in enumerate(synapses) if synapse == (a, b, inhibits)]
        way = (place[b] - place[a]) / np.linalg.norm(place[b] - place[a])
        aside = 0.16 * (twins.index(number) - (len(twins) - 1) / 2) * np.array([-way[1], way[0]])
        start, end = place[a] + radius * way + aside, place[b] - (radius + 0.07) * way + aside
        colour = COLOURS[1] if inhibits else INK
        axes.plot(*zip(start, end, strict=True), color=colour, linewidth=1.2)
        axes.add_patch(Circle(end, 0.06, facecolor="white" if inhibits else colour, edgecolor=colour, zorder=3))
    for x, layer in enumerate(layers):
        for name, text in layer.items():
            axes.add_patch(Circle(place[name], radius, fill=False, edgecolor=INK, linewidth=1.2 if x else 0))
            axes.text(*place[name], text, color=INK, ha="center", va="center")


def _placed(layers: Layers, synapses: Synapses) -> dict[str, Float[np.ndarray, "2"]]:
    """Where each unit is drawn: a column a layer, each unit about as high as what it hears."""
    place = {}
    for x, layer in enumerate(layers):
        heard = {name: [place[a][1] for a, b, _ in synapses if b == name and a in place] for name in layer}
        order = sorted(layer, key=lambda name: -np.mean(heard[name])) if x and all(heard.values()) else list(layer)
        for rank, name in enumerate(order):
            place[name] = np.array([1.6 * x, (len(layer) - 1) / 2 - rank])
    return place


def outline(layers: Layers, synapses: Synapses) -> str:
    """A net in characters, from its output back to its inputs: ● excites, ○ inhibits. Shared units are shown once."""
    texts = {name: text for layer in layers for name, text in layer.items()}
    shown: set[str] = set()

    def lines(name: str, mark: str, first: str, rest: str) -> list[str]:
        if name in layers[0]:
            return [f"{first}{mark} {name}"]
        if name in shown:
            return [f"{first}{mark} {name}, as above"]
        shown.add(name)
        found, sources = [f"{first}{mark} {name}, threshold {texts[name]}"], [s for s in synapses if s[1] == name]
        for source in sources:
            here, below = ("└─", "   ") if source is sources[-1] else ("├─", "│  ")
            found += lines(source[0], "○" if source[2] else "●", rest + here, rest + below)
        return found

    return "\n".join(lines([*layers[-1]][-1], "◎", "", "  "))


def planes(
    scores: Mapping[str, Float[np.ndarray, "R C"]],
    points: Float[np.ndarray, "N 2"],
    labels: Num[np.ndarray, "N"],
    path: Path | None = None,
    *,
    extent: tuple[float, float, float, float],
    title: str = "",
) -> str:
    """For each name the plane (left, right, bottom, top), blue where its score [row of y, column of x] is positive.

    Points of positive label are full, others are rings.
    """
    from matplotlib.colors import to_rgba

    with canvas(path, 2.2 * len(scores), 2.5) as (figure, svg):
        for axes, (name, score) in zip(
            figure.subplots(1, len(scores), squeeze=False).flat, scores.items(), strict=True
        ):
            sides = np.where(np.asarray(score)[..., None] > 0, to_rgba(COLOURS[0], 0.3), to_rgba(COLOURS[1], 0.3))
            axes.imshow(sides, origin="lower", extent=extent, interpolation="none", aspect="auto")
            axes.scatter(*points[labels > 0].T, s=40, color=INK)
            axes.scatter(*points[labels <= 0].T, s=40, facecolors="none", edgecolors=INK, linewidths=1.5)
            dress(axes, "", "", name)
            axes.grid(False)
        if title:
            figure.suptitle(title, fontsize=10, color=INK)
    return svg[0]
