"""Pictures with objects to find: digits on photographs, trees from the air, your own, or a public set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from deeplearn.data import cocofile, pictures
from deeplearn.data.pictures import Cuts, Picture, Pictures
from deeplearn.data.sets import digit_scenes, trees
from deeplearn.data.source import Arrays, Records
from deeplearn.errors import DataError
from deeplearn.knobs import Count, Range, Share

DRAWS = 2**20
"""Training squares before they repeat."""
CROWDED = 100
"""Objects in a picture that are learnt from and judged at most, as COCO judges a hundred detections."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which pictures."""

    name: Literal["digits", "trees"] = "digits"
    """Digits on photographs (generated), or trees from the air: of other sites than those that are tested on."""
    path: Path | None = None
    """Your own boxes instead: a COCO JSON file, of whose images a fifth is the test and a tenth the validation; or a
    folder with train.json, test.json and, if you have it, validation.json."""
    tfds: str | None = None
    """A prepared TFDS set of pictures with `objects` instead, such as coco/2017 or voc."""
    side: Count = 128
    """Side in pixels of the squares that are learnt from; digits are always 128."""
    whole: Count = 512
    """Side of the square that pictures are judged in, shrunk where they are larger; digits are always 128."""
    zoom: Annotated[float, Range(low=1, high=8)] = 2.0
    """By up to how much a picture is scaled at random, either way, before a square is cut out of it. Not of digits."""
    aimed: Share = 0.0
    """Share of the squares that are laid over one of the objects; the rest lie anywhere. Not of digits."""
    vary: Share = 0.0
    """How strongly contrast, colours and sharpness of the squares are changed at random, so that another place, season
    or camera looks alike; brightness always is. Not of digits."""
    scenes: Count = 1000
    """Generated scenes to test on; a half of that to validate on."""


@dataclass(frozen=True, kw_only=True)
class Classes:
    """What the objects are; kept with the run."""

    classes: tuple[str, ...]
    """Names; a label is a place among them."""
    ids: tuple[int, ...]
    """The categories' own numbers in a COCO file."""


class Scenes(NamedTuple):
    """Columns `image` uint8 [B, S, S, 3], `box` [B, K, 4], `label` [B, K] (-1 for none), `crowd`, `area` [B, K]."""

    train: Records
    validation: Arrays
    test: Arrays
    """These two with `zoom` [B], by which the picture was shrunk."""
    classes: Classes


