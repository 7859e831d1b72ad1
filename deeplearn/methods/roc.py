"""How well a score tells the same from different: equal error rate, area under the curve, true accepts at few false.

A pair is accepted where its score is high. Nothing is interpolated: every rate belongs to a threshold between two
scores that occurred. Rates and areas take a weight for each pair, with which people are drawn again (`pair_weights`).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

Weight = Num[np.ndarray, "... N"]
"""Of each pair; leading axes are several weightings of the same pairs, such as bootstrap samples."""


class Rates(NamedTuple):
    """Error rates where pairs with a score of `threshold` or more are accepted; the first accepts none."""

    threshold: Float[np.ndarray, "T"]
    """Infinity, then every score that occurs, falling."""
    false_accept: Float[np.ndarray, "... T"]
    false_reject: Float[np.ndarray, "... T"]


def rates(score: Float[np.ndarray, "N"], same: Bool[np.ndarray, "N"], weight: Weight | None = None) -> Rates:
    """The two error rates at every threshold; NaN where there are no pairs of a kind."""
    order = np.argsort(-score, kind="stable")
    ordered, weight = score[order], (np.ones(len(score)) if weight is None else weight)[..., order]
    last = np.append(np.flatnonzero(ordered[1:] < ordered[:-1]), len(ordered) - 1)  # of each run of equal scores

    def accepted(kind: Bool[np.ndarray, "N"]) -> Float[np.ndarray, "... T"]:
        total = np.cumsum(weight * kind[order], axis=-1, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            share = total[..., last] / total[..., -1:]
        return np.concatenate([np.zeros((*share.shape[:-1], 1)), share], axis=-1)

    return Rates(np.append(np.inf, ordered[last]), accepted(~same), 1 - accepted(same))


def equal_error(
    score: Float[np.ndarray, "N"], same: Bool[np.ndarray, "N"], weight: Weight | None = None
) -> Float[np.ndarray, "..."]:
    """The mean of the two error rates where they differ least; of equal differences the smaller mean."""
    _, accept, reject = rates(score, same, weight)
    gap, mean = np.abs(accept - reject), (accept + reject) / 2
    return np.where(gap == gap.min(-1, keepdims=True), mean, np.inf).min(-1)


def area(
    score: Float[np.ndarray, "N"], same: Bool[np.ndarray, "N"], weight: Weight | None = None
) -> Float[np.ndarray, "..."]:
    """Area under the curve: how often a pair of the same has the higher score; equal scores count half."""
    _, accept, reject = rates(score, same, weight)
    hit = 1 - reject
    return (np.diff(accept, axis=-1) * (hit[..., 1:] + hit[..., :-1]) / 2).sum(-1)


def threshold_at(score: Float[np.ndarray, "N"], same: Bool[np.ndarray, "N"], false_accept: float) -> float:
    """The score above which at most this share of the pairs of different lies: an order statistic.

    NaN where the share is less than one pair: so rare an error was not measured.
    """
    others = np.sort(score[~same])[::-1]
    allowed = int(false_accept * len(others) + 1e-9)  # 0.01 * 4500 must be 45
    return float(others[allowed]) if 1 <= allowed < len(others) else float("nan")


def true_accept(score: Float[np.ndarray, "N"], same: Bool[np.ndarray, "N"], false_accept: float) -> float:
    """Share of the pairs of the same above `threshold_at`; NaN where that is not known."""
    threshold = threshold_at(score, same, false_accept)
    return float("nan") if np.isnan(threshold) else float((score[same] > threshold).mean())


def folded_accuracy(
    score: Float[np.ndarray, "N"], same: Bool[np.ndarray, "N"], fold: Int[np.ndarray, "N"]
) -> Float[np.ndarray, "F"]:
    """Share of right answers in each fold with the best threshold of the others (LFW, Huang et al., 2007)."""
    found = []
    for name in np.unique(fold):
        known, held = fold != name, fold == name
        threshold, accept, reject = rates(score[known], same[known])
        wrong = accept * (~same[known]).sum() + reject * same[known].sum()
        found.append(((score[held] >= threshold[wrong.argmin()]) == same[held]).mean())
    return np.array(found)


class Pairs(NamedTuple):
    """Scored pairs of things that belong to groups, such as pictures of people."""

    score: Float[np.ndarray, "P"]
    same: Bool[np.ndarray, "P"]
    """Whether both are of one group."""
    first: Int[np.ndarray, "P"]
    """Row of either thing."""
    second: Int[np.ndarray, "P"]


def pairs(
    codes: Float[np.ndarray, "N D"],
    label: Int[np.ndarray, "N"],
    rows: tuple[Int[np.ndarray, "P"], Int[np.ndarray, "P"]] | None = None,
) -> Pairs:
    """The cosines of codes of length 1: of these pairs of rows, or of every two rows once."""
    first, second = np.triu_indices(len(codes), 1) if rows is None else rows
    chunks = (slice(start, start + 100_000) for start in range(0, len(first), 100_000))  # 50 MB of 64 numbers
    score = [np.einsum("pd,pd->p", codes[first[chunk]], codes[second[chunk]]) for chunk in chunks]
    return Pairs(np.concatenate(score), label[first] == label[second], first, second)


def pair_weights(
    times: Int[np.ndarray, "... G"], found: Pairs, label: Int[np.ndarray, "N"]
) -> Int[np.ndarray, "... P"]:
    """How often a pair counts where each group is drawn so many times.

    A person drawn twice gives the own pairs twice, and pairs with another as often as both numbers multiply; two copies
    of a person are not a pair of different people.
    """
    first, second = times[..., label[found.first]], times[..., label[found.second]]
    return np.where(found.same, first, first * second)
