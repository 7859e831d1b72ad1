"""The user's own images: one folder for each class.

DIR/cat/1.png  DIR/cat/2.jpg  DIR/dog/1.png ...                  split here, stratified and seeded
DIR/train/cat/1.png ...  DIR/test/cat/9.png ...  [DIR/val]       the user's split is kept, whatever it is called

A few thousand images are decoded at once and lie in memory; more are decoded when training asks for them.
"""

import concurrent.futures
import functools
import hashlib
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplearn.data import layout, paged
from deeplearn.data.images import Images, Splits
from deeplearn.data.inputs import below, expanded
from deeplearn.data.source import Records
from deeplearn.data.split import stratified
from deeplearn.errors import DataError, note

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm"}
GREY = {"1", "L", "LA", "I;16"}
DEPTHS = 8, 12, 16
"""Bits of grey that files hold in more than they need, such as 12 of an X-ray in 16."""
EAGER = 2000
"""Images that are decoded before training begins: a few seconds. More are decoded when they are needed."""
KEPT = 2**30
"""Bytes of decoded images that are kept for the next epoch: 1 GiB, seven thousand of 224 x 224 in colour."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What Pillow may take a file for, whatever its name: for others it starts programs, such as Ghostscript for EPS."""
PIXELS = 2**26
"""Most pixels of an image, 67 million: a file of some hundred KiB can hold gigabytes of one colour."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """Labelled image files that are decoded one by one: the records of a source."""

    paths: tuple[Path, ...]
    label: np.ndarray
    """int32 [N], positions in `classes`."""
    classes: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    name: str

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {"image": self._image(row), "label": self.label[row]}

    def take(self, rows: np.ndarray) -> "Files":
        """The files of these row numbers [M]."""
        return replace(self, paths=tuple(self.paths[row] for row in rows), label=self.label[rows])

    def joined(self, other: "Files") -> "Files":
        """These files and others of the same classes."""
        name = f"{self.name}+{other.name.rpartition('/')[2]}"
        return replace(self, paths=self.paths + other.paths, label=np.append(self.label, other.label), name=name)

    def images(self, rows: np.ndarray | None = None) -> Images:
        """All of them, or those of these row numbers, decoded: uint8 [N, H, W, C]."""
        rows = np.arange(len(self)) if rows is None else rows
        with concurrent.futures.ThreadPoolExecutor(8) as pool:  # decoding releases the interpreter
            image = paged.stacked(pool.map(self._image, rows.tolist()), len(rows))
        return Images(image=image, label=self.label[rows], classes=self.classes, name=self.name)

    def source(self, batch: int, seed: int = 0) -> Records:
        """Batches with the columns `image` and `label`; the names and sizes of all files are in the fingerprint."""
        listed = [f"{path} {path.stat().st_size} {label}" for path, label in zip(self.paths, self.label, strict=True)]
        version = hashlib.sha256("\n".join([*self.classes, *listed]).encode()).hexdigest()
        return Records(records=self, batch=batch, seed=seed, name=self.name, version=version)

    def _image(self, row: int) -> np.ndarray:
        images, known = self._kept
        if not len(known):
            return read_image(self.paths[row], self.size, self.channels)
        if not known[row]:
            images[row], known[row] = read_image(self.paths[row], self.size, self.channels), True
        return images[row]

    @functools.cached_property
    def _kept(self) -> tuple[np.ndarray, np.ndarray]:
        """(images [N, H, W, C], which are known [N]), of which the memory is taken as they come; empty beyond KEPT."""
        shape = (len(self), *self.size, self.channels)
        size = len(self) if np.prod(shape, dtype=np.int64) <= KEPT else 0
        return np.zeros((size, *shape[1:]), np.uint8), np.zeros(size, bool)


class Folder(NamedTuple):
    """The files of a folder in three parts."""

    train: Files
    validation: Files
    test: Files

    @property
    def large(self) -> bool:
        """Whether it takes long to decode them all."""
        return sum(map(len, self)) > EAGER


def folder(
    path: str | Path, size: tuple[int, int], channels: int | None = None, seed: int = 0, *, say: bool = True
) -> Splits:
    """All images below `path` as uint8 [N, H, W, C]; any suffix, size and colour mode may be mixed.

    Raises:
        DataError: as `files`, or an image cannot be read.
    """
    return decoded(files(path, size, channels, seed, say=say))


def decoded(parts: Folder) -> Splits:
    """The images of a folder in memory; copies on both sides of a split are warned about.

    Raises:
        DataError: an image cannot be read.
    """
    splits = Splits(*(part.images() for part in parts))
    known = _contents(splits.train)
    for held in (splits.validation, splits.test):
        _warn_of_copies(held.name, len(known & _contents(held)))
    return splits


def files(
    path: str | Path, size: tuple[int, int], channels: int | None = None, seed: int = 0, *, say: bool = True
) -> Folder:
    """The image files below `path` in three parts.

    Without folders for them, a stratified fifth is the test, and a fifth of the other images the validation. What is
    left out is said on standard error; files that are copies of training files are warned about.

    Args:
        size: (H, W) that every image is stretched to.
        channels: 1 grey or 3 colour; None takes grey if every file is grey.
        seed: draws the splits.
        say: what is left out.

    Raises:
        DataError: names the folder or file that is missing, has fewer than two classes, too few images in a class, or
            is no image.
    """
    root = Path(path)
    given = layout.parts(root, say)
    classes = layout.classes(given.get("train", root))
    # A class gives at least one image to every split that is still to be made.
    least = {"": 3, "train": 4 - len(given), "validation": 1, "test": 1}
    listed = {name: _listed(place, classes, least[name], say) for name, place in given.items()}
    if channels is None:
        every = [file for own in listed.values() for file, _ in own]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            channels = 1 if all(pool.map(_is_grey, every)) else 3
    parts = {name: _files(own, classes, size, channels, root.resolve().name) for name, own in listed.items()}
    found = _split(parts, seed)
    if found.large:
        for held in (found.validation, found.test):
            _warn_of_copies(held.name, _copied(found.train, held))
    return found


def labelled(path: str | Path, size: tuple[int, int], channels: int | None = None, least: int = 1) -> Images:
    """All images of the class folders below `path`, at least so many in each, without a split.

    Raises:
        DataError: as for `folder`.
    """
    classes, listed = listing(path, least)
    if channels is None:
        channels = 1 if all(_is_grey(file) for file, _ in listed) else 3
    return _files(listed, classes, size, channels, Path(path).resolve().name).images()


def listing(path: str | Path, least: int = 1) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """(names of the class folders, (file, label) of every image): the rows of `labelled`."""
    classes = layout.classes(Path(path))
    return classes, _listed(Path(path), classes, least)


def pictures_in(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that are given, and for a folder or a pattern all pictures that it stands for.

    Raises:
        DataError: a folder without pictures.
    """
    return [Path(file) for file in expanded(map(str, inputs), SUFFIXES)]


