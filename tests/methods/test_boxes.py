"""Boxes overlap, are matched and are scored as the reference tools do it."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from deeplearn.methods import boxes
from deeplearn.methods.boxes import Found, Truth

# pycocotools 2.0.11 on `scenes(seed)`: crowds, images without objects or detections, equal scores, other areas.
NAMES = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
NAMES += ["ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"]
PYCOCOTOOLS = [
    "0.31129518 0.40269027 0.32018202 0.50000000 0.30224187 1.00000000"
    " 0.33055556 0.60833333 0.60833333 0.55000000 0.55555556 1.00000000",
    "0.35572418 0.45221522 0.45221522 0.29764262 0.52270981 none"
    " 0.37777778 0.59285714 0.59285714 0.35277778 0.73666667 none",
    "0.34500328 0.44108162 0.35802332 0.18407591 0.58162353 0.51732673"
    " 0.26190476 0.67354497 0.67354497 0.45833333 0.84444444 0.83333333",
]


def random_box(draw: random.Random) -> list[float]:
    left, top = draw.uniform(0, 200), draw.uniform(0, 200)
    width, height = (draw.choice([10, 30, 60, 150]) * draw.uniform(0.5, 1.5) for _ in range(2))
    return [left, top, left + width, top + height]


def scenes(seed: int, images: int = 12, classes: int = 3) -> tuple[list[Found], list[Truth]]:
    """Objects and what a poor detector finds: moved, doubled, of wrong classes, or nothing."""
    draw = random.Random(seed)
    found, truth = [], []
    for _ in range(images):
        objects = [random_box(draw) for _ in range(draw.choice([0, 0, 1, 3, 6]))]
        labels, detections = [draw.randrange(classes) for _ in objects], []
        crowd = [draw.random() < 0.2 for _ in objects]
        size = [float(boxes.area(np.array(box)) * draw.choice([1, 0.6])) for box in objects]
        for box, label in zip(objects, labels, strict=True):
            for _ in range(draw.choice([0, 1, 1, 2, 3])):
                moved = [side + draw.uniform(-2, 2) for side in box] if draw.random() < 0.8 else list(box)
                other = label if draw.random() < 0.85 else draw.randrange(classes)
                detections.append((moved, draw.choice([0.1, 0.5, 0.9, draw.random()]), other))
        for _ in range(draw.choice([0, 1, 4, 14])):
            detections.append((random_box(draw), draw.choice([0.1, 0.5, draw.random()]), draw.randrange(classes + 1)))
        found.append(
            Found(
                np.array([box for box, _, _ in detections]).reshape(-1, 4),
                np.array([score for _, score, _ in detections]),
                np.array([label for _, _, label in detections], int),
            )
        )
        truth.append(
            Truth(np.array(objects).reshape(-1, 4), np.array(labels, int), np.array(crowd, bool), np.array(size, float))
        )
    return found, truth


@pytest.mark.parametrize(("seed", "numbers"), [*zip((0, 1, 3), PYCOCOTOOLS, strict=True)])
def test_scores_equal_pycocotools(seed, numbers):
    expected = {n: float(value) for n, value in zip(NAMES, numbers.split(), strict=True) if value != "none"}
    assert boxes.coco(*scenes(seed)) == pytest.approx(expected, abs=1e-6)


def test_perfect_detections_score_one_and_none_score_zero():
    _, truth = scenes(0)
    perfect = [Found(t.box[~t.crowd], np.ones((~t.crowd).sum()), t.label[~t.crowd]) for t in truth]
    nothing = [Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))] * len(truth)
    assert boxes.coco(perfect, truth)["ap"] == pytest.approx(1)
    assert set(boxes.coco(nothing, truth).values()) == {0.0}


def test_sizes_that_no_object_has_are_left_out():
    truth = [Truth(np.array([[0, 0, 20, 20]]), np.array([0]), np.array([False]), np.array([400.0]))]
    scores = boxes.coco([Found(truth[0].box, np.ones(1), np.array([0]))], truth)
    assert "ap_small" in scores and "ap_large" not in scores


@pytest.mark.parametrize(("a", "b", "expected"), [
    ([0, 0, 2, 2], [1, 1, 3, 3], (1 / 7, 1 / 7 - 2 / 9)),
    ([0, 0, 1, 1], [2, 0, 3, 1], (0, -1 / 3)),
    ([0, 0, 4, 4], [0, 0, 4, 4], (1, 1)),
])  # fmt: skip
def test_overlap_of_two_boxes(a, b, expected):
    a, b = (np.array([box], np.float32) for box in (a, b))
    assert boxes.iou(a, b)[0, 0] == pytest.approx(expected[0])
    assert float(boxes.giou(jnp.asarray(a), jnp.asarray(b))[0]) == pytest.approx(expected[1])


def test_of_boxes_that_cover_each_other_the_best_of_a_class_stays():
    draw = random.Random(0)
    box = np.array([random_box(draw) for _ in range(60)], np.float32)
    label = np.array([draw.randrange(2) for _ in range(60)], np.int32)
    stays: list[int] = []
    for i in range(60):  # sorted from best to worst
        if all(label[i] != label[j] or boxes.iou(box[i : i + 1], box[j : j + 1])[0, 0] <= 0.3 for j in stays):
            stays.append(i)
    kept = jax.jit(boxes.nms)(jnp.asarray(box), jnp.asarray(label), 0.3)
    assert 1 < len(stays) < 60 and np.flatnonzero(kept).tolist() == stays


@pytest.mark.parametrize("shape", [(1, 1), (4, 12), (7, 7)])
def test_assignment_equals_scipys(shape):
    rng = np.random.default_rng(0)
    cost = rng.normal(size=(20, *shape)).astype(np.float32)
    rows = rng.random((20, shape[0])) < 0.8
    columns = np.asarray(jax.jit(jax.vmap(boxes.assignment))(cost, rows))
    for own, real, chosen in zip(cost, rows, columns, strict=True):
        assert chosen[real].tolist() == linear_sum_assignment(own[real])[1].tolist()


def test_assignment_of_equal_costs_is_one_of_the_best():
    cost = np.random.default_rng(0).integers(0, 3, (20, 6, 9)).astype(np.float32)
    columns = np.asarray(jax.jit(jax.vmap(boxes.assignment))(cost, np.ones((20, 6), bool)))
    for own, chosen in zip(cost, columns, strict=True):
        assert len(set(chosen)) == 6
        assert own[range(6), chosen].sum() == own[linear_sum_assignment(own)].sum()


def test_the_threshold_leaves_out_what_is_more_often_wrong_than_right():
    box = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], float)
    truth = Truth(box[:2], np.zeros(2, int), np.zeros(2, bool), np.full(2, 100.0))
    found = Found(box[[0, 1, 2, 2]], np.array([0.9, 0.6, 0.5, 0.1]), np.zeros(4, int))
    assert boxes.threshold([found], [truth]) == 0.6
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    assert 0 < boxes.threshold([nothing], [truth]) < 1
