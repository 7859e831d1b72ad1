"""Boxes stay on their objects however a picture is cut, scaled, turned or mirrored."""

import numpy as np

from deeplearn.data.pictures import Cuts, Picture, shrunk, whole


def picture(height: int = 90, width: int = 140) -> Picture:
    """A white rectangle on black."""
    image, box = np.zeros((height, width, 3), np.uint8), np.array([[40, 30, 80, 60]], np.float32)
    image[30:60, 40:80] = 255
    return Picture(image, box, np.array([2], np.int32), np.array([False]), np.array([1200], np.float32))


def test_boxes_follow_the_objects():
    cuts = Cuts([picture()], side=64, most=3, draws=100, upright=False)
    seen = 0
    for number in range(40):
        square = cuts[number]
        assert square["image"].shape == (64, 64, 3)
        bright = square["image"].max(-1) > square["image"].max() * 0.9
        for left, top, right, bottom in square["box"][square["label"] == 2]:
            rows, columns = np.nonzero(bright)
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            contrast = square["image"].max() > square["image"].min() + 60
            if contrast and (square["image"] != 128).all():
                np.testing.assert_allclose(found, [left, top, right, bottom], atol=2.5)
                seen += 1
    assert seen > 5
    assert all(np.array_equal(cuts[7][name], cuts[7][name]) for name in cuts[7])


def test_a_whole_picture_is_shrunk_into_its_square():
    square = whole(picture(), side=70, most=2)
    assert square["zoom"] == 0.5 and square["label"].tolist() == [2, -1]
    np.testing.assert_allclose(square["box"][0], [20, 15, 40, 30])
    assert square["area"][0] == 1200 and (square["image"][46:] == 128).all()
    assert whole(picture(), side=200, most=1)["zoom"] == 1


def test_a_large_picture_is_shrunk_and_a_small_one_left():
    image = picture().image
    assert shrunk(image, 200)[0] is image and shrunk(image, 200)[1] == 1
    assert shrunk(image, 70)[0].shape == (45, 70, 3)
