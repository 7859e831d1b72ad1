"""Prediction intervals that keep their promise: split conformal prediction, whatever the model.

If calibration and new examples are exchangeable, an interval holds the truth with probability at least `coverage`, at
any sample size and for any model that has not seen the calibration examples (Vovk et al., 2005; Lei et al., 2018).
Under a shift in time this is a hope, so the coverage is measured on the test set.
"""

import math

import numpy as np
from jaxtyping import Float


def margin(scores: Float[np.ndarray, "N"], coverage: float) -> float:
    """The ceil((N + 1) coverage)-th smallest score: a new example exceeds it with probability at most 1 - coverage.

    Infinite where N is too small to promise so much: under `least`.
    """
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def least(coverage: float) -> int:
    """Scores that are needed to promise this coverage: coverage / (1 - coverage), nine for 0.9."""
    return math.ceil(round(coverage / (1 - coverage), 6))  # the division is not exact


def excess(
    true: Float[np.ndarray, "N"], low: Float[np.ndarray, "N"], high: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
    """How far the truth lies outside [low, high], in widths of that interval; negative inside.

    The scores of conformalised quantile regression (Romano et al., 2019) in the relative form of Sesia & Candès (2020):
    the correction is a factor, so that dear rooms, whose prices vary more, get more of it.
    """
    return np.maximum(low - true, true - high) / (high - low)


def widened(
    low: Float[np.ndarray, "N"], high: Float[np.ndarray, "N"], margin: float
) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """(low, high) moved apart by `margin` widths on either side, or together where it is negative."""
    extra = margin * (high - low)
    return low - extra, high + extra


def covered(
    true: Float[np.ndarray, "N"], low: Float[np.ndarray, "N"], high: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
    """1 where the truth lies in [low, high]; the mean is the coverage."""
    return ((low <= true) & (true <= high)).astype(np.float64)
