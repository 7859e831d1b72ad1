"""Pictures with boxes around the objects in them, and the batches that detectors learn from and are judged on.

A box is (left, top, right, bottom) in pixels from the picture's upper left corner.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

GREY = 128
"""Of what lies outside of a picture, where a square is larger."""
VISIBLE = 0.4
"""Share of an object's box that a cut has to leave, or the object is taken as gone."""


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
    zoom: float
    """By up to how much a picture is scaled at random, either way, before a square is cut out of it."""
    upright: bool
    """Only mirrored; otherwise also turned, as what is seen from above may be."""
    aimed: float = 0.0
    """Share of the squares that are laid over one of the objects; the rest lie anywhere."""
    vary: float = 0.0
    """How strongly contrast, colours and sharpness are changed: see `varied`."""

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(number)
        picture = self.pictures[rng.integers(len(self.pictures))]
        zoom = np.exp(rng.uniform(*np.log([1 / self.zoom, self.zoom])))
        # A square of the picture that becomes `side` pixels; it may stick out where the picture is smaller.
        need = self.side / zoom
        extents = np.array(picture.image.shape[1::-1])
        low, high = np.minimum(0, extents - need), np.maximum(0, extents - need)
        if self.aimed and len(picture.box) and rng.random() < self.aimed:
            left, top, right, bottom = picture.box[rng.integers(len(picture.box))]
            corner = (rng.uniform([left, top], [right, bottom]) - need * rng.uniform(size=2)).clip(low, high)
        else:
            corner = rng.uniform(low, high)
        image, box = cut(picture, corner, zoom, self.side)
        if rng.random() < 0.5:
            image, box = image[:, ::-1], mirrored(box, self.side)
        for _ in range(0 if self.upright else rng.integers(4)):
            image, box = np.rot90(image), mirrored(box, self.side)[:, [1, 0, 3, 2]]
        image = varied(image, self.vary, rng) if self.vary else image
        image = np.clip(image * rng.uniform(0.7, 1.3, 3) + rng.uniform(-30, 30), 0, 255).astype(np.uint8)
        return {"image": image} | table(picture._replace(box=box), self.side, self.most)


def varied(image: UInt8[np.ndarray, "H W 3"], strength: float, rng: np.random.Generator) -> Float[np.ndarray, "H W 3"]:
    """Other sharpness, hue, saturation and contrast, as another season, hour or camera has them.

    Args:
        strength: in 0..1; at 1 the blur reaches a radius of 2 pixels, hues turn by up to 45 degrees either way, colours
            go from none to twice as strong, and contrast from e^-0.5 to e^0.5.
    """
    from PIL import Image, ImageFilter

    radius = rng.uniform(0, 2 * strength)
    pixels = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)), np.float32)
    # Colours are turned around the axis of greys (Rodrigues' formula), each row of the matrix sums to one.
    angle, third = np.deg2rad(45 * strength * rng.uniform(-1, 1)), np.full((3, 3), 1 / 3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = third + np.cos(angle) * (np.eye(3) - third) + np.sin(angle) * across
    pixels = pixels @ turn.T.astype(np.float32)
    grey = pixels.mean(-1, keepdims=True)
    pixels = grey + (pixels - grey) * np.float32(rng.uniform(1 - strength, 1 + strength))
    return pixels.mean() + (pixels - pixels.mean()) * np.float32(np.exp(strength * rng.uniform(-0.5, 0.5)))


def cut(
    picture: Picture, corner: Sequence[float], zoom: float, side: int
) -> tuple[UInt8[np.ndarray, "S S 3"], Float[np.ndarray, "G 4"]]:
    """A square of `side` pixels from `corner` (left, top) of the picture scaled by `zoom`; boxes move with it."""
    from PIL import Image

    # A large picture is not shrunk as a whole for a small square of it.
    wide, margin = side / zoom, 2 / zoom + 2  # in pixels of the picture; as far as interpolation looks, and more
    window = [
        (max(0, math.floor(start - margin)), max(0, min(extent, math.ceil(start + wide + margin))))
        for start, extent in zip(corner, picture.image.shape[1::-1], strict=True)
    ]
    across, down = (slice(*ends) for ends in window)
    source = Image.fromarray(picture.image[down, across])
    left, top = (start - first for start, (first, _) in zip(corner, window, strict=True))
    affine = (1 / zoom, 0, left, 0, 1 / zoom, top)
    if zoom < 1:  # Bilinear interpolation would skip pixels.
        shape = [max(1, round(extent * zoom)) for extent in source.size]
        source = source.resize(shape, Image.Resampling.BILINEAR)
        affine = (1, 0, left * zoom, 0, 1, top * zoom)
    fill = (GREY,) * 3
    image = source.transform((side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR, fillcolor=fill)
    return np.asarray(image), (picture.box - np.tile(corner, 2)) * zoom


def parts(picture: Picture, most: int) -> list[Picture]:
    """The picture cut into equal rectangles, as few as have no side of more than `most` pixels; boxes are cut with it.

    An object is in every part that shows enough of it (`VISIBLE`).
    """
    height, width = picture.image.shape[:2]
    rows, columns = (np.linspace(0, side, -(-side // most) + 1).round().astype(int) for side in (height, width))
    found = []
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            box = picture.box.clip([left, top] * 2, [right, bottom] * 2)
            shown = (box[:, 2:] - box[:, :2]).prod(1) / (picture.box[:, 2:] - picture.box[:, :2]).prod(1).clip(1e-6)
            keep = shown > VISIBLE
            own = Picture(picture.image[top:bottom, left:right], *(column[keep] for column in picture[1:]))
            moved = (box - [left, top] * 2)[keep].astype(np.float32)
            found.append(own._replace(box=moved, area=own.area * shown[keep]))
    return found


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
