"""What each depth is asked: as many of each kind on both sides, and nobody on both."""

import numpy as np

from deeplearn.data.sets import stages


def test_strokes_are_sticks_that_lie_as_they_are_called():
    found = stages.strokes(144, 48, 0)
    for side in (found.learnt, ~found.learnt):
        assert len(set(np.bincount(found.label[side]))) == 1
    again = stages.strokes(144, 48, 0)
    np.testing.assert_array_equal(found.image, again.image)
    for image, label in zip(found.image, found.label, strict=True):
        if label < stages.STICKS:
            grey = np.abs(image.astype(float) - np.median(image, axis=(0, 1))).sum(-1)
            rows, columns = np.nonzero(grey > 0.5 * grey.max())
            spread = np.linalg.eigh(np.cov(columns, rows))[1][:, 1]  # the long axis
            turn = np.arctan2(spread[1], spread[0])
            off = (turn - np.pi * label / stages.STICKS + np.pi / 2) % np.pi - np.pi / 2
            assert abs(off) < np.pi / stages.STICKS  # told apart from its neighbours


def test_parts_of_a_person_are_on_one_side():
    found = stages.parts(2)
    assert found.image.shape == (40 * 2 * len(found.classes), 36, 36, 3)
    assert found.learnt.mean() == 0.5 and len(set(np.bincount(found.label))) == 1
    learnt, held = (set(map(bytes, found.image[side])) for side in (found.learnt, ~found.learnt))
    assert not learnt & held
