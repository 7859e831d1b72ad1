"""Boxes stay on their objects however a picture is cut, scaled, turned or mirrored."""

import numpy as np
import pytest

from deeplearn.data.pictures import Cuts, Picture, cut, parts, shrunk, varied, whole


def picture(height: int = 90, width: int = 140) -> Picture:
    """A white rectangle on black."""
    image, box = np.zeros((height, width, 3), np.uint8), np.array([[40, 30, 80, 60]], np.float32)
    image[30:60, 40:80] = 255
    return Picture(image, box, np.array([2], np.int32), np.array([False]), np.array([1200], np.float32))


def test_boxes_follow_the_objects():
    cuts = Cuts([picture()], side=64, most=3, draws=100, zoom=2.0, upright=False)
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


def test_a_square_of_a_large_picture_is_that_of_the_shrunk_whole():
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (40, 60, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    large = picture()._replace(image=image)
    square, box = cut(large, (208.0, 144.0), 0.5, 64)
    np.testing.assert_allclose(square, whole(large, 480, 1)["image"][72:136, 104:168], atol=1)
    np.testing.assert_allclose(box[0], [-84, -57, -64, -42])


def test_aimed_squares_show_objects():
    large = picture(900, 900)
    shown = [
        sum((Cuts([large], 96, 1, 100, 2.0, True, aimed=share)[i]["label"] >= 0).any() for i in range(40))
        for share in (0, 1)
    ]
    assert shown[0] < 10 < 30 < shown[1]


def test_variation_of_no_strength_is_none_and_greys_stay_grey():
    image, rng = picture().image, np.random.default_rng(0)
    np.testing.assert_allclose(varied(image, 0.0, rng), image, atol=1e-3)
    changed = varied(image, 1.0, rng)
    assert np.abs(changed - image).max() > 10
    np.testing.assert_allclose(changed, changed[..., :1].repeat(3, -1), atol=1e-2)


def test_parts_are_small_enough_and_hold_every_object():
    found = parts(picture(90, 140), 60)
    assert [own.image.shape[:2] for own in found] == [(45, 47), (45, 46), (45, 47)] * 2
    np.testing.assert_array_equal(sum(own.image.sum() for own in found), picture().image.sum())
    # Its 40 x 30 pixels lie in four parts, of which two show more than two fifths of them.
    assert [own.box.tolist() for own in found if len(own.box)] == [[[0, 30, 33, 45]], [[0, 0, 33, 15]]]
    assert found[1].area == pytest.approx(33 * 15)
