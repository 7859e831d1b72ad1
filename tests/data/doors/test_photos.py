"""Own photographs: what is learnt from, what is kept apart, and faults by name."""

import numpy as np
import pytest
from PIL import Image

from deeplearn.data.doors import photos
from deeplearn.data.doors.photos import CORNER, Data, Squares, load
from deeplearn.errors import DataError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(rng.integers(0, 256, (170, 200, 3), np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_squares_never_touch_the_corner_kept_for_validation():
    photo = np.full((CORNER + 40, CORNER + 60, 3), 200, np.uint8)
    photo[-CORNER:, -CORNER:] = 0
    squares = Squares([photo], [1.0], 32)
    assert all((squares[number]["image"] == 200).all() for number in range(200))
    np.testing.assert_array_equal(squares[5]["image"], squares[5]["image"])


def test_a_folder_and_a_list_of_photographs(folder):
    data = load(Data(path=folder, crop=32, square=64), batch=4, seed=0)
    assert data.train.at(0)["image"].shape == (4, 32, 32, 3)
    assert data.validation.shape == (4, CORNER, CORNER, 3) and data.test["test"].shape == (1, 64, 64, 3)
    (folder / "list.txt").write_text("0.png\n3.png\n\n")
    listed = load(Data(path=folder / "list.txt", crop=32), batch=1, seed=0)
    assert len(listed.validation) == 1 and listed.test["test"].shape == (1, 168, 168, 3)
    assert {*listed.names["test"]} <= {"0", "3"}


def test_faults_are_named(folder, tmp_path):
    with pytest.raises(DataError, match=r"\.png has 200 x 170 pixels and 188 a side are needed"):
        load(Data(path=folder, crop=60), batch=1, seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds 0 photograph"):
        load(Data(path=tmp_path / "empty"), batch=1, seed=0)
    with pytest.raises(DataError, match=r"missing\.txt"):
        load(Data(path=tmp_path / "missing.txt"), batch=1, seed=0)
    assert photos.SMALLEST < CORNER