def read_image(path: str | Path, size: tuple[int, int], channels: int) -> np.ndarray:
    """One image file as uint8 [H, W, C]: turned upright, laid on white where transparent, stretched to `size` (H, W).

    Greys of more than eight bits are scaled down from the depth that holds the image's largest value.

    Raises:
        DataError: the file is missing, not an image, or damaged.
    """
    from PIL import Image, ImageOps

    try:
        with _opened(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode == "F":
                raise ValueError("its pixels are 32-bit floats; save it with 8 or 16 bits")
            if image.mode.startswith("I"):  # which convert() would clip at 255 instead of scaling
                image = Image.fromarray(_eight_bits(np.asarray(image)))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("L" if channels == 1 else "RGB")
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.asarray(image).reshape(*size, channels)
    except Exception as error:  # PIL raises many types on damaged files
        raise DataError(f"cannot read the image {path} ({error}); repair or remove it") from error


def _opened(path: str | Path) -> Any:
    """The image, whose pixels are not read yet. Raises various types, ValueError where it is too large."""
    from PIL import Image

    if not Path(path).is_file():
        raise ValueError("there is no such file")
    image = Image.open(path, formats=FORMATS)
    if image.width * image.height > PIXELS:
        image.close()
        raise ValueError(f"{image.width} x {image.height} pixels are more than {PIXELS:,}; make it smaller")
    return image


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Whole numbers [H, W] as uint8: the file says how many bits there are room for, and not how many are used."""
    low, high = int(grey.min()), int(grey.max())
    depth = next((bits for bits in DEPTHS if high < 2**bits), None)
    if low < 0 or depth is None:
        raise ValueError(f"its values reach from {low} to {high}; save it with 8 or 16 bits, from 0")
    return (grey >> (depth - 8)).astype(np.uint8)


def _listed(root: Path, classes: tuple[str, ...], least: int, say: bool = True) -> list[tuple[Path, int]]:
    """(file, label) of every image, in the order of class and name."""
    if unknown := set(layout.classes(root)) - set(classes):
        raise DataError(f"{root} has the class {min(unknown)!r}, which has no training images; add some or remove it")
    label = {name: place for place, name in enumerate(classes)}
    inside = [(file, file.relative_to(root).parts[0]) for file in below(root, SUFFIXES, say=say)]
    found = [(file, label[name]) for file, name in inside if name in label]
    if say and (outside := len(inside) - len(found)):
        note(f"{root}: left out {outside} image(s) outside of the class folders")
    count = Counter(place for _, place in found)
    for name, place in label.items():
        if count[place] < least:
            known = " ".join(sorted(SUFFIXES))
            text = f"the class folder {root / name} holds {count[place]} image(s) ({known}) and needs {least}"
            raise DataError(f"{text}; add some or remove the class")
    return sorted(found, key=lambda own: own[1])


def _files(
    listed: list[tuple[Path, int]], classes: tuple[str, ...], size: tuple[int, int], channels: int, name: str
) -> Files:
    paths, label = zip(*listed, strict=True)
    return Files(paths=paths, label=np.array(label, np.int32), classes=classes, size=size, channels=channels, name=name)


def _is_grey(path: Path) -> bool:
    try:
        with _opened(path) as image:
            return image.mode in GREY
    except Exception as error:
        raise DataError(f"cannot read the image {path} ({error}); repair or remove it") from error


def _split(parts: dict[str, Files], seed: int) -> Folder:
    """The parts that are given, and the others as stratified fifths of what is learnt from."""
    found = dict(parts)
    rest = found.pop("train" if "train" in found else "")
    for name in ("test", "validation"):
        if name not in found:
            kept, held = stratified(rest.label, 0.2, seed)
            found[name], rest = rest.take(held), rest.take(kept)
    named = {name: replace(part, name=f"{part.name}/{name}") for name, part in (found | {"train": rest}).items()}
    return Folder(**named)


def _contents(images: Images) -> set[bytes]:
    return {hashlib.sha256(image.tobytes()).digest() for image in images.image}


def _copied(train: Files, held: Files) -> int:
    """How many held-out files are in the training data, too; only files of one size are looked into."""
    sizes = {path.stat().st_size for path in train.paths} & {path.stat().st_size for path in held.paths}

    def contents(part: Files) -> set[bytes]:
        alike = [path for path in part.paths if path.stat().st_size in sizes]
        return {hashlib.sha256(path.read_bytes()).digest() for path in alike}

    return len(contents(train) & contents(held))


def _warn_of_copies(name: str, copies: int) -> None:
    if copies:
        text = f"{copies} image(s) of {name} are in the training data too; results on it will be too good"
        warnings.warn(text, stacklevel=4)
