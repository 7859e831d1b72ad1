"""What groups were made with before: k-means and Gaussian mixtures, of inputs, of linear forecasts, of a t-SNE map."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from deeplearn.competitors.search import Setting, Space, between, drawn, search
from deeplearn.data.doors.customers import Examples, Lesson
from deeplearn.methods import clustering

MAPPED = 10_000
"""Points of a t-SNE map, which takes 40 seconds with so many, and five times as long with four times as many."""
Method = Callable[[Int[np.ndarray, "M"], int], clustering.Labels]
"""(rows to learn from, seed) -> the group of each of all N examples."""


def methods(examples: Examples, clusters: int) -> dict[str, Method]:
    """Competitor -> how it groups; forecasts where there are purchases, the map for images."""
    points = examples.flat

    def of(code: np.ndarray, fit: Callable, rows: np.ndarray, seed: int) -> clustering.Labels:
        return fit(code[rows], clusters, seed)(code)

    found: dict[str, Method] = {
        "k-means": lambda rows, seed: of(points, clustering.kmeans, rows, seed),
        "Gaussian mixture": lambda rows, seed: of(points, clustering.gaussians, rows, seed),
    }
    lesson = examples.lesson
    if lesson is not None:
        strength = searched_strength(lesson)
        found["ridge forecast + k-means"] = lambda rows, seed: of(
            linear_forecast(points, lesson, rows, strength), clustering.kmeans, rows, seed
        )
    if examples.label is not None:
        found["t-SNE + Gaussian mixture"] = lambda rows, seed: on_map(points, clusters, rows, seed)
    return found


def on_map(
    points: clustering.Points, clusters: int, rows: Int[np.ndarray, "M"], seed: int, *, most: int = MAPPED
) -> clustering.Labels:
    """Groups [N] of a Gaussian mixture on a t-SNE map, learnt from these rows.

    Of more than `most` points so many are mapped, and each other one belongs to the group of the nearest of those.
    """
    from sklearn.neighbors import NearestNeighbors

    shown = np.sort(drawn("t-SNE", len(points), most, "points"))
    flat = clustering.flattened(points[shown], seed)
    place = np.searchsorted(shown, rows).clip(max=len(shown) - 1)
    learnt = place[shown[place] == rows]  # as often as they are among the rows
    labels = clustering.gaussians(flat[learnt], clusters, seed)(flat)
    if len(shown) == len(points):
        return labels
    return labels[NearestNeighbors(n_neighbors=1).fit(points[shown]).kneighbors(points, return_distance=False)[:, 0]]


def searched_strength(lesson: Lesson) -> float:
    """The strength of ridge regression that forecasts a fifth of the known customers best.

    Groups themselves have nothing to search by: labels judge them only.
    """
    rows = np.random.default_rng(0).permutation(np.flatnonzero(lesson.known))
    before, after = (column[rows].reshape(len(rows), -1) for column in (lesson.before, lesson.after))
    cut = len(rows) // 5

    def loss(setting: Setting) -> float:
        found = _ridge(before[cut:], after[cut:], setting["alpha"]).predict(before[:cut])
        return float(((found - after[:cut]) ** 2).mean())

    space = Space({"alpha": 1.0}, lambda rng: {"alpha": between(rng, 1e-2, 1e5)})
    return search("ridge forecast", space, loss).setting["alpha"]


def linear_forecast(
    points: clustering.Points, lesson: Lesson, rows: Int[np.ndarray, "M"], strength: float
) -> Float[np.ndarray, "N D"]:
    """Forecasts for all examples by ridge regression on the lesson of those at these rows."""
    learnt = rows[lesson.known[rows]]
    return _ridge(lesson.before[learnt].reshape(len(learnt), -1), lesson.after[learnt], strength).predict(points)


def _ridge(before: Float[np.ndarray, "M F"], after: Float[np.ndarray, "M D"], strength: float) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=strength).fit(before, after)
