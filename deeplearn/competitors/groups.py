"""What groups were made with before: k-means and Gaussian mixtures, of inputs, of linear forecasts, of a t-SNE map."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from deeplearn.data.doors.customers import Examples, Lesson
from deeplearn.methods import clustering

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
        found["ridge forecast + k-means"] = lambda rows, seed: of(
            linear_forecast(points, lesson, rows), clustering.kmeans, rows, seed
        )
    if examples.label is not None:
        found["t-SNE + Gaussian mixture"] = lambda rows, seed: of(
            clustering.flattened(points, seed), clustering.gaussians, rows, seed
        )
    return found


def linear_forecast(points: clustering.Points, lesson: Lesson, rows: Int[np.ndarray, "M"]) -> Float[np.ndarray, "N D"]:
    """Forecasts for all examples by ridge regression on the lesson of those at these rows."""
    from sklearn.linear_model import Ridge

    learnt = rows[lesson.known[rows]]
    before = lesson.before[learnt].reshape(len(learnt), -1)
    return Ridge().fit(before, lesson.after[learnt]).predict(points)
