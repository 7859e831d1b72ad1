"""Conformal intervals: the promise holds on exchangeable data, whatever the model's own interval is worth."""

import math
import tracemalloc

import numpy as np
import pytest

from deeplearn.methods.conformal import covered, crossed, excess, margin, widened


def test_the_margin_is_the_right_order_statistic():
    scores = np.random.default_rng(0).permutation(99).astype(float)
    assert margin(scores, 0.9) == 89  # the 90th smallest of 99: 90 of the 100 places a new score can take lie below
    assert margin(scores[:8], 0.9) == np.inf


@pytest.mark.parametrize("factor", [0.3, 1.0, 5.0])
def test_coverage_holds_on_average_over_draws(factor):
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(200):
        scale = rng.uniform(1, 10, 400)
        true = rng.standard_t(3, 400) * scale
        low, high = -factor * scale, factor * scale  # a model's interval, too narrow or too wide
        by = margin(excess(true[:200], low[:200], high[:200]), 0.9)
        rates.append(covered(true[200:], *widened(low[200:], high[200:], by)).mean())
    assert abs(np.mean(rates) - 0.9) < 0.01


def test_widening_by_its_own_excess_reaches_the_truth():
    true, low, high = np.array([5.0, 0.0]), np.array([1.0, 1.0]), np.array([3.0, 2.0])
    for i, score in enumerate(excess(true, low, high)):
        assert true[i] in np.concatenate(widened(low[i : i + 1], high[i : i + 1], score))


def test_one_model_crossed_is_split_conformal_prediction():
    rng = np.random.default_rng(2)
    scores, low = rng.normal(size=99), rng.normal(size=300)
    high = low + rng.uniform(1, 2, 300)
    found = crossed(low[None], high[None], [scores], 0.9)
    np.testing.assert_allclose(found, widened(low, high, margin(scores, 0.9)))
    assert np.isinf(crossed(low[None], high[None], [scores[:8]], 0.9)).all()


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_crossing_follows_the_definition_of_cv_plus(coverage):
    """Barber et al. (2021), equation 11: order statistics floor(a (N + 1)) and ceil((1 - a) (N + 1)) of all ends."""
    rng = np.random.default_rng(3)
    sizes = (7, 6, 8)
    scores = [rng.normal(size=size) for size in sizes]
    low = rng.normal(size=(3, 300))
    high = low + rng.uniform(1, 2, (3, 300))
    found = crossed(low, high, scores, coverage)
    total = sum(sizes)
    first, last = math.floor((1 - coverage) * (total + 1) + 1e-9), math.ceil(coverage * (total + 1) - 1e-9)
    for m in range(300):
        below = [low[k, m] - r * (high[k, m] - low[k, m]) for k in range(3) for r in scores[k]]
        above = [high[k, m] + r * (high[k, m] - low[k, m]) for k in range(3) for r in scores[k]]
        assert found[0][m] == pytest.approx(sorted(below)[first - 1])
        assert found[1][m] == pytest.approx(sorted(above)[last - 1])


def test_models_of_folds_keep_the_promise_on_new_examples():
    """Ridge-less regression with nearly as many columns as rows: models of other folds differ, and refits cheat."""
    rng, rates, cheated = np.random.default_rng(4), [], []
    for _ in range(60):
        x, new = rng.normal(size=(60, 30)), rng.normal(size=(100, 30))
        y, truth = x[:, 0] + rng.normal(size=60), new[:, 0] + rng.normal(size=100)
        parts = np.split(rng.permutation(60), 5)
        fit = lambda rows: np.linalg.lstsq(x[rows], y[rows])[0]  # noqa: B023, E731
        models = [fit(np.setdiff1d(np.arange(60), held)) for held in parts]
        scores = [excess(y[held], x[held] @ w - 0.5, x[held] @ w + 0.5) for held, w in zip(parts, models, strict=True)]
        centres = np.stack([new @ w for w in models])
        rates.append(covered(truth, *crossed(centres - 0.5, centres + 0.5, scores, 0.9)).mean())
        seen = fit(np.arange(60))
        own = margin(excess(y, x @ seen - 0.5, x @ seen + 0.5), 0.9)
        cheated.append(covered(truth, *widened(new @ seen - 0.5, new @ seen + 0.5, own)).mean())
    assert np.mean(rates) > 0.9
    assert np.mean(cheated) < 0.8  # a model that has seen its calibration examples promises too much


def test_crossing_many_scores_takes_no_place_for_each_pair():
    """30,000 scores and as many examples: all ends at once would be 7 GB a side."""
    rng = np.random.default_rng(5)
    scores, low = [rng.normal(size=15_000) for _ in range(2)], rng.normal(size=(2, 30_000))
    high = low + rng.uniform(1, 2, low.shape)
    tracemalloc.start()
    found = crossed(low, high, scores, 0.9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26
    every = np.concatenate([high[k, 7] + scores[k] * (high[k, 7] - low[k, 7]) for k in range(2)])
    assert found[1][7] == pytest.approx(np.sort(every)[math.ceil(0.9 * 30_001) - 1])


def test_unbounded_scores_give_unbounded_ends():
    low, high = np.zeros((1, 3)), np.ones((1, 3))
    assert np.isinf(crossed(low, high, [np.r_[np.zeros(8), np.inf, np.nan]], 0.9)).all()
    assert np.isfinite(crossed(low, high, [np.r_[np.zeros(18), np.inf]], 0.9)).all()
