"""A scene is decided by its number, its boxes lie on its digits, and no photograph is in two parts."""

import itertools
from dataclasses import replace

import numpy as np

from deeplearn.data.sets import digit_scenes
from deeplearn.data.sets.digit_scenes import BACKGROUNDS, SIDE, DigitScenes


def scenes(part: str) -> DigitScenes:
    """Of white squares on a black photograph."""
    digits = np.zeros((3, 28, 28), np.uint8)
    digits[:, 6:22, 9:19] = 255
    return DigitScenes(part, 50, digits, np.array([4, 5, 6], np.int32), [np.zeros((200, 300, 3), np.uint8)])


def test_photographs_are_in_one_part_only():
    for first, second in itertools.combinations(BACKGROUNDS.values(), 2):
        assert not set(first) & set(second)


def test_boxes_lie_on_the_digits():
    for number in range(20):
        scene = scenes("test")[number]
        assert scene.image.shape == (SIDE, SIDE, 3) and 1 <= len(scene.box) <= 4
        assert set(scene.label) <= {4, 5, 6} and (scene.box >= 0).all() and (scene.box <= SIDE).all()
        bright = scene.image.max(-1) > 90
        inside = np.zeros_like(bright)
        for left, top, right, bottom in scene.box.astype(int):
            inside[top:bottom, left:right] = True
            assert bright[top:bottom, left:right].mean() > 0.5
        assert not bright[~inside].any()


def test_the_number_and_the_part_decide():
    for part in ("train", "test"):
        np.testing.assert_array_equal(scenes(part)[3].image, scenes(part)[3].image)
    assert not np.array_equal(scenes("test")[3].image, scenes("validation")[3].image)
    assert not np.array_equal(scenes("test")[3].image, scenes("test")[4].image)


def test_a_loop_over_scenes_ends_and_one_digit_alone_fits_a_small_scene():
    assert len(list(scenes("test"))) == 50
    alone = replace(scenes("train"), side=64, most=1)
    assert all(scene.image.shape == (64, 64, 3) and len(scene.box) == 1 for scene in alone)


def test_the_class_of_a_scene_of_one_digit_is_the_digit(monkeypatch):
    monkeypatch.setattr(digit_scenes, "ALONE", {"train": 5, "validation": 4, "test": 3})
    splits = digit_scenes.digit_photos.__wrapped__()
    assert [part.image.shape for part in splits] == [(size, 64, 64, 3) for size in (5, 4, 3)]
    first = digit_scenes.digit_scenes("validation", 4, side=64, most=1)[2]
    np.testing.assert_array_equal(splits.validation.image[2], first.image)
    assert splits.validation.label[2] == first.label[0]
