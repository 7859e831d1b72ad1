"""Pictures that early and late stages of seeing tell apart: sticks and circles, parts of faces, things.

Strokes are drawn (SYNTHETIC); parts are cut out of ORL's faces, things out of digits on photographs.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from deeplearn.data.sets.digit_scenes import digit_scenes
from deeplearn.data.sets.faces import orl

STICKS = 8
"""Orientations of sticks."""
PARTS = {"left eye": (30, 8), "right eye": (30, 48), "nose": (46, 28), "mouth": (66, 28), "hair": (0, 28)}
"""Of a face of ORL: (top, left) of a square of 36 pixels."""


class Stage(NamedTuple):
    """Labelled pictures, and which of them are learnt from."""

    image: UInt8[np.ndarray, "N S S 3"]
    label: Int[np.ndarray, "N"]
    learnt: Bool[np.ndarray, "N"]
    classes: tuple[str, ...]


def strokes(size: int, side: int, seed: int) -> Stage:
    """So many pictures, half of them to learn from, of a stick of one of eight orientations or of a circle.

    Place, length, thickness, colours and the noise behind are drawn at random.
    """
    rng = np.random.default_rng(seed)
    label = np.arange(size) % (STICKS + 1)
    rows, columns = np.mgrid[:side, :side]
    images = []
    for kind in label:
        x, y = columns - side * rng.uniform(0.35, 0.65), rows - side * rng.uniform(0.35, 0.65)
        radius, thick = side * rng.uniform(0.15, 0.3), side * rng.uniform(0.02, 0.05)
        if kind == STICKS:
            off = np.abs(np.hypot(x, y) - radius)
        else:
            turn = np.pi * (kind + rng.uniform(-0.25, 0.25)) / STICKS
            along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
            off = np.maximum(np.abs(across), np.abs(along) - radius)
        ink = np.clip(thick + 0.5 - off, 0, 1)[..., None]
        ground = rng.uniform(0, 1, 3)
        colour = (ground + rng.uniform(0.35, 0.65, 3)) % 1  # always far from the ground, lighter or darker
        image = ground + ink * (colour - ground) + 0.05 * rng.standard_normal((side, side, 3))
        images.append(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8))
    names = (*(f"{180 * kind // STICKS} degrees" for kind in range(STICKS)), "circle")
    return Stage(np.stack(images), label, np.arange(size) // (STICKS + 1) % 2 == 0, names)


def parts(numbers: int) -> Stage:
    """Eyes, noses, mouths and hair, of so many of everybody's ten photographs; half of the people are learnt from."""
    people = orl().image[..., 0].reshape(40, 10, 112, 92)[:, :numbers]
    cut = np.stack([people[..., top : top + 36, left : left + 36] for top, left in PARTS.values()], axis=2)
    person, _, kind = (place.ravel() for place in np.indices(cut.shape[:3]))
    colour = np.repeat(cut.reshape(-1, 36, 36, 1), 3, axis=-1)
    return Stage(colour, kind, person < 20, tuple(PARTS))


def things(size: int) -> Stage:
    """So many digits cut out of scenes, half of them to learn from; no digit and no photograph is on both sides."""
    from PIL import Image

    found = {}
    for part in ("train", "test"):
        scenes, images, label = digit_scenes(part, size), [], []
        for number in range(size):
            scene = scenes[number]
            for (left, top, right, bottom), own in zip(scene.box, scene.label, strict=True):
                reach = 0.65 * max(right - left, bottom - top)
                x, y = (left + right) / 2, (top + bottom) / 2
                square = Image.fromarray(scene.image).crop((x - reach, y - reach, x + reach, y + reach))
                images.append(np.asarray(square.resize((64, 64), Image.Resampling.BILINEAR)))
                label.append(own)
            if len(images) >= size // 2:
                break
        found[part] = np.stack(images[: size // 2]), np.array(label[: size // 2])
    image, label = (np.concatenate([found["train"][i], found["test"][i]]) for i in range(2))
    return Stage(image, label, np.arange(len(label)) < size // 2, tuple(map(str, range(10))))
