"""The verdict over processes: seldom wrong between equals, and a slowdown is found."""

import numpy as np
import pytest

from benchmarks.compare import between


@pytest.mark.parametrize("spread", [0.01, 0.1])
def test_equals_are_called_different_in_at_most_a_twentieth_of_the_comparisons(spread):
    """Processes of one code differ by this share, whatever many rounds within them say."""
    rng = np.random.default_rng(0)
    drawn = np.exp(rng.normal(0, spread, (2000, 2, 8)))
    found = [between(old, new) for old, new in drawn]
    assert np.mean([not own["low"] <= 1 <= own["high"] for own in found]) < 0.06  # of 2000: 0.05 +- 0.005


def test_a_slowdown_of_a_tenth_is_found():
    rng = np.random.default_rng(1)
    drawn = np.exp(rng.normal(0, 0.03, (500, 2, 8))) * np.array([1, 1.1])[:, None]
    assert np.mean([between(old, new)["low"] > 1 for old, new in drawn]) > 0.95
