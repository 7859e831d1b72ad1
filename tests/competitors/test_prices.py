"""Competitors for tables: their setting is the one whose prices of all trials together lose least."""

from functools import partial

import numpy as np

from deeplearn.competitors import prices
from deeplearn.competitors.prices import Competitor, Lesson, Posing, compared, competitors
from deeplearn.competitors.search import Space


class Guess:
    """Predicts its setting, whatever it has learnt."""

    def __init__(self, value):
        self.value = value

    def fit(self, x, y):
        pass

    def predict(self, x):
        return np.full(len(x), self.value)


def test_the_setting_is_chosen_on_all_trials_together(monkeypatch):
    one = Competitor(Space({"value": 0.0}, lambda rng: {"value": float(rng.uniform(0, 4))}), lambda s, _: Guess(**s))
    monkeypatch.setattr(prices, "competitors", lambda losses: {"guess": one})
    monkeypatch.setattr(prices, "search", partial(prices.search, settings=120))
    x = np.zeros((3, 1))
    pose = lambda factor: (Lesson(x, np.zeros(3), x, 1, ()), lambda value: factor * value)  # noqa: E731
    true = np.repeat([1.0, 3.0], 3)  # two trials that alone would want 1 and 3
    odd = Posing([pose(-1), pose(-1)], [pose(-1), pose(-1)])  # a scale that no setting does well in
    scales = {"right": Posing([pose(1), pose(1)], [pose(1), pose(10)]), "odd": odd}
    found = compared(scales, lambda price: float(((price - true) ** 2).mean()))
    assert abs(found["guess"][:3] - 2).max() < 0.1
    np.testing.assert_allclose(found["guess"][3:], 10 * found["guess"][:3])


def test_trees_make_small_what_is_asked_for():
    rng = np.random.default_rng(0)
    draw = lambda *losses: {competitors(*losses)["HistGradientBoosting"].space.draw(rng)["loss"] for _ in range(20)}  # noqa: E731
    assert draw() == {"squared_error", "absolute_error"} and draw(("squared_error",)) == {"squared_error"}
