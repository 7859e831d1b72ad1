"""What tables of prices are usually given to: boosted trees, a support-vector machine and ridge regression."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

MOST_SUPPORT = 3000
"""Rows that the support-vector machine learns from: its time grows with their square (three minutes for 12,000)."""
MOST_LEVELS = 255
"""Positions of a category that scikit-learn's boosted trees can take; those of larger ones count as numbers."""


class Regressor(Protocol):
    """scikit-learn's way."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Any: ...

    def predict(self, x: np.ndarray) -> np.ndarray: ...


def design(columns: Mapping[str, np.ndarray]) -> Float[np.ndarray, "N F+C"]:
    """Numbers and positions of categories side by side."""
    return np.hstack([columns["number"], columns["category"].astype(np.float32)])


def candidates(numbers: int, cardinalities: Sequence[int]) -> dict[str, list[Regressor]]:
    """Each competitor with the settings to choose among; the target should be about 0 with a spread of 1."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import SVR

    def flat() -> Any:
        ends = slice(0, numbers), slice(numbers, numbers + len(cardinalities))
        encoders = StandardScaler(), OneHotEncoder(handle_unknown="ignore")
        return make_column_transformer(
            *((encoder, end) for encoder, end in zip(encoders, ends, strict=True) if end.stop > end.start)
        )

    levels = [numbers + i for i, size in enumerate(cardinalities) if size <= MOST_LEVELS]
    trees = dict(random_state=0, categorical_features=levels)
    return {
        "HistGradientBoosting": [
            HistGradientBoostingRegressor(loss=loss, learning_rate=rate, max_iter=count, max_leaf_nodes=leaves, **trees)
            for loss in ("squared_error", "absolute_error")
            for rate, count, leaves in ((0.1, 100, 31), (0.05, 300, 15))  # first: the defaults
        ],
        "RBF-SVR": [make_pipeline(flat(), SVR(C=c, epsilon=0.05)) for c in (1.0, 10.0)],
        "ridge": [make_pipeline(flat(), RidgeCV(np.logspace(-1, 4, 11)))],
    }


def fit(name: str, model: Regressor, x: np.ndarray, target: Float[np.ndarray, "N"], seed: int = 0) -> None:
    """Let the model learn; the support-vector machine from a random part."""
    order = np.random.default_rng(seed).permutation(len(x))
    rows = order[:MOST_SUPPORT] if name == "RBF-SVR" else order
    model.fit(x[rows], target[rows])
