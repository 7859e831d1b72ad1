"""The user's own boxes: a COCO JSON file (Lin et al., 2014), with every fault named."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplearn.data import photofile
from deeplearn.data.pictures import Picture
from deeplearn.errors import DataError

SLACK = 2.0
"""Pixels by which a box may stick out of its image, as rounding makes it; it is cut off there."""


class Category(NamedTuple):
    """One class of a file, whose ids may be any numbers."""

    id: int
    name: str


@dataclass(frozen=True)
class Annotated(Sequence):
    """The images of a file, read when they are asked for."""

    path: Path
    categories: tuple[Category, ...]
    """In the order of their ids: a label is a place in it."""
    images: tuple[Mapping[str, Any], ...]
    """With `file` (its path), `annotations`."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Picture:
        entry = self.images[row]
        image = np.round(photofile.read(entry["file"]).colour * 255).astype(np.uint8)
        height, width = image.shape[:2]
        labels = {category.id: place for place, category in enumerate(self.categories)}
        own = entry["annotations"]
        for note in own:
            left, top, wide, high = note["bbox"]
            if left < -SLACK or top < -SLACK or left + wide > width + SLACK or top + high > height + SLACK:
                text = f"annotation {note['id']} of {self.path} has the box {note['bbox']}, outside of {entry['file']}"
                raise DataError(f"{text} ({width} x {height} pixels); mend it, or give the image that it belongs to")
        corners = [[x, y, x + w, y + h] for x, y, w, h in (note["bbox"] for note in own)]
        box = np.array(corners, np.float32).reshape(-1, 4).clip(0, [width, height, width, height]).astype(np.float32)
        size = [note.get("area", note["bbox"][2] * note["bbox"][3]) for note in own]
        return Picture(
            image,
            box,
            np.array([labels[note["category_id"]] for note in own], np.int32),
            np.array([bool(note.get("iscrowd", 0)) for note in own], bool),
            np.array(size, np.float32),
        )

    def take(self, rows: Sequence[int]) -> "Annotated":
        return Annotated(self.path, self.categories, tuple(self.images[row] for row in rows))


def read(path: Path) -> Annotated:
    """The images of a file; `file_name` is looked up beside the file and in its folder `images`.

    Raises:
        DataError: names the entry that is wrong.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} as JSON ({error}); give a COCO file of images and boxes") from error
    if not isinstance(content, dict) or any(not isinstance(content.get(name), list) for name in PARTS):
        raise DataError(f"{path} needs the lists {', '.join(PARTS)}; is it a COCO file of boxes?")
    categories = sorted(Category(entry["id"], entry["name"]) for entry in _entries(path, content, "categories", "name"))
    by_image: dict[int, list[Mapping[str, Any]]] = {
        entry["id"]: [] for entry in _entries(path, content, "images", "file_name")
    }
    known = {category.id for category in categories}
    for note in _entries(path, content, "annotations", "image_id", "category_id", "bbox"):
        title = f"annotation {note['id']} of {path}"
        if note["image_id"] not in by_image:
            raise DataError(f"{title} is of the image {note['image_id']}, which the file does not list")
        if note["category_id"] not in known:
            raise DataError(f"{title} is of the category {note['category_id']}, which the file does not list")
        box = note["bbox"]
        right = isinstance(box, list) and len(box) == 4 and all(isinstance(side, int | float) for side in box)
        if not right or not all(map(math.isfinite, box)) or min(box[2:]) <= 0:
            raise DataError(f"{title} has the box {box}; it needs left, top, and a width and height above zero")
        by_image[note["image_id"]].append(note)
    images = []
    for entry in content["images"]:
        places = [path.parent / entry["file_name"], path.parent / "images" / entry["file_name"]]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise DataError(
                f"{path} lists the image {entry['file_name']}, which is neither at {places[0]} nor at {places[1]}"
            )
        images.append({"file": str(file), "annotations": by_image[entry["id"]]})
    if not categories or not any(image["annotations"] for image in images):
        raise DataError(f"{path} holds no box of any category; there is nothing to learn")
    return Annotated(path, tuple(categories), tuple(images))


PARTS = ("images", "annotations", "categories")


def _entries(path: Path, content: Mapping[str, Any], part: str, *needed: str) -> list[Mapping[str, Any]]:
    """The entries of a list, each with an id of its own and all that is needed."""
    seen = set()
    for place, entry in enumerate(content[part]):
        missing = [name for name in ("id", *needed) if not isinstance(entry, dict) or name not in entry]
        if missing:
            raise DataError(f"entry {place} of {part} in {path} has no {missing[0]}; add it")
        if entry["id"] in seen:
            raise DataError(f"two entries of {part} in {path} have the id {entry['id']}; give each its own")
        seen.add(entry["id"])
    return content[part]
