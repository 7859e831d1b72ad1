"""How much of a filter is a wave under a bell: the receptive fields of V1 (Gabor, 1946; Jones & Palmer, 1987)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

ORIENTATIONS = 16
"""Of the waves that are tried, in half a turn."""
CYCLES = (0.5, 0.75, 1.0, 1.5, 2.0)
"""Of a wave across the filter; with less than half of one, what is left is a blob."""
BELLS = (0.25, 0.35, 0.5)
"""Deviation of the bell, in sides of the filter."""


class Fit(NamedTuple):
    """The best Gabor function for each of N filters."""

    share: Float[np.ndarray, "N"]
    """Of the filter's variance that it explains (R2)."""
    orientation: Float[np.ndarray, "N"]
    """Of its wave, in radians from 0 to pi."""
    cycles: Float[np.ndarray, "N"]
    """Of its wave, across the filter."""


def fit(filters: Float[np.ndarray, "N h w"]) -> Fit:
    """Every wave under every bell, its phase and height by least squares; a filter that never varies has a share of 0.

    In a filter of few taps almost everything fits: set the share beside that of random filters of the same size.
    """
    count, height, width = filters.shape
    rows, columns = (np.arange(n) / n - (n - 1) / (2 * n) for n in (height, width))
    angles, cycles, bells = (
        part.ravel()
        for part in np.meshgrid(np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS, CYCLES, BELLS, indexing="ij")
    )
    way = np.cos(angles)[:, None, None] * columns + np.sin(angles)[:, None, None] * rows[:, None]
    bell = np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * bells[:, None, None] ** 2))
    phase = 2 * np.pi * cycles[:, None, None] * way
    pairs = np.stack([bell * np.cos(phase), bell * np.sin(phase)], axis=-1).reshape(len(angles), -1, 2)
    bases, _ = np.linalg.qr(pairs - pairs.mean(1, keepdims=True))  # [G, hw, 2] orthonormal
    flat = filters.reshape(count, -1).astype(np.float64)
    flat = flat - flat.mean(1, keepdims=True)
    total = (flat**2).sum(1)
    explained = (np.einsum("np,gpk->ngk", flat, bases) ** 2).sum(-1)
    best = explained.argmax(1)
    share = explained.max(1) / np.where(total > 0, total, 1)
    return Fit(share, angles[best], cycles[best])


def monochrome(kernel: Float[np.ndarray, "h w C D"]) -> Float[np.ndarray, "D h w"]:
    """Each filter along the one direction of colour in which it varies most."""
    height, width, colours, count = kernel.shape
    parts = np.moveaxis(kernel, -1, 0).reshape(count, height * width, colours)
    left, size, _ = np.linalg.svd(parts, full_matrices=False)
    return (left[..., 0] * size[:, :1]).reshape(count, height, width)


def share(kernel: Float[np.ndarray, "h w C D"], least: float = 0.6) -> float:
    """The share of filters of whose variance a Gabor function explains more than `least`."""
    return float((fit(monochrome(kernel)).share > least).mean())
