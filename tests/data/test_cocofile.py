"""A COCO file is read as it is meant, and what is wrong with one is named."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from deeplearn.data import cocofile
from deeplearn.errors import DataError

CONTENT = {
    "images": [{"id": 0, "file_name": "a.png"}, {"id": 70, "file_name": "b.png"}],
    "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 70, "category_id": 9, "bbox": [2, 3, 10, 12], "area": 50, "iscrowd": 1},
        {"id": 2, "image_id": 70, "category_id": 3, "bbox": [0, 0, 31.5, 20]},
    ],
}


def written(folder, content):
    (folder / "images").mkdir(exist_ok=True)
    Image.new("RGB", (30, 20)).save(folder / "a.png")
    Image.new("RGB", (30, 20)).save(folder / "images" / "b.png")
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"


def test_ids_may_be_any_and_images_may_be_empty(tmp_path):
    file = cocofile.read(written(tmp_path, CONTENT))
    assert [category.name for category in file.categories] == ["cat", "dog"] and len(file) == 2
    assert len(file[0].box) == 0
    picture = file[1]
    np.testing.assert_array_equal(picture.box, [[2, 3, 12, 15], [0, 0, 30, 20]])  # cut off at the image's border
    assert picture.label.tolist() == [1, 0] and picture.crowd.tolist() == [True, False]
    assert picture.area.tolist() == [50, 630]


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("annotations", {"image_id": 5}, r"annotation 1 .*image 5"),
        ("annotations", {"category_id": 1}, r"annotation 1 .*category 1"),
        ("annotations", {"bbox": [1, 2, 0, 4]}, r"annotation 1 .*width and height"),
        ("annotations", {"bbox": [1, 2, 3]}, r"annotation 1 .*has the box"),
        ("annotations", {"id": 2}, r"two entries of annotations .*id 2"),
        ("images", {"file_name": "c.png"}, r"c\.png, which is neither"),
        ("images", {"id": 70}, r"two entries of images"),
        ("categories", {"id": None}, r"entry 0 of categories .*no id"),
    ],
)
def test_every_fault_is_named(tmp_path, part, change, message):
    content = copy.deepcopy(CONTENT)
    content[part][0] |= change
    if change == {"id": None}:
        del content[part][0]["id"]
    with pytest.raises(DataError, match=message):
        cocofile.read(written(tmp_path, content))


def test_a_box_outside_of_its_image_is_named_when_it_is_read(tmp_path):
    content = copy.deepcopy(CONTENT)
    content["annotations"][0]["bbox"] = [20, 3, 20, 4]
    with pytest.raises(DataError, match=r"annotation 1 .*outside of .*b\.png"):
        cocofile.read(written(tmp_path, content))[1]
    (tmp_path / "boxes.json").write_text("[]")
    with pytest.raises(DataError, match=r"boxes\.json needs the lists"):
        cocofile.read(tmp_path / "boxes.json")
