"""Labelled images to learn from, and what of them is fixed before training: their shape, their scale, their classes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplearn.data.image_folder import Folder, decoded, files, folder
from deeplearn.data.images import Images, Splits, joined, shrunk
from deeplearn.data.sets.digit_scenes import digit_photos
from deeplearn.data.sets.digits import digits, mnist5k
from deeplearn.data.sets.mnist1d import mnist1d
from deeplearn.data.source import Source
from deeplearn.knobs import Count

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of red, green and blue in ImageNet, as everybody has used them since fb.resnet.torch (2016)."""
EVALUATED_TOGETHER = 256
"""Images in a batch of an evaluation: larger ones are not faster on a CPU, and need more memory."""
COMPARED = 32
"""Side in pixels of what classical competitors look at, or less than twice of it: on 17,000 images of 64 x 64 x 3 a
process with an SVM held 3.5 GB."""
MEASURED = 1000
"""Images whose mean and deviation stand for those of a folder of many."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which images."""

    name: str = "digits"
    """digits, mnist5k, mnist1d, digit-photos (of mnist5k, generated), or a prepared TFDS set (deeplearn data list):
    mnist, cifar10, imagenet2012, ..."""
    path: Path | None = None
    """Your own images instead: a folder of class folders, or of train, val and test folders of those."""
    size: Count | None = None
    """Side in pixels of your own images (32 by default) and of ImageNet crops (224)."""
    shuffled: bool = False
    """Digits of known writers, the easier test: fold (seed modulo 10) of ten; ten seeds make a cross-validation."""
    limit: Count | None = None
    """Learn from so many images of the training part only."""
    scale: Literal["deviation", "range"] = "deviation"
    """What values are divided by: the deviation in their channel, or half the range, which takes pixels to -1..1."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What a model of images was trained on: it is kept with the run, since prediction has no data set."""

    shape: tuple[int, ...]
    """[H, W, C]; W is 1 where the data are signals."""
    mean: tuple[float, ...]
    """Of the training values of each channel, after division by 255 where they are pixels."""
    std: tuple[float, ...]
    classes: tuple[str, ...]
    """Names of the classes."""


def load(data: Data, seed: int, *, say: bool = True) -> Splits:
    """The images of data sets that fit in memory; the seed splits a folder that is not split, and chooses a fold.

    Args:
        say: what of a folder is left out.

    Raises:
        DataError: names the folder or file that is missing or cannot be read.
    """
    if data.path is not None:
        return folder(data.path, _size(data), seed=seed, say=say)
    match data.name:
        case "digits":
            return digits(seed % 10 if data.shuffled else None)
        case "mnist5k":
            return mnist5k()
        case "mnist1d":
            return mnist1d()
        case "digit-photos":
            return digit_photos()
    from deeplearn.data import tfds

    return tfds.images(data.name)


class Sources(NamedTuple):
    """Images as training takes them."""

    train: Source
    held: Source
    """The test part; while knobs are chosen, the validation part."""
    pixels: Pixels


def sources(data: Data, *, batch: int, seed: int, choose: bool) -> Sources:
    """Batches to learn from and to judge on.

    The validation part is learnt from, too, unless knobs are chosen on it or training images are rationed. ImageNet is
    decoded while it is needed; the mean and deviation of its pixels are those everybody uses.
    """
    if streamed(data):
        from deeplearn.data import tfds

        size = data.size or 224
        train = tfds.crops(data.name, "train", batch=batch, size=size, train=True, seed=seed)
        held = tfds.crops(data.name, "validation", batch=EVALUATED_TOGETHER, size=size, train=False)
        mean, std = ((0.5,) * 3,) * 2 if data.scale == "range" else IMAGENET
        pixels = Pixels(shape=(size, size, 3), mean=mean, std=std, classes=tfds.classes(data.name))
        return Sources(train, held, pixels)
    listed = None if data.path is None else files(data.path, _size(data), seed=seed)
    if listed is not None and listed.large:
        return _decoded_late(data, listed, batch=batch, seed=seed, choose=choose)
    splits = load(data, seed) if listed is None else decoded(listed)
    part = training_part(data, splits, seed, choose=choose)
    held = splits.validation if choose else splits.test
    return Sources(part.source(batch, seed), held.source(EVALUATED_TOGETHER), measured(part, data.scale))


