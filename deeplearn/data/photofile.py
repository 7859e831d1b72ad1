"""A photograph's file with everything that should survive an edit: 16 bits, transparency, grey, the colour profile."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from deeplearn.data import png16
from deeplearn.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photograph, upright."""

    colour: Float[np.ndarray, "H W 3"]
    """RGB in 0..1; three equal channels where the file is grey."""
    alpha: Float[np.ndarray, "H W"] | None = None
    """How opaque each pixel is, in 0..1, where the file says so."""
    grey: bool = False
    """The file has no colours."""
    bits: int = 8
    """Of each channel in the file, 8 or 16."""
    profile: bytes | None = None
    """What the colours mean (ICC), where the file says so."""


def read(path: str | Path) -> Photo:
    """A file of 8 or 16 bits a channel, turned as its EXIF says.

    Raises:
        DataError: the file is missing, damaged, or of another kind; names it.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(26)
        channels, profile = png16.read(Path(path)) if png16.deep(head) else _pillow(path)
    except Exception as error:  # PIL raises many types on damaged files
        raise DataError(f"cannot read the photograph {path} ({error}); repair or remove it") from error
    bits = 8 * channels.dtype.itemsize
    values = channels.astype(np.float32) / (2**bits - 1)
    grey, opaque = values.shape[2] < 3, values.shape[2] % 2 == 1
    colour = np.repeat(values[..., :1], 3, axis=2) if grey else values[..., :3]
    alpha = None if opaque else values[..., -1]
    return Photo(colour=colour, alpha=alpha, grey=grey, bits=bits, profile=profile)


def _pillow(path: str | Path) -> tuple[np.ndarray, bytes | None]:
    """uint8 or uint16 [H, W, C] of grey, grey and alpha, RGB or RGBA, and the colour profile."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        profile = image.info.get("icc_profile")
        image = ImageOps.exif_transpose(image)
        if image.mode == "F":
            raise ValueError("its pixels are 32-bit floats; save it with 8 or 16 bits")
        if image.mode.startswith("I"):
            return np.asarray(image).clip(0, 65535).astype(np.uint16)[..., None], profile
        if image.mode in ("1", "CMYK", "YCbCr", "LAB", "HSV") or "P" in image.mode:
            target = "RGBA" if image.has_transparency_data else "L" if image.mode == "1" else "RGB"
            image, profile = image.convert(target), None
        pixels = np.asarray(image)
        return pixels.reshape(*pixels.shape[:2], -1), profile


def write(path: Path, photo: Photo) -> None:
    """As PNG, which loses nothing.

    Raises:
        DataError: the file cannot be written.
    """
    from PIL import Image

    colour = photo.colour.mean(2, keepdims=True) if photo.grey else photo.colour
    alpha = [] if photo.alpha is None else [photo.alpha[..., None]]
    values = np.concatenate([colour, *alpha], axis=2).clip(0, 1) * (2**photo.bits - 1)
    channels = np.round(values).astype(np.uint8 if photo.bits == 8 else np.uint16)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if photo.bits == 16:
            png16.write(path, channels, photo.profile)
        else:
            image = Image.fromarray(channels[..., 0] if channels.shape[2] == 1 else channels)
            image.save(path, icc_profile=photo.profile)
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror or error}); choose a folder you may write") from error


def holes(path: str | Path, photo: Photo) -> Float[np.ndarray, "H W 1"]:
    """1 where PHOTO.mask.png beside the photograph is white; without one, where the photograph is transparent.

    Raises:
        DataError: neither is there, or the mask has another size.
    """
    beside = Path(path).with_suffix(".mask.png")
    if beside.is_file():
        mask = read(beside).colour[..., :1]
        if mask.shape[:2] == photo.colour.shape[:2]:
            return (mask > 0.5).astype(np.float32)
        raise DataError(f"{beside} and {path} differ in size; draw the mask on the photograph itself")
    if photo.alpha is None or photo.alpha.min() > 0:
        raise DataError(f"where are the holes of {path}? Make them transparent, or paint them white in {beside}")
    return (photo.alpha[..., None] == 0).astype(np.float32)
