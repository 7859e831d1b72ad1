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
    rank, width = _rank(sum(map(len, scores)), coverage), high - low
    return -_ordered(-low, width, scores, rank), _ordered(high, width, scores, rank)


def _ordered(
    end: Float[np.ndarray, "K M"],
    width: Float[np.ndarray, "K M"],
    scores: Sequence[Float[np.ndarray, "N_k"]],
    rank: int,
) -> Float[np.ndarray, "M"]:
    """The rank-th smallest of end[k] + s * width[k] over the scores s of all k; infinite where they are too few.

    By bisection to the last bits: to write down all N * M of them takes hours for tables of a million rows.
    """
    known = [np.sort(own[np.isfinite(own)]) for own in scores]
    if rank > sum(map(len, known)):
        return np.full(end.shape[1], np.inf)
    each = [(e, np.maximum(w, np.finfo(w.dtype).tiny), own) for e, w, own in zip(end, width, known, strict=True)]
    each = [(e, w, own) for e, w, own in each if len(own)]
    # Each model's own score of that rank: what is sought lies between the least and the largest of these ends.
    share = rank / sum(map(len, known))
    below = np.min([e + own[max(math.floor(share * len(own)) - 1, 0)] * w for e, w, own in each], axis=0)
    found = np.max([e + own[min(math.ceil(share * len(own)), len(own) - 1)] * w for e, w, own in each], axis=0)
    # Examples whose places among the scores are near each other stand together: five times as fast for a million of
    # them, as the places are then in the cache.
    end, width, _ = each[0]
    order = np.argsort(((below + found) / 2 - end) / width)
    each = [(e[order], w[order], own) for e, w, own in each]
    below, found = below[order], found[order]
    for _ in range(64):
        middle = (below + found) / 2
        enough = sum(np.searchsorted(own, (middle - e) / w, "right") for e, w, own in each) >= rank
        below, found = np.where(enough, below, middle), np.where(enough, middle, found)
    return found[np.argsort(order)]


def bounded(
    value: Float[np.ndarray, "N"], low: Float[np.ndarray, "N"], high: Float[np.ndarray, "N"], least: float
) -> Float[np.ndarray, "N 3"]:
    """(value, low, high) with no value outside its own interval, or below zero where none (`least`) is."""
    band = np.column_stack([value, np.minimum(low, value), np.maximum(high, value)])
    return np.maximum(band, 0) if least >= 0 else band


def calibrated(found: Float[np.ndarray, "N 3"], margin: float | None, least: float) -> Float[np.ndarray, "N 3"]:
    """Value, low and high end of an own interval, widened by a margin; NaN ends without one, no end below `least`."""
    ends = widened(*found[:, 1:].T, np.nan if margin is None else margin)
    return bounded(found[:, 0], *ends, least)


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
