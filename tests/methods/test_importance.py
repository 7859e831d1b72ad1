"""Shuffling a column costs what a model makes of it."""

import numpy as np
import pytest

from deeplearn.methods.importance import importance


def test_a_column_is_worth_the_rise_of_the_error():
    rng = np.random.default_rng(0)
    table = {"room": rng.choice(["suite", "single"], 500), "nights": rng.normal(size=500)}
    true = np.where(table["room"] == "suite", 200.0, 100.0)
    found = importance(lambda table: np.where(table["room"] == "suite", 200.0, 100.0), table, true, seed=0)
    half = 2 * (table["room"] == "suite").mean() * (table["room"] == "single").mean()
    assert found["room"] == pytest.approx(100 * half, rel=0.1) and found["nights"] == 0
