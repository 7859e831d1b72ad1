"""The user's own images: one folder for each class.

DIR/cat/1.png  DIR/cat/2.jpg  DIR/dog/1.png ...                    split here, stratified and seeded
DIR/train/cat/1.png ...  DIR/test/cat/9.png ...  [DIR/validation]   the user's split is kept
"""

import concurrent.futures
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn.data.images import Images, Splits, carved
from deeplearn.data.split import stratified
from deeplearn.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm"}
GREY = {"1", "L", "LA", "I;16"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What Pillow may take a file for, whatever its name: for others it starts programs, such as Ghostscript for EPS."""
PIXELS = 2**26
"""Most pixels of an image, 67 million: a file of some hundred KiB can hold gigabytes of one colour."""


def folder(path: str | Path, size: tuple[int, int], channels: int | None = None, seed: int = 0) -> Splits:
    """All images below `path` as uint8 [N, H, W, C]; any suffix, size and colour mode may be mixed.

    Without `train` and `test` folders a stratified fifth is the test. Without a validation folder a fifth of the
    training images is the validation. Identical images on both sides of a split are warned about.

    Args:
        size: (H, W) that every image is stretched to.
        channels: 1 grey or 3 colour; None takes grey if every file is grey.
        seed: draws the splits.

    Raises:
        DataError: names the folder or file that is missing, has fewer than two classes, too few images in a class, or
            cannot be read.
    """
    root = Path(path)
    given = {name: root / name for name in ("train", "validation", "test") if (root / name).is_dir()}
    if not {"train", "test"} <= given.keys():
        given = {"": root}
    classes = _classes(given.get("train", root))
    # A class gives at least one image to every split that is still to be made.
    least = {"": 3, "train": 1 if "validation" in given else 2, "validation": 1, "test": 1}
    listed = {name: _listed(place, classes, least[name]) for name, place in given.items()}
    if channels is None:
        channels = 1 if all(_is_grey(file) for files in listed.values() for file, _ in files) else 3
    parts = {name: _read(files, classes, size, channels, root.resolve().name) for name, files in listed.items()}
    splits = _split(parts, seed)
    _warn_of_copies(splits)
    return splits


def labelled(path: str | Path, size: tuple[int, int], channels: int | None = None, least: int = 1) -> Images:
    """All images of the class folders below `path`, at least so many in each, without a split.

    Raises:
        DataError: as for `folder`.
    """
    classes, files = listing(path, least)
    if channels is None:
        channels = 1 if all(_is_grey(file) for file, _ in files) else 3
    return _read(files, classes, size, channels, Path(path).resolve().name)


def listing(path: str | Path, least: int = 1) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """(names of the class folders, (file, label) of every image): the rows of `labelled`."""
    classes = _classes(Path(path))
    return classes, _listed(Path(path), classes, least)


def pictures_in(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that are given, and for a folder all pictures below it.

    Raises:
        DataError: a folder without pictures.
    """
    found = []
    for name in map(Path, inputs):
        own = sorted(file for file in name.rglob("*") if file.suffix.lower() in SUFFIXES) if name.is_dir() else [name]
        if not own:
            raise DataError(f"the folder {name} holds no image ({' '.join(sorted(SUFFIXES))}); give another")
        found += own
    return found


def read_image(path: str | Path, size: tuple[int, int], channels: int) -> np.ndarray:
    """One image file as uint8 [H, W, C]: turned upright, laid on white where transparent, stretched to `size` (H, W).

    Raises:
        DataError: the file is missing, not an image, or damaged.
    """
    from PIL import Image, ImageOps

    try:
        with _opened(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode == "F":
                raise ValueError("its pixels are 32-bit floats; save it with 8 or 16 bits")
            if image.mode.startswith("I"):  # 16 bits, which convert() would clip at 255 instead of scaling
                image = Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
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


def _classes(root: Path) -> tuple[str, ...]:
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give one that holds a folder of images for each class")
    names = sorted(place.name for place in root.iterdir() if place.is_dir() and not place.name.startswith("."))
    if len(names) < 2:
        found = f"one class only, {names[0]!r}" if names else "no class folders"
        raise DataError(f"{root} holds {found}; put the images of each of two or more classes into {root}/CLASS/")
    return tuple(names)


def _listed(root: Path, classes: tuple[str, ...], least: int) -> list[tuple[Path, int]]:
    """(file, label) of every image, in the order of class and name."""
    if unknown := set(_classes(root)) - set(classes):
        raise DataError(f"{root} has the class {min(unknown)!r}, which has no training images; add some or remove it")
    files = []
    for label, name in enumerate(classes):
        found = sorted(file for file in (root / name).rglob("*") if file.suffix.lower() in SUFFIXES)
        if len(found) < least:
            known = " ".join(sorted(SUFFIXES))
            text = f"the class folder {root / name} holds {len(found)} image(s) ({known}) and needs {least}"
            raise DataError(f"{text}; add some or remove the class")
        files += [(file, label) for file in found]
    return files


def _read(
    files: list[tuple[Path, int]], classes: tuple[str, ...], size: tuple[int, int], channels: int, name: str
) -> Images:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # decoding releases the interpreter
        images = list(pool.map(lambda file: read_image(file, size, channels), [file for file, _ in files]))
    label = np.array([label for _, label in files], np.int32)
    return Images(image=np.stack(images), label=label, classes=classes, name=name)


def _is_grey(path: Path) -> bool:
    try:
        with _opened(path) as image:
            return image.mode in GREY
    except Exception as error:
        raise DataError(f"cannot read the image {path} ({error}); repair or remove it") from error


def _split(parts: dict[str, Images], seed: int) -> Splits:
    if "" in parts:
        return carved(parts[""], *stratified(parts[""].label, 0.2, seed), seed)
    named = {name: part.take(np.arange(len(part.label)), name) for name, part in parts.items()}
    if "validation" in named:
        return Splits(**named)
    kept, held = stratified(parts["train"].label, 0.2, seed)
    return Splits(parts["train"].take(kept, "train"), parts["train"].take(held, "validation"), named["test"])


def _warn_of_copies(splits: Splits) -> None:
    def content(images: Images) -> set[bytes]:
        return {hashlib.sha256(image.tobytes()).digest() for image in images.image}

    known = content(splits.train)
    for held in (splits.validation, splits.test):
        if copies := len(known & content(held)):
            text = f"{copies} image(s) of {held.name} are in the training data too; results on it will be too good"
            warnings.warn(text, stacklevel=3)
