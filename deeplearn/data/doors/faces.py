"""Pictures of people, and who is tested: the ORL faces, your own folders, or LFW through TFDS.

A person is whole on one side: in training or in a test fold. A list of pairs is read in LFW's form (`pairs.txt`).
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from deeplearn.data import paged
from deeplearn.data.image_folder import labelled, listing
from deeplearn.data.images import Images, joined
from deeplearn.data.sets.faces import orl
from deeplearn.data.split import refuse_leak
from deeplearn.errors import ConfigError, DataError
from deeplearn.knobs import Count, Range


@dataclass(frozen=True, kw_only=True)
class Data:
    """Whose faces."""

    name: str = "orl"
    """orl, or lfw where TFDS has prepared it."""
    path: Path | None = None
    """Your own pictures, cropped to the face alike: DIR/PERSON/*, or DIR/train/PERSON/* and DIR/test/PERSON/*."""
    pairs: Path | None = None
    """Pairs to judge in LFW's form; the people in it are tested, and all others in DIR are learnt from."""
    size: tuple[Count, Count] = (112, 92)
    """Height and width that your own pictures and LFW's are stretched to."""
    folds: Annotated[int, Range(low=2)] = 4
    """Parts of the people that are tested in turn, each by a model of all the others."""


class Listed(NamedTuple):
    """Pairs that a file asks for."""

    first: np.ndarray
    """Row of the image [P]."""
    second: np.ndarray
    fold: np.ndarray
    """Number of LFW's fold [P]."""


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Labelled pictures and the fold in which each person is tested."""

    images: Images
    fold: np.ndarray
    """int [N], the same for all pictures of a person; -1 is never tested."""
    listed: Listed | None = None

    @property
    def folds(self) -> int:
        return int(self.fold.max()) + 1

    def held(self, fold: int) -> np.ndarray:
        """Rows that this fold tests."""
        return np.flatnonzero(self.fold == fold)

    def pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(first, second) rows of the pairs to judge in each fold: those listed, or every two pictures."""
        if self.listed is not None:
            first, second, fold = self.listed
            return [(first[fold == k], second[fold == k]) for k in range(fold.max() + 1)]
        held = [self.held(fold) for fold in range(self.folds)]
        both = [np.triu_indices(len(rows), 1) for rows in held]
        return [(rows[first], rows[second]) for rows, (first, second) in zip(held, both, strict=True)]

    def train(self, fold: int) -> Images:
        """What a model for this fold learns from, its people numbered from 0."""
        rows = np.flatnonzero(self.fold != fold)
        people, label = np.unique(self.images.label[rows], return_inverse=True)
        refuse_leak(people, np.unique(self.images.label[self.held(fold)]), "person")
        classes = tuple(self.images.classes[person] for person in people)
        return replace(self.images.take(rows, f"without-{fold}"), label=label.astype(np.int32), classes=classes)


def load(data: Data) -> Faces:
    """All pictures of people, audited.

    Raises:
        DataError: names the folder, file, line or person that is wrong, such as one with two names.
        ConfigError: too few people for so many folds.
    """
    if data.path is None:
        images = orl() if data.name == "orl" else _prepared(data)
        return _folded(images, data)
    root = data.path
    if (root / "train").is_dir() and (root / "test").is_dir():
        train, test = (labelled(root / name, data.size, 3) for name in ("train", "test"))
        refuse_leak(np.array(train.classes), np.array(test.classes), "person")
        both = joined(train, replace(test, label=test.label + len(train.classes)))
        both = replace(both, classes=train.classes + test.classes, name=root.resolve().name)
        _audit(both)
        return Faces(images=both, fold=np.repeat([-1, 0], [len(train.label), len(test.label)]))
    images = labelled(root, data.size)
    if data.pairs is None:
        return _folded(images, data)
    _audit(images)
    listed = _listed(data.pairs, root)
    tested = np.unique(images.label[np.concatenate([listed.first, listed.second])])
    return Faces(images=images, fold=np.where(np.isin(images.label, tested), 0, -1), listed=listed)


def _folded(images: Images, data: Data) -> Faces:
    people = len(images.classes)
    if data.folds < 2 or people < 2 * data.folds:
        raise ConfigError(
            f"{images.name} shows {people} people, too few for --data.folds {data.folds} of two people or more each; "
            "choose fewer, at least 2"
        )
    _audit(images)
    of_person = np.repeat(np.arange(data.folds), [len(part) for part in np.array_split(np.arange(people), data.folds)])
    return Faces(images=images, fold=of_person[images.label])


def _audit(images: Images) -> None:
    """Refuses a picture that stands under two names: then one person would be on both sides, or different from itself.

    Raises:
        DataError: names the two.
    """
    owner: dict[bytes, int] = {}
    for image, label in zip(images.image, images.label.tolist(), strict=True):
        other = owner.setdefault(hashlib.sha256(image.tobytes()).digest(), label)
        if other != label:
            names = images.classes[other], images.classes[label]
            raise DataError(
                f"{images.name} shows one picture as {names[0]} and as {names[1]}; give each person one folder"
            )


def _prepared(data: Data) -> Images:
    from PIL import Image

    from deeplearn.data import tfds

    records = tfds.read(data.name, "train")
    pictures, names = [], []
    for row in range(len(records)):
        record = records[row]
        picture = Image.fromarray(np.asarray(record["image"]))
        pictures.append(np.asarray(picture.resize((data.size[1], data.size[0]), Image.Resampling.BICUBIC)))
        name = record["label"]
        names.append(name.decode() if isinstance(name, bytes) else str(name))
    classes, label = np.unique(names, return_inverse=True)
    order = np.argsort(label, kind="stable")
    return Images(
        image=paged.stacked((pictures[row] for row in order), len(order)),
        label=label[order].astype(np.int32),
        classes=tuple(classes),
        name=data.name,
    )


def _listed(path: Path, root: Path) -> Listed:
    """`pairs.txt` of LFW: a line of numbers, then `NAME n m` or `NAME n OTHER m`, where n is the file NAME/NAME_000n.*.

    Raises:
        DataError: names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the pairs {path} ({error}); give a text file in the form of LFW's") from error
    classes, files = listing(root)
    row = {(classes[who], int(digits)): i for i, (file, who) in enumerate(files) if (digits := _number(file.stem))}
    head = lines[0].split() if lines else []
    if len(head) not in (1, 2) or not all(word.isdigit() for word in head):
        raise DataError(f"line 1 of {path} is not LFW's: it holds the number of folds and of pairs of a kind in each")
    found = []
    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        if not words:
            continue
        wanted = words if len(words) == 4 else [*words[:2], words[0], *words[2:]]
        try:
            (a, n), (b, m) = (wanted[0], int(wanted[1])), (wanted[2], int(wanted[3]))
            found.append((row[a, n], row[b, m]))
        except (ValueError, IndexError) as error:
            raise DataError(f"line {number} of {path} is neither `NAME n m` nor `NAME n OTHER m`: {line!r}") from error
        except KeyError as error:
            name, n = error.args[0]
            raise DataError(
                f"line {number} of {path} asks for picture {n} of {name}, which is not in {root}"
            ) from error
    if not found:
        raise DataError(f"{path} lists no pairs; add lines such as `NAME 1 2`")
    first, second = (np.array(column) for column in zip(*found, strict=True))
    each = 2 * int(head[1]) if len(head) == 2 else len(found)
    return Listed(first, second, np.arange(len(found)) // each)


def _number(stem: str) -> str | None:
    """The digits at the end of a file's name."""
    return stem[len(stem.rstrip("0123456789")) :] or None
