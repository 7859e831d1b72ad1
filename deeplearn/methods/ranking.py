"""How well a ranking finds what is alike: recall at k, mean average precision, and mean average precision at R.

Conventions, since papers differ: equal similarities are ranked by index; an item never finds itself; recall at k counts
queries with at least one hit among the first k (Jegou et al., 2011), not the share of hits that were found; a query of
which nothing else is alike has no answer and does not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped

from deeplearn.errors import NumericalError

BLOCK = 1024
"""Queries ranked at a time: 10,000 items then take 40 MB of similarities."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The scores of each of Q queries that have an answer."""

    first: Int[np.ndarray, "Q"]
    """Rank of the first hit, from 0."""
    average_precision: Float[np.ndarray, "Q"]
    """Mean of the precision at the rank of each hit."""
    precision_at_r: Float[np.ndarray, "Q"]
    """The same over the first R ranks, divided by R, where R are alike (MAP@R of Musgrave et al., 2020)."""
    query: Int[np.ndarray, "Q"]
    """Which query each is."""

    def recall(self, k: int) -> Float[np.ndarray, "Q"]:
        """1 where a hit is among the first k."""
        return (self.first < k).astype(np.float64)


def unit(codes: Num[np.ndarray, "N *D"]) -> Float[np.ndarray, "N D"]:
    """Rows of length 1, so that inner products are cosines; a row of zeros stays one.

    Raises:
        NumericalError: a value is not finite, which would rank anything anywhere.
    """
    flat = np.asarray(codes, np.float64).reshape(len(codes), -1)
    wrong = np.flatnonzero(~np.isfinite(flat).all(1))
    if len(wrong):
        raise NumericalError(f"{len(wrong)} code(s) are not finite, such as that of row {wrong[0]}; train again")
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def cosines(a: Num[np.ndarray, "N *D"], b: Num[np.ndarray, "M *D"]) -> Float[np.ndarray, "N M"]:
    """Float32 of products in float64: what is equal stays equal, in whatever order a processor adds."""
    return (unit(a) @ unit(b).T).astype(np.float32)


def hits(
    near: Float[np.ndarray, "Q N"], relevant: Bool[np.ndarray, "Q N"], own: Int[np.ndarray, "Q"] | None = None
) -> Bool[np.ndarray, "Q M"]:
    """Which answer is right, from the most similar on; M is N, or N - 1 without the `own` item of each query."""
    order = np.argsort(-near, axis=1, kind="stable")
    if own is not None:
        order = order[order != own[:, None]].reshape(len(near), -1)
    return np.take_along_axis(relevant, order, axis=1)


def judged(found: Bool[np.ndarray, "Q M"], query: Int[np.ndarray, "Q"] | None = None) -> Ranked:
    """The scores of rankings that hold every item once."""
    query = np.arange(len(found)) if query is None else query
    known = found.any(1)
    found, query = found[known], query[known]
    count = found.cumsum(1)
    total = count[:, -1]
    precision = found * (count / np.arange(1, found.shape[1] + 1))
    within = np.arange(found.shape[1]) < total[:, None]
    return Ranked(
        first=found.argmax(1),
        average_precision=precision.sum(1) / total,
        precision_at_r=(precision * within).sum(1) / total,
        query=query,
    )


def among_themselves(codes: Num[np.ndarray, "N *D"], label: Shaped[np.ndarray, "N"]) -> Ranked:
    """Every item searched for among all the others by cosine; alike is what has the same label."""
    parts = []
    for start in range(0, len(codes), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(codes)))
        relevant = label[rows, None] == label[None]
        parts.append(judged(hits(cosines(codes[rows], codes), relevant, rows), rows))
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    return Ranked(**joined)


def scores(ranked: Ranked, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Means over the queries: `recall@k`, `map` and `map@r`; NaN where no query has an answer."""
    values = {f"recall@{k}": ranked.recall(k) for k in ks}
    values |= {"map": ranked.average_precision, "map@r": ranked.precision_at_r}
    return {name: float(value.mean()) if len(value) else float("nan") for name, value in values.items()}
