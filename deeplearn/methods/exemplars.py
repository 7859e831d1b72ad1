"""The parts of pictures that a unit answers to most (Zeiler & Fergus, 2014)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

CELLS = 8
"""Along the side of a part: so many cells of a map see most of what the one in the middle does."""


class Unit(NamedTuple):
    """A channel of a layer, and what it answers to, the strongest first."""

    number: int
    parts: list[Num[np.ndarray, "S S C"]]


def exemplars(
    maps: Float[np.ndarray, "N h w D"], pictures: Num[np.ndarray, "N H W C"], units: int, count: int
) -> list[Unit]:
    """The choosiest channels: those whose strongest answer stands out most from their answers to other pictures.

    Args:
        count: parts of each, from as many pictures.
    """
    peak = maps.max((1, 2))
    choosy = (peak.max(0) - peak.mean(0)) / (peak.std(0) + 1e-6)
    side = min(CELLS * -(-pictures.shape[1] // maps.shape[1]), *pictures.shape[1:3])
    found = []
    for unit in np.argsort(-choosy, kind="stable")[:units]:
        best = np.argsort(-peak[:, unit], kind="stable")[:count]
        found.append(Unit(int(unit), [_around(maps[row, ..., unit], pictures[row], side) for row in best]))
    return found


def _around(map: Float[np.ndarray, "h w"], picture: Num[np.ndarray, "H W C"], side: int) -> Num[np.ndarray, "S S C"]:
    """The square of the picture around the middle of the map's strongest cell, moved inside where it reaches out."""
    cell, ends = np.unravel_index(map.argmax(), map.shape), zip(map.shape, picture.shape, strict=False)
    middle = [(place + 0.5) * length / cells for place, (cells, length) in zip(cell, ends, strict=True)]
    top, left = (int(np.clip(m - side / 2, 0, n - side)) for m, n in zip(middle, picture.shape, strict=False))
    return picture[top : top + side, left : left + side]