def load(data: Data, batch: int, seed: int) -> Scenes:
    """What to learn from and to judge on.

    Raises:
        DataError: names what is missing or wrong.
    """
    if data.path is None and data.tfds is None and data.name == "digits":
        names = tuple("0123456789")
        endless = Generated(digit_scenes.digit_scenes("train", DRAWS))
        train = Records(records=endless, batch=batch, seed=seed, threads=2, name="digits on photographs")
        sizes = {"validation": data.scenes // 2 or 1, "test": data.scenes}
        held = [
            _held(digit_scenes.digit_scenes(part, size), digit_scenes.SIDE, digit_scenes.MOST, part)
            for part, size in sizes.items()
        ]
        return Scenes(train, *held, Classes(classes=names, ids=tuple(range(10))))
    parts, classes, upright = _given(data, seed)
    cuts = Cuts(parts[0], data.side, CROWDED, DRAWS, data.zoom, upright, data.aimed, data.vary)
    train = Records(records=cuts, batch=batch, seed=seed, threads=4, name=str(data.path or data.tfds or data.name))
    held = [
        _held(part, data.whole, CROWDED, name) for part, name in zip(parts[1:], ("validation", "test"), strict=True)
    ]
    return Scenes(train, *held, classes)


@dataclass(frozen=True)
class Generated(Sequence):
    """The columns of generated scenes."""

    scenes: digit_scenes.DigitScenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        scene = self.scenes[number]
        return {"image": scene.image} | pictures.table(scene, digit_scenes.SIDE, digit_scenes.MOST)


def _held(part: Pictures, side: int, most: int, name: str) -> Arrays:
    rows = [pictures.whole(part[row], side, most) for row in range(len(part))]
    return Arrays(columns={key: np.stack([row[key] for row in rows]) for key in rows[0]}, batch=8, name=name)


def _given(data: Data, seed: int) -> tuple[list[Pictures], Classes, bool]:
    """(train, validation, test), their classes, and whether pictures have an up and a down."""
    if data.path is not None:
        return *_own(data.path, seed), True
    if data.tfds is not None:
        return *_public(data.tfds), True
    train, large, test = (trees.trees(names) for names in (trees.TRAIN, trees.VALIDATION, trees.TEST))
    # As it is it would be shrunk to a third, and its trees be others than those that are learnt from and tested on.
    validation = [part for picture in large for part in pictures.parts(picture, data.whole)]
    return [train, validation, test], Classes(classes=("tree",), ids=(1,)), False


def _own(path: Path, seed: int) -> tuple[list[Pictures], Classes]:
    if path.is_dir():
        names = [name for name in ("train", "validation", "test") if (path / f"{name}.json").is_file()]
        if not {"train", "test"} <= set(names):
            raise DataError(f"{path} needs the files train.json and test.json; or give one COCO JSON file")
        files = {name: cocofile.read(path / f"{name}.json") for name in names}
        for name, file in files.items():
            if file.categories != files["train"].categories:
                raise DataError(f"{path / name}.json and train.json differ in their categories; make them the same")
    else:
        everything = cocofile.read(path)
        order = np.random.default_rng(seed).permutation(len(everything))
        if len(order) < 3:
            raise DataError(f"{path} lists {len(order)} image(s); 3 or more are needed to learn, to choose and to test")
        test, valid = max(1, round(0.2 * len(order))), max(1, round(0.1 * len(order)))
        cut = np.split(order, [test, test + valid])
        files = {n: everything.take(sorted(rows)) for n, rows in zip(("test", "validation", "train"), cut, strict=True)}
    if "validation" not in files:
        rows = np.random.default_rng(seed).permutation(len(files["train"]))
        held = max(1, round(0.1 * len(rows)))
        files["validation"], files["train"] = (files["train"].take(sorted(part)) for part in (rows[:held], rows[held:]))
    categories = files["train"].categories
    classes = Classes(classes=tuple(c.name for c in categories), ids=tuple(c.id for c in categories))
    return [files[name] for name in ("train", "validation", "test")], classes


@dataclass(frozen=True)
class Public(Sequence):
    """Pictures of a TFDS set, decoded when they are asked for; what is marked as difficult counts as a crowd."""

    records: Sequence[Any]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> Picture:
        record = self.records[row]
        image, objects = record["image"], record["objects"]
        height, width = image.shape[:2]
        sides = np.asarray(objects["bbox"], np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]  # (top, left, bottom, right)
        box = sides * np.array([width, height, width, height], np.float32)
        crowd = objects.get("is_crowd", objects.get("is_difficult"))
        area = (box[:, 2:] - box[:, :2]).prod(1)
        return Picture(
            np.asarray(image),
            box,
            np.asarray(objects["label"], np.int32),
            np.zeros(len(box), bool) if crowd is None else np.asarray(crowd, bool),
            np.asarray(objects.get("area", area), np.float32),
        )


def _public(name: str) -> tuple[list[Pictures], Classes]:
    """A twentieth of `train` is the validation; `validation` is the test where `test` has no boxes, as in coco."""
    from deeplearn.data import tfds

    test = "validation" if name.startswith("coco") else "test"
    splits = ("train[5%:]", "train[:5%]", test)
    names = tfds.classes(name, ("objects", "label"))
    return [Public(tfds.read(name, split)) for split in splits], Classes(classes=names, ids=tuple(range(len(names))))
