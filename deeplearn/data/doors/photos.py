"""Photographs to learn to restore: random squares of some, never-seen corners of the same, and others to test on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from deeplearn.data import photofile
from deeplearn.data.image_folder import SUFFIXES
from deeplearn.data.sets.photographs import CLASSIC, TEST, TRAIN, photographs
from deeplearn.data.source import Records
from deeplearn.data.split import shuffled
from deeplearn.errors import DataError
from deeplearn.knobs import Count

CORNER = 128
"""Side of the lower right corner of every photograph that is learnt from; it is kept for validation."""
SMALLEST = 32
"""Side of a photograph to test on at least."""
VALIDATED = 50
"""So many photographs at most give theirs."""
DRAWS = 2**20
"""Random squares before they repeat."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which photographs."""

    path: Path | None = None
    """Your own instead of those that ship in packages: a folder, of which a tenth is the test (or with train/ and test/
    folders in it), or a text file with the path of one photograph on every line."""
    tfds: str | None = None
    """A prepared TFDS set with `train` and `validation` splits instead, such as div2k."""
    crop: Count = 64
    """Side in pixels of the squares that are learnt from."""
    square: Count = 256
    """Side of the square of each test photograph that is tested on, at its upper left; twice that of classic ones."""


class Photos(NamedTuple):
    """What to learn from and what to judge on."""

    train: Records
    """Squares, column `image` uint8 [B, crop, crop, 3]."""
    validation: UInt8[np.ndarray, "N S S 3"]
    test: Mapping[str, UInt8[np.ndarray, "N S S 3"]]
    """By set."""
    names: Mapping[str, tuple[str, ...]]
    """Of each set's photographs."""


@dataclass(frozen=True)
class Squares(Sequence):
    """Random squares of photographs, turned, mirrored and sometimes with exchanged colours; the number decides."""

    photos: Sequence[UInt8[np.ndarray, "H W 3"]]
    chances: Sequence[float]
    """How likely each photograph is; they sum to 1."""
    side: int

    def __len__(self) -> int:
        return DRAWS

    def __getitem__(self, number: int) -> dict[str, UInt8[np.ndarray, "S S 3"]]:
        rng = np.random.default_rng(number)
        photo = self.photos[rng.choice(len(self.chances), p=self.chances)]
        top, left = _place(photo.shape, self.side, rng)
        square = np.rot90(photo[top : top + self.side, left : left + self.side], rng.integers(4))
        square = square[:, ::-1] if rng.random() < 0.5 else square
        square = square[..., rng.permutation(3)] if rng.random() < 0.3 else square
        return {"image": np.ascontiguousarray(square)}


def _place(shape: Sequence[int], side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Upper left corner of a square that does not touch the corner kept for validation."""
    while True:
        top, left = rng.integers(0, shape[0] - side + 1), rng.integers(0, shape[1] - side + 1)
        if top + side <= shape[0] - CORNER or left + side <= shape[1] - CORNER:
            return top, left


@dataclass(frozen=True)
class Public(Sequence):
    """The photographs of a TFDS set, decoded when they are asked for."""

    records: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "H W 3"]:
        record = self.records[row]
        return record["hr"] if "hr" in record else record["image"]  # div2k has two resolutions


def load(data: Data, batch: int, seed: int) -> Photos:
    """Squares to learn from, and the photographs that are held out.

    Raises:
        DataError: names the file or folder that is missing, cannot be read, or is too small.
    """
    chances: Sequence[float] = ()
    if data.path is not None:
        kept, held = _listed(data.path, seed)
        train, tests = [*_read(kept, CORNER + data.crop).values()], {"test": _read(held, SMALLEST)}
        title = str(data.path)
    elif data.tfds is not None:
        from deeplearn.data.tfds import read

        train, held = Public(read(data.tfds, "train")), Public(read(data.tfds, "validation"))
        tests, title = {"test": {str(row): held[row] for row in range(len(held))}}, data.tfds
    else:
        train, title = [*photographs(TRAIN).values()], "photographs"
        tests = {"test": photographs(TEST), "classic": photographs(CLASSIC)}
        chances = np.array([*TRAIN.values()]) / sum(TRAIN.values())
    squares = Squares(train, chances if len(chances) else np.full(len(train), 1 / len(train)), data.crop)
    corners = [train[row][-CORNER:, -CORNER:] for row in range(min(len(train), VALIDATED))]
    sides = {"test": data.square, "classic": 2 * data.square}
    return Photos(
        train=Records(records=squares, batch=batch, seed=seed, threads=2, name=title),
        validation=np.stack(corners),
        test={name: _squares(list(photos.values()), sides[name]) for name, photos in tests.items()},
        names={name: tuple(Path(photo).stem for photo in photos) for name, photos in tests.items()},
    )


def _squares(photos: Sequence[UInt8[np.ndarray, "H W 3"]], side: int) -> UInt8[np.ndarray, "N S S 3"]:
    """The upper left square of each; smaller where a photograph is."""
    side = min(side, *(min(photo.shape[:2]) // 8 * 8 for photo in photos))
    return np.stack([photo[:side, :side] for photo in photos])


def _read(paths: Sequence[Path], least: int) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    photos = {str(path): np.round(photofile.read(path).colour * 255).astype(np.uint8) for path in paths}
    for name, photo in photos.items():
        if min(photo.shape[:2]) < least:
            text = f"{name} has {photo.shape[1]} x {photo.shape[0]} pixels and {least} a side are needed"
            raise DataError(f"{text}; remove it, or lower --data.crop")
    return photos


def _listed(path: Path, seed: int) -> tuple[list[Path], list[Path]]:
    """(to learn from, to test on) of the user's files."""
    if (path / "train").is_dir() and (path / "test").is_dir():
        return _found(path / "train", 1), _found(path / "test", 1)
    if path.is_dir():
        files = _found(path, 2)
    else:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot read the list of photographs {path} ({error}); give a folder or a text file"
            ) from error
        files = [path.parent / line.strip() for line in lines if line.strip()]
        if len(files) < 2:
            raise DataError(f"{path} lists {len(files)} photograph(s) and 2 are needed; name one on every line")
    kept, held = shuffled(len(files), max(0.1, 1 / len(files)), seed)
    return [files[row] for row in kept], [files[row] for row in held]


def _found(folder: Path, least: int) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if len(files) < least:
        known = " ".join(sorted(SUFFIXES))
        raise DataError(f"{folder} holds {len(files)} photograph(s) ({known}) and {least} are needed; add some")
    return files