def _size(data: Data) -> tuple[int, int]:
    """(H, W) of own images."""
    return (data.size or 32,) * 2


def _decoded_late(data: Data, listed: Folder, *, batch: int, seed: int, choose: bool) -> Sources:
    """The sources of a folder of many files; the mean and deviation are those of a thousand of its images."""
    part = listed.train if choose or data.limit is not None else listed.train.joined(listed.validation)
    order = np.random.default_rng(seed).permutation(len(part))
    if data.limit is not None:
        part = part.take(np.sort(order[: data.limit]))
    held = listed.validation if choose else listed.test
    pixels = measured(part.images(np.sort(order[order < len(part)][:MEASURED])))
    return Sources(part.source(batch, seed), held.source(EVALUATED_TOGETHER), pixels)


def compared(data: Data, seed: int) -> Splits:
    """The images that classical competitors learn from and are judged on: of less than 64 x 64 pixels."""
    splits = load(replace(data, size=min(_size(data)[0], COMPARED)) if data.path else data, seed, say=False)
    by = min(splits.test.image.shape[1:3]) // COMPARED
    if by < 2 or splits.test.image.dtype != np.uint8:
        return splits
    return Splits(*(replace(part, image=np.rint(255 * shrunk(part.image, by)).astype(np.uint8)) for part in splits))


def held_images(data: Data, seed: int, *, choose: bool, most: int) -> Images:
    """At most so many images of the part that is judged on, drawn by the seed."""
    if data.path is None:
        splits = load(data, seed)
        held = splits.validation if choose else splits.test
        return held.take(np.random.default_rng(seed).permutation(len(held.label))[:most])
    listed = files(data.path, _size(data), seed=seed, say=False)
    held = listed.validation if choose else listed.test
    return held.images(np.random.default_rng(seed).permutation(len(held))[:most])


def streamed(data: Data) -> bool:
    """Whether the images do not fit in memory."""
    return data.path is None and data.name == "imagenet2012"


def training_part(data: Data, splits: Splits, seed: int, *, choose: bool = False) -> Images:
    """What is learnt from; with a limit so many images of the training part, drawn by the seed, in their order."""
    if data.limit is not None:
        order = np.random.default_rng(seed).permutation(len(splits.train.label))
        return splits.train.take(np.sort(order[: data.limit]), f"{data.limit}")
    return splits.train if choose else joined(splits.train, splits.validation)


def measured(part: Images, scale: Literal["deviation", "range"] = "deviation") -> Pixels:
    """The shape, scale and classes of a training part."""
    shape, every = part.image.shape[1:], tuple(range(part.image.ndim - 1))
    pixels = np.asarray(part.image, np.float32) / (255 if part.image.dtype == np.uint8 else 1)
    if scale == "range":
        low, high = (0.0, 1.0) if part.image.dtype == np.uint8 else (float(pixels.min()), float(pixels.max()))
        mean, std = ((low + high) / 2,) * shape[-1], ((high - low) / 2,) * shape[-1]
    else:
        mean, std = (tuple(found.astype(float).tolist()) for found in (pixels.mean(every), pixels.std(every)))
    # A channel that never varies says nothing: divided by one it is zero.
    std = tuple(value or 1.0 for value in std)
    return Pixels(shape=shape, mean=mean, std=std, classes=tuple(part.classes))


def scaled(pixels: Pixels, image: Array) -> Float[Array, "B H W C"]:
    """Images as the model takes them."""
    mean, std = (jnp.array(value, jnp.float32).reshape(1, 1, 1, -1) for value in (pixels.mean, pixels.std))
    return (values(image) - mean) / std


def values(image: Array) -> Float[Array, "B H W C"]:
    """Pixels as 0..1; signals as they are."""
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image
