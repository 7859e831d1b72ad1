"""What a layer can tell: a linear machine learns it from the layer's activations, and is judged on others."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


def discriminant(
    points: Float[np.ndarray, "N D"], label: Int[np.ndarray, "N"], others: Float[np.ndarray, "M D"], shrinkage: float
) -> Int[np.ndarray, "M"]:
    """The labels of others by the nearest mean, in units of the scatter within labels (Fisher, 1936).

    Args:
        shrinkage: share of the identity in the scatter (Ledoit & Wolf, 2004), after each number has variance 1.
    """
    mean, deviation = points.mean(0), points.std(0)
    scale = np.where(deviation > 1e-6 * (np.abs(mean) + 1e-30), 1 / np.maximum(deviation, 1e-30), 0)
    points, others = ((part.astype(np.float64) - mean) * scale for part in (points, others))
    names = np.unique(label)
    means = np.stack([points[label == name].mean(0) for name in names])
    rest = points - means[np.searchsorted(names, label)]
    scatter = (1 - shrinkage) * rest.T @ rest / len(rest) + shrinkage * np.eye(points.shape[1])
    weights = np.linalg.solve(scatter, means.T)  # [D, K]
    return names[(others @ weights - (means.T * weights).sum(0) / 2).argmax(1)]


class Curve(NamedTuple):
    """What each of L layers tells, from the first on."""

    accuracy: Float[np.ndarray, "L"]
    """Of held-out points."""
    best: int
    """The layer that is best on a quarter of what was learnt from, not on what is held out."""


def by_depth(
    layers: Sequence[Float[np.ndarray, "N D"]],
    label: Int[np.ndarray, "N"],
    learnt: Bool[np.ndarray, "N"],
    shrinkage: float = 0.3,
) -> Curve:
    """A linear machine for every layer, of the same kind for all."""
    own = np.flatnonzero(learnt)
    kept, quarter = own[np.arange(len(own)) % 4 > 0], own[::4]

    def accuracy(layer: np.ndarray, rows: np.ndarray, held: np.ndarray) -> float:
        return float((discriminant(layer[rows], label[rows], layer[held], shrinkage) == label[held]).mean())

    chosen = [accuracy(layer, kept, quarter) for layer in layers]
    found = np.array([accuracy(layer, own, np.flatnonzero(~learnt)) for layer in layers])
    return Curve(found, int(np.argmax(chosen)))
