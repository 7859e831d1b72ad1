"""Labelled images to learn from, and what of them is fixed before training: their shape, their scale, their classes."""

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplearn.data.images import Images, Splits
from deeplearn.data.sets.digits import digits, mnist5k
from deeplearn.data.sets.mnist1d import mnist1d


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which images."""

    name: str = "digits"
    """digits, mnist5k, mnist1d, or a prepared TFDS set (deeplearn data list): mnist, cifar10, imagenet2012, ..."""
    path: Path | None = None
    """Your own images instead: a folder of class folders, or of train/ and test/ folders of those."""
    size: int | None = None
    """Side in pixels of your own images (32 by default) and of ImageNet crops (224)."""
    shuffled: bool = False
    """Digits of known writers, the easier test: fold (seed modulo 10) of ten; ten seeds make a cross-validation."""
    limit: int | None = None
    """Learn from so many images of the training part only."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What a model of images was trained on: it is kept with the run, since prediction has no data set."""

    shape: tuple[int, ...]
    """[H, W, C]; W is 1 where the data are signals."""
    mean: float
    """Of the training values, after division by 255 where they are pixels."""
    std: float
    classes: tuple[str, ...]
    """Names of the classes."""


def load(data: Data, seed: int) -> Splits:
    """The images of data sets that fit in memory; the seed splits a folder that is not split, and chooses a fold.

    Raises:
        DataError: names the folder or file that is missing or cannot be read.
    """
    if data.path is not None:
        from deeplearn.data.image_folder import folder

        return folder(data.path, (data.size or 32,) * 2, seed=seed)
    match data.name:
        case "digits":
            return digits(seed % 10 if data.shuffled else None)
        case "mnist5k":
            return mnist5k()
        case "mnist1d":
            return mnist1d()
    from deeplearn.data import tfds

    return tfds.images(data.name)


def limited(images: Images, limit: int, seed: int) -> Images:
    """So many images of a training part, drawn by the seed, in their order."""
    order = np.random.default_rng(seed).permutation(len(images.label))
    return images.take(np.sort(order[:limit]), f"{limit}")


def measured(part: Images) -> Pixels:
    """The shape, scale and classes of a training part."""
    pixels = np.asarray(part.image, np.float32) / (255 if part.image.dtype == np.uint8 else 1)
    return Pixels(
        shape=part.image.shape[1:], mean=float(pixels.mean()), std=float(pixels.std()), classes=tuple(part.classes)
    )


def values(image: Array) -> Float[Array, "B H W C"]:
    """Pixels as 0..1; signals as they are."""
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image
