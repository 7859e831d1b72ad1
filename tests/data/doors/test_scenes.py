"""Own boxes become squares to learn from and whole pictures to be judged on."""

import json

import numpy as np
import pytest
from PIL import Image

from deeplearn.data.doors.scenes import Data, load
from deeplearn.errors import DataError


@pytest.fixture
def boxes(tmp_path):
    """Ten pictures with a white square each, of the categories 7 and 5."""
    images, notes = [], []
    for number in range(10):
        pixels = np.zeros((80, 120, 3), np.uint8)
        pixels[20:50, 30:70] = 255
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png"})
        notes.append({"id": number, "image_id": number, "category_id": 5 + 2 * (number % 2), "bbox": [30, 20, 40, 30]})
    content = {"images": images, "annotations": notes}
    content["categories"] = [{"id": 7, "name": "seven"}, {"id": 5, "name": "five"}]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    return tmp_path / "boxes.json"


def test_a_file_is_split_into_three_parts(boxes):
    scenes = load(Data(path=boxes, side=64, whole=60), batch=4, seed=0)
    assert scenes.classes.classes == ("five", "seven") and scenes.classes.ids == (5, 7)
    assert scenes.validation.size == 1 and scenes.test.size == 2
    batch = scenes.train.at(3)
    assert batch["image"].shape == (4, 64, 64, 3) and batch["box"].shape == (4, 100, 4)
    columns = scenes.test.columns
    np.testing.assert_allclose(columns["box"][:, 0], np.tile([15, 10, 35, 25], (2, 1)))
    assert (columns["zoom"] == 0.5).all() and (columns["area"][:, 0] == 1200).all()


def test_a_folder_of_files_needs_a_train_and_a_test(boxes):
    with pytest.raises(DataError, match=r"needs the files train\.json and test\.json"):
        load(Data(path=boxes.parent), batch=4, seed=0)
    (boxes.parent / "train.json").write_text(boxes.read_text())
    content = json.loads(boxes.read_text())
    content["categories"][0]["name"] = "eight"
    (boxes.parent / "test.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"differ in their categories"):
        load(Data(path=boxes.parent), batch=4, seed=0)
