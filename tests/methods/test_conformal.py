"""Conformal intervals: the promise holds on exchangeable data, whatever the model's own interval is worth."""

import numpy as np
import pytest

from deeplearn.methods.conformal import covered, excess, margin, widened


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
