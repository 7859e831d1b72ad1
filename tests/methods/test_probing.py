"""A linear machine tells what a layer holds, is scikit-learn's, and looks at held-out points for its score only."""

import numpy as np
import pytest

from deeplearn.methods import probing

RNG = np.random.default_rng(0)
LABEL = np.arange(120) % 3
LEARNT = np.arange(120) < 80
CLEAR = RNG.normal(size=(120, 5)) + 6 * np.eye(5)[LABEL]
NOISE = RNG.normal(size=(120, 5))


def test_the_discriminant_is_that_of_scikit_learn():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    points, others = RNG.normal(size=(60, 4)) + np.eye(4)[LABEL[:60]], RNG.normal(size=(50, 4))
    scaled = (points - points.mean(0)) / points.std(0)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.0, priors=[1 / 3] * 3).fit(scaled, LABEL[:60])
    expected = theirs.predict((others - points.mean(0)) / points.std(0))
    np.testing.assert_array_equal(probing.discriminant(points, LABEL[:60], others, 1e-9), expected)


def test_each_depth_tells_what_it_holds_and_the_best_is_chosen_without_the_held_out():
    curve = probing.by_depth([NOISE, CLEAR, NOISE], LABEL, LEARNT)
    assert curve.accuracy[1] == 1 and max(curve.accuracy[0], curve.accuracy[2]) < 0.6
    assert curve.best == 1
    spoilt = np.where(LEARNT[:, None], NOISE, CLEAR), np.where(LEARNT[:, None], CLEAR, NOISE)
    assert probing.by_depth(spoilt, LABEL, LEARNT).best == 1  # good where it is chosen, bad where it is judged


def test_a_unit_that_never_answers_does_no_harm():
    silent = np.concatenate([CLEAR, np.zeros((120, 1))], axis=1)
    assert probing.by_depth([silent], LABEL, LEARNT).accuracy == pytest.approx(1)
