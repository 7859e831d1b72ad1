"""A function of images applied to one that is too large for it, or to it in eight positions."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Whole = Callable[[Float[np.ndarray, "B H W C"]], Float[np.ndarray, "B H W D"]]
STEP = 8
"""Tiles begin at multiples of it, so that a network that halves sides three times sees the same pairs of pixels."""


def tiled(
    function: Whole, image: Float[np.ndarray, "H W C"], *, tile: int = 512, margin: int = 72, blend: int = 32
) -> Float[np.ndarray, "H W D"]:
    """function(image) from overlapping tiles; equal to that of the whole where it looks no further than `margin`.

    Args:
        tile: largest side in pixels that the function is given.
        margin: pixels along a tile's inner edges that are not used, since they lack what lies beyond.
        blend: pixels further in over which a tile passes into the next, which hides seams where `margin` is too small.
    """
    rows, columns = (_spans(side, tile, 2 * margin + blend) for side in image.shape[:2])
    places = [(slice(*row), slice(*column)) for row in rows for column in columns]
    parts = [np.asarray(function(image[None, down, across]))[0] for down, across in places]
    total = np.zeros((*image.shape[:2], parts[0].shape[2]), np.float32)
    weight = np.zeros((*image.shape[:2], 1), np.float32)
    for (down, across), part in zip(places, parts, strict=True):
        share = np.outer(_weight(down, image.shape[0], margin, blend), _weight(across, image.shape[1], margin, blend))[
            ..., None
        ]
        total[down, across] += share * part
        weight[down, across] += share
    return total / weight


def _spans(side: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """(begin, end) of tiles that cover a side."""
    stride = (tile - overlap) // STEP * STEP
    begins = [0]
    while begins[-1] + tile < side:
        begins.append(min(begins[-1] + stride, -(-(side - tile) // STEP) * STEP))
    return [(begin, min(begin + tile, side)) for begin in begins]


def _weight(place: slice, side: int, margin: int, blend: int) -> Float[np.ndarray, "H"]:
    """0 in the margins, 1 in the middle, half a cosine between; margins at the image's own border count in full."""
    pixel = np.arange(place.start, place.stop, dtype=np.float32) + 0.5
    before = pixel - place.start - margin if place.start else np.inf
    behind = place.stop - margin - pixel if place.stop < side else np.inf
    inside = np.minimum(before, behind) + np.zeros_like(pixel)
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(inside / blend, 0, 1))


def eightfold(function: Whole) -> Whole:
    """The mean of what the function makes of the image turned and mirrored in all eight ways (Timofte et al., 2016)."""

    def mean(image: Float[np.ndarray, "B H W C"]) -> Float[np.ndarray, "B H W D"]:
        found = []
        for turns in range(4):
            for flip in (slice(None), slice(None, None, -1)):
                moved = np.rot90(image, turns, (1, 2))[:, :, flip]
                found.append(np.rot90(np.asarray(function(moved))[:, :, flip], -turns, (1, 2)))
        return np.mean(found, axis=0)

    return mean
