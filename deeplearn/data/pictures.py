"""Pictures with boxes around the objects in them, and the batches that detectors learn from and are judged on.

A box is (left, top, right, bottom) in pixels from the picture's upper left corner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

GREY = 128
"""Of what lies outside of a picture, where a square is larger."""
VISIBLE = 0.4
"""Share of an object's box that a cut has to leave, or the object is taken as gone."""
ZOOMS = (0.5, 2.0)
"""By how much a picture is scaled at random before a square is cut out of it."""


class Picture(NamedTuple):
    """One picture and its G objects."""

    image: UInt8[np.ndarray, "H W 3"]
    box: Float[np.ndarray, "G 4"]
    label: Int[np.ndarray, "G"]
    """Positions in the list of classes."""
    crowd: Bool[np.ndarray, "G"]
    """The box holds many objects, or one that nobody is asked to find: it counts neither for nor against a detector."""
    area: Float[np.ndarray, "G"]
    """Square pixels of the object, which may be fewer than its box's."""


Pictures = Sequence[Picture]


@dataclass(frozen=True)
class Cuts(Sequence):
    """Random squares of pictures, scaled, mirrored and brighter or darker; the number decides."""

    pictures: Pictures
    side: int
    most: int
    """Objects in a square at most; more are left out, the smallest first."""
    draws: int
    """Squares before they repeat."""
    upright: bool
    """Only mirrored; otherwise also turned, as what is seen from above may be."""

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(number)
        picture = self.pictures[rng.integers(len(self.pictures))]
        zoom = np.exp(rng.uniform(*np.log(ZOOMS)))
        # A square of the picture that becomes `side` pixels; it may stick out where the picture is smaller.
        need = self.side / zoom
        corner = [rng.uniform(min(0, extent - need), max(0, extent - need)) for extent in picture.image.shape[1::-1]]
        image, box = cut(picture, corner, zoom, self.side)
        if rng.random() < 0.5:
            image, box = image[:, ::-1], mirrored(box, self.side)
        for _ in range(0 if self.upright else rng.integers(4)):
            image, box = np.rot90(image), mirrored(box, self.side)[:, [1, 0, 3, 2]]
        image = np.clip(image * rng.uniform(0.7, 1.3, 3) + rng.uniform(-30, 30), 0, 255).astype(np.uint8)
        return {"image": image} | table(picture._replace(box=box), self.side, self.most)


def cut(
    picture: Picture, corner: Sequence[float], zoom: float, side: int
) -> tuple[UInt8[np.ndarray, "S S 3"], Float[np.ndarray, "G 4"]]:
    """A square of `side` pixels from `corner` (left, top) of the picture scaled by `zoom`; boxes move with it."""
    from PIL import Image

    left, top = corner
    affine = (1 / zoom, 0, left, 0, 1 / zoom, top)
    source = Image.fromarray(picture.image)
    if zoom < 1:  # Bilinear interpolation would skip pixels.
        shape = [max(1, round(extent * zoom)) for extent in source.size]
        source = source.resize(shape, Image.Resampling.BILINEAR)
        affine = (1, 0, left * zoom, 0, 1, top * zoom)
    fill = (GREY,) * 3
    image = source.transform((side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR, fillcolor=fill)
    return np.asarray(image), (picture.box - np.tile(corner, 2)) * zoom


def mirrored(box: Float[np.ndarray, "G 4"], side: int) -> Float[np.ndarray, "G 4"]:
    """Left and right exchanged."""
    return np.stack([side - box[:, 2], box[:, 1], side - box[:, 0], box[:, 3]], axis=1)


def table(picture: Picture, side: int, most: int) -> dict[str, np.ndarray]:
    """The objects that a square still shows, as columns of one length: box, label (-1 for none), crowd, area."""
    whole = picture.box
    box = whole.clip(0, side)
    size, before = ((b[:, 2] - b[:, 0]).clip(0) * (b[:, 3] - b[:, 1]).clip(0) for b in (box, whole))
    rows = np.flatnonzero((size > VISIBLE * before) & (size >= 1))
    rows = np.sort(rows[np.argsort(-size[rows], kind="stable")][:most])
    found = {
        "box": np.zeros((most, 4), np.float32),
        "label": np.full(most, -1, np.int32),
        "crowd": np.zeros(most, bool),
        "area": np.zeros(most, np.float32),
    }
    for name, values in (("box", box), ("label", picture.label), ("crowd", picture.crowd), ("area", picture.area)):
        found[name][: len(rows)] = values[rows]
    return found


def whole(picture: Picture, side: int, most: int) -> dict[str, np.ndarray]:
    """The picture shrunk into the upper left of a square where it is larger, with the factor `zoom`; columns as
    above, `area` in the picture's own pixels."""
    zoom = min(1.0, side / max(picture.image.shape[:2]))
    image, box = cut(picture, (0.0, 0.0), zoom, side)
    height, width = (round(extent * zoom) for extent in picture.image.shape[:2])
    image = image.copy()
    image[height:], image[:, width:] = GREY, GREY
    return {"image": image, "zoom": np.float32(zoom)} | table(picture._replace(box=box), side, most)


def shrunk(image: UInt8[np.ndarray, "H W 3"], largest: int) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """The image with no side longer than that, and by how much it was scaled."""
    from PIL import Image

    zoom = min(1.0, largest / max(image.shape[:2]))
    if zoom == 1:
        return image, zoom
    shape = [max(1, round(extent * zoom)) for extent in image.shape[1::-1]]
    return np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.LANCZOS)), zoom
