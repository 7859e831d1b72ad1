"""Error rates equal scikit-learn's and the definitions; thresholds are scores that occurred."""

import numpy as np
import pytest

from deeplearn.methods import roc

RNG = np.random.default_rng(0)
CASES = {
    "apart": (np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False])),
    "mixed": (RNG.normal(size=300) + 1.5 * np.repeat([1, 0], [60, 240]), np.repeat([True, False], [60, 240])),
    "ties": (RNG.integers(0, 6, 200) / 5.0, RNG.random(200) < 0.3),
}


@pytest.mark.parametrize("name", CASES)
def test_the_curve_and_its_area_are_scikit_learns(name):
    from sklearn.metrics import roc_auc_score, roc_curve

    score, same = CASES[name]
    false, true, threshold = roc_curve(same, score, drop_intermediate=False)
    found = roc.rates(score, same)
    np.testing.assert_array_equal(found.threshold, threshold)
    np.testing.assert_allclose(found.false_accept, false, atol=1e-12)
    np.testing.assert_allclose(1 - found.false_reject, true, atol=1e-12)
    assert roc.area(score, same) == pytest.approx(roc_auc_score(same, score), abs=1e-12)
    gap = abs(false - (1 - true))
    best = np.isclose(gap, gap.min())
    assert roc.equal_error(score, same) == pytest.approx(((false + 1 - true) / 2)[best].min(), abs=1e-12)


@pytest.mark.parametrize("name", ["mixed", "ties"])
def test_true_accepts_are_counted_at_an_exact_threshold(name):
    score, same = CASES[name]
    for false_accept in (0.01, 0.05, 0.5):
        threshold = roc.threshold_at(score, same, false_accept)
        assert threshold in score[~same]
        assert (score[~same] > threshold).mean() <= false_accept
        lower = score[~same][score[~same] < threshold].max(initial=-np.inf)
        assert (score[~same] > lower).mean() > false_accept  # no lower threshold would do
        assert roc.true_accept(score, same, false_accept) == (score[same] > threshold).mean()
    assert np.isnan(roc.true_accept(score, same, 1e-3))  # less than one pair


def test_each_fold_takes_the_threshold_of_the_others():
    score = np.array([0.1, 0.9, 0.2, 0.8, 0.6, 0.7])
    same = np.array([False, True, False, True, False, True])
    fold = np.array([0, 0, 1, 1, 2, 2])
    # The third fold's pair of different people scores 0.6: above what the others, who reject up to 0.2, ask for (0.8).
    np.testing.assert_allclose(roc.folded_accuracy(score, same, fold), [1, 1, 0.5])


def test_weights_are_repetitions_of_people():
    """Drawing a person twice is the same as having two of them, whose pairs with each other are left out."""
    rng = np.random.default_rng(3)
    label = np.repeat([0, 1, 2], 4)
    codes = rng.normal(size=(12, 5)) + 0.8 * rng.normal(size=(3, 5)).repeat(4, 0)
    near = codes @ codes.T
    found = roc.pairs(codes, label)
    np.testing.assert_allclose(found.score, near[found.first, found.second])
    times = np.array([[1, 1, 1], [2, 0, 1], [2, 3, 1]])
    weight = roc.pair_weights(times, found, label)
    for row, own in zip(times, weight, strict=True):
        people = np.repeat(np.arange(3), row)  # copies of people
        rows = np.concatenate([np.arange(4) + 4 * person for person in people])
        copy = np.repeat(np.arange(len(people)), 4)
        i, j = np.triu_indices(len(rows), 1)
        keep = (copy[i] == copy[j]) | (label[rows[i]] != label[rows[j]])
        score, same = near[rows[i], rows[j]][keep], (copy[i] == copy[j])[keep]
        assert own.sum() == keep.sum()
        assert roc.equal_error(found.score, found.same, own) == pytest.approx(roc.equal_error(score, same), abs=1e-12)
        assert roc.area(found.score, found.same, own) == pytest.approx(roc.area(score, same), abs=1e-12)
    together = roc.equal_error(found.score, found.same, weight)
    assert together.shape == (3,)
    assert together[0] == roc.equal_error(found.score, found.same)
    few = roc.pairs(codes, label, (np.array([0, 5]), np.array([1, 1])))
    np.testing.assert_allclose(few.score, [near[0, 1], near[5, 1]])
    np.testing.assert_array_equal(few.same, [True, False])
