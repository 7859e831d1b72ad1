"""Labelled images in memory, with splits that never change.

    splits = sets.digits.digits()                      # or any other loader of images
    source = splits.train.source(batch=64, seed=0)     # -> deeplearn.data.source.Arrays

Choose knobs on `validation`; `joined(splits.train, splits.validation)` is what a final model may be trained on.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from deeplearn.data import paged
from deeplearn.data.source import Arrays
from deeplearn.data.split import refuse_leak, stratified


@dataclass(frozen=True, kw_only=True)
class Images:
    """One split of a labelled image set."""

    image: np.ndarray
    """uint8 [N, H, W, C] in 0..255, or float32 [N, H, W, C] of mean 0 and deviation 1 where data are not pixels."""
    label: np.ndarray
    """int32 [N], positions in `classes`."""
    classes: tuple[str, ...]
    """Names of the classes."""
    name: str
    """Name of the data set and split, such as `digits/test`."""
    version: str = "1"
    """Version of the data set."""

    def take(self, rows: np.ndarray, split: str | None = None) -> "Images":
        """The images of these row numbers [M]; `split` names the part."""
        name = f"{self.name}/{split}" if split else self.name
        return replace(self, image=paged.taken(self.image, rows), label=self.label[rows], name=name)

    def source(self, batch: int, seed: int = 0) -> Arrays:
        """Batches with the columns `image` and `label`."""
        columns = {"image": self.image, "label": self.label}
        version = f"{self.version} of classes {', '.join(self.classes)}"  # a renamed class is other data
        return Arrays(columns=columns, batch=batch, seed=seed, name=self.name, version=version)


class Splits(NamedTuple):
    """The three parts of an image set."""

    train: Images
    validation: Images
    test: Images


def joined(first: Images, second: Images) -> Images:
    """Both splits of one set as one."""
    image, label = paged.joined(first.image, second.image), np.concatenate([first.label, second.label])
    return replace(first, image=image, label=label, name=f"{first.name}+{second.name.rpartition('/')[2]}")


def carved(images: Images, rows: np.ndarray, test: np.ndarray, seed: int, share: float = 0.2) -> Splits:
    """Test rows as given, and a stratified `share` of the other rows as validation.

    The default fifth holds enough examples (800 of 4000) to tell two models apart that differ by one percent.
    """
    kept, held = stratified(images.label[rows], share, seed)
    refuse_leak(rows, test, "example")
    return Splits(images.take(rows[kept], "train"), images.take(rows[held], "validation"), images.take(test, "test"))


def shrunk(pictures: np.ndarray, by: int) -> np.ndarray:
    """uint8 [N, H, W, C] as float32 [N, H / by, W / by, C] in 0..1: means of squares; what is left over is cut off."""
    height, width = (side // by for side in pictures.shape[1:3])
    squares = pictures[:, : height * by, : width * by].reshape(len(pictures), height, by, width, by, pictures.shape[3])
    return squares.mean((2, 4), dtype=np.float32) / np.float32(255)
