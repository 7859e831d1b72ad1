"""Prediction intervals that keep their promise, whatever the model: split conformal prediction and CV+.

If calibration and new examples are exchangeable, an interval around the prediction of a model that has not seen the
calibration examples holds the truth with probability at least `coverage`, at any sample size (Vovk et al., 2005; Lei et
al., 2018). Nothing is promised where another model predicts, such as one trained again on all examples, or under a
shift in time: there the coverage on a test set says what an interval is worth.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from deeplearn.errors import note


def margin(scores: Float[np.ndarray, "N"], coverage: float) -> float:
    """The ceil((N + 1) coverage)-th smallest score: a new example exceeds it with probability at most 1 - coverage.

    Infinite where N is too small to promise so much: under `least`.
    """
    rank = _rank(len(scores), coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def correction(scores: Sequence[Float[np.ndarray, "N_k"]], coverage: float) -> float | None:
    """The `margin` of all scores; None, and a word on standard error, where they are too few for the coverage."""
    count, needed = sum(map(len, scores)), least(coverage)
    if count >= needed:
        return margin(np.concatenate(scores), coverage)
    note(f"{count} calibration rows cannot promise a coverage of {coverage:.0%}, {needed} could: no intervals")
    return None


def _rank(size: int, coverage: float) -> int:
    """ceil((size + 1) coverage), whatever the last digit of the product."""
    return math.ceil(round((size + 1) * coverage, 6))


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
    low: Float[np.ndarray, "..."], high: Float[np.ndarray, "..."], margin: float | Float[np.ndarray, "..."]
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """(low, high) moved apart by `margin` widths on either side, or together where it is negative."""
    extra = margin * (high - low)
    return low - extra, high + extra


def crossed(
    low: Float[np.ndarray, "K M"],
    high: Float[np.ndarray, "K M"],
    scores: Sequence[Float[np.ndarray, "N_k"]],
    coverage: float,
) -> tuple[Float[np.ndarray, "M"], Float[np.ndarray, "M"]]:
    """CV+ (Barber et al., "Predictive inference with the jackknife+", 2021) for K models' own intervals of M examples.

    The k-th model has not seen the examples of the k-th `scores` (of `excess`). Each score widens the interval of its
    model, and the ends are order statistics of all N of them. With one model this is split conformal prediction. With
    K folds the truth is held with probability at least 2 coverage - 1 - sqrt(2 / N) (their theorem 4; Gupta et al.,
    2022, for intervals), and about `coverage` in practice.
    """
    every, model = np.concatenate(scores), np.repeat(np.arange(len(scores)), [len(own) for own in scores])
    rank = _rank(len(every), coverage)
    if rank > len(every):
        return np.full(low.shape[1], -np.inf), np.full(low.shape[1], np.inf)
    ends = np.empty((2, low.shape[1]))
    for start in range(0, low.shape[1], 256):  # [N, M] as a whole may not fit
        part = slice(start, start + 256)
        below, above = widened(low[model, part], high[model, part], every[:, None])
        ends[0, part] = -np.partition(-below, rank - 1, axis=0)[rank - 1]
        ends[1, part] = np.partition(above, rank - 1, axis=0)[rank - 1]
    return ends[0], ends[1]


def bounded(
    value: Float[np.ndarray, "N"], low: Float[np.ndarray, "N"], high: Float[np.ndarray, "N"], least: float
) -> Float[np.ndarray, "N 3"]:
    """(value, low, high) with no value outside its own interval, or below zero where none (`least`) is."""
    band = np.column_stack([value, np.minimum(low, value), np.maximum(high, value)])
    return np.maximum(band, 0) if least >= 0 else band


def judged(true: Float[np.ndarray, "N"], band: Float[np.ndarray, "N 3"]) -> dict[str, float]:
    """How many truths the intervals of `bounded` hold, and how wide they are; nothing where ends are unknown (NaN)."""
    _, low, high = band.T
    if np.isnan(low).any():
        return {}
    return {"coverage": float(covered(true, low, high).mean()), "width": float((high - low).mean())}


def covered(
    true: Float[np.ndarray, "N"], low: Float[np.ndarray, "N"], high: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
    """1 where the truth lies in [low, high]; the mean is the coverage."""
    return ((low <= true) & (true <= high)).astype(np.float64)
