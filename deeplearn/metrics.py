"""Metrics as bags of sums: adding two metrics gives the metric of the union of their examples.

All-reduce over devices, accumulation over microbatches, merging of evaluation batches and padded rows (weight 0) are
then one and the same operation: addition. The one division happens in `compute`, on the host.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, ArrayLike, Float, Int, Num, PyTree, Shaped


class Metric(struct.PyTreeNode):
    """A tree of sums. Subclasses say how to divide them."""

    def __add__(self, other: Self) -> Self:
        return jax.tree.map(lambda a, b: a + b, self, other)

    def compute(self) -> Any:
        """The metric's value as Python numbers (a float, or an array for tables); call it once, on the host."""
        raise TypeError(f"{type(self).__name__} does not say how to compute itself")


def _weights(weight: ArrayLike | None, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Weights [B] spread over values [B, ...]; all ones where none are given."""
    if weight is None:
        return jnp.ones(shape, jnp.float32)
    weight = jnp.asarray(weight, jnp.float32)
    return jnp.broadcast_to(weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim)), shape)


def _weighted_sum(values: ArrayLike, weight: Float[Array, "..."]) -> Float[Array, ""]:
    """Sum of weight * value in float32, where a NaN under weight 0 (padding) does not count."""
    values = jnp.asarray(values).astype(jnp.float32)
    return jnp.sum(jnp.where(weight > 0, values * weight, jnp.float32(0)))


def _divide(total: ArrayLike, count: ArrayLike) -> float:
    count = float(count)
    return float(total) / count if count else math.nan


class Mean(Metric):
    """Weighted arithmetic mean; NaN where nothing was counted."""

    total: Float[Array, ""]
    count: Float[Array, ""]

    @classmethod
    def of(cls, values: ArrayLike, weight: ArrayLike | None = None) -> Self:
        """values [B, ...], weight [B] or any leading part of the shape of `values`; weight 0 is padding."""
        weight = _weights(weight, jnp.shape(values))
        return cls(total=_weighted_sum(values, weight), count=weight.sum())

    def compute(self) -> float:
        return _divide(self.total, self.count)


class Root(Mean):
    """Square root of a mean, as in the root mean squared error: `Root.of((p - y) ** 2, mask)`."""

    def compute(self) -> float:
        return math.sqrt(super().compute())


class Contingency(Metric):
    """Counts [R, C] of rows (truth) against columns (prediction): confusion matrix or cluster table."""

    counts: Float[Array, "R C"]

    @classmethod
    def of(
        cls, rows: Int[Array, "..."], columns: Int[Array, "..."], weight: ArrayLike | None, *, shape: tuple[int, int]
    ) -> Self:
        """rows and columns [...], same shape; weight [B] on the leading axis."""
        weight = _weights(weight, jnp.shape(rows))
        # A product of one-hot matrices instead of a scatter: it is exact in float32 below 2**24 and shards over rows.
        left = jax.nn.one_hot(rows.ravel(), shape[0], dtype=jnp.float32) * weight.ravel()[:, None]
        right = jax.nn.one_hot(columns.ravel(), shape[1], dtype=jnp.float32)
        return cls(counts=jnp.einsum("nr,nc->rc", left, right, precision="highest"))

    def compute(self) -> np.ndarray:
        return np.asarray(self.counts)


class Calibration(Metric):
    """Expected calibration error over equal-width bins of confidence (Naeini et al., 2015; Guo et al., 2017)."""

    count: Float[Array, "bins"]
    confidence: Float[Array, "bins"]
    correct: Float[Array, "bins"]

    @classmethod
    def of(cls, probabilities: Float[Array, "B C"], labels: Int[Array, "B"], weight: ArrayLike, bins: int = 15) -> Self:
        """15 bins as in Guo et al.; bin i holds confidences in (i/bins, (i+1)/bins]."""
        confidence = probabilities.max(-1)
        hit = (probabilities.argmax(-1) == labels).astype(jnp.float32)
        place = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
        one_hot = (
            jax.nn.one_hot(place, bins, dtype=jnp.float32) * _weights(weight, confidence.shape)[:, None]
        )  # [B, bins]
        return cls(count=one_hot.sum(0), confidence=confidence @ one_hot, correct=hit @ one_hot)

    def compute(self) -> float:
        gap = np.abs(np.asarray(self.correct, np.float64) - np.asarray(self.confidence, np.float64)).sum()
        return _divide(gap, np.asarray(self.count, np.float64).sum())


class Moments(Metric):
    """Sums of a prediction and a target, for the coefficient of determination and Pearson's correlation.

    Values are first shifted by a constant `origin` (pass a typical target): the sums of squares then keep their digits.
    """

    count: Float[Array, ""]
    x: Float[Array, ""]
    y: Float[Array, ""]
    xx: Float[Array, ""]
    yy: Float[Array, ""]
    xy: Float[Array, ""]

    @classmethod
    def of(
        cls, prediction: Float[Array, "B"], target: Float[Array, "B"], weight: ArrayLike, origin: float = 0.0
    ) -> Self:
        weight = _weights(weight, prediction.shape)
        x, y = prediction - jnp.float32(origin), target - jnp.float32(origin)
        sums = [_weighted_sum(v, weight) for v in (x, y, x * x, y * y, x * y)]
        return cls(weight.sum(), *sums)


class R2(Moments):
    """Coefficient of determination, 1 - residual / total sum of squares (sklearn's `r2_score`)."""

    def compute(self) -> float:
        n, _, y, xx, yy, xy = (float(v) for v in jax.tree.leaves(self))
        return 1 - _divide(xx - 2 * xy + yy, yy - y * y / n) if n else math.nan


class Correlation(Moments):
    """Pearson's correlation of prediction and target."""

    def compute(self) -> float:
        n, x, y, xx, yy, xy = (float(v) for v in jax.tree.leaves(self))
        return (n * xy - x * y) / math.sqrt((n * xx - x * x) * (n * yy - y * y)) if n else math.nan


def regression(
    value: Float[Array, "B"], true: Float[Array, "B"], mask: Float[Array, "B"], typical: float, *, positive: bool = True
) -> dict[str, Metric]:
    """Errors in the values' unit and, of positive ones, in shares and of logarithms; scikit-learn's definitions."""
    gap, tiny = jnp.abs(value - true), jnp.float32(1e-6)  # padding has a value of zero
    found = {"mae": Mean.of(gap, mask), "rmse": Root.of(gap**2, mask), "r2": R2.of(value, true, mask, typical)}
    if not positive:
        return found
    return found | {
        "mape": Mean.of(gap / jnp.maximum(true, tiny), mask),
        "log_rmse": Root.of((jnp.log(jnp.maximum(value, tiny)) - jnp.log(jnp.maximum(true, tiny))) ** 2, mask),
    }


def regression_of(
    true: Float[np.ndarray, "N"],
    value: Float[np.ndarray, "N"],
    *,
    positive: bool = True,
    groups: Shaped[np.ndarray, "N"] | None = None,
) -> dict[str, Any]:
    """`regression` of a whole test, and each row's error, to be compared with a competitor's; `groups` as in `Each`."""
    rows = (jnp.asarray(v, jnp.float32) for v in (value, true, np.ones(len(true))))
    errors = {"absolute_error": np.abs(value - true)}
    if positive:
        errors["log_error"] = np.abs(np.log(np.maximum(value, 1e-6) / true))
    found = computed(regression(*rows, float(true.mean()), positive=positive))
    return found | {name: Each(error, groups) for name, error in errors.items()}


def top_k_hits(logits: Float[Array, "B C"], labels: Int[Array, "B"], k: int) -> Float[Array, "B"]:
    """1 where the label is among the k largest logits [B]; of equal logits the first is the larger, as in `argmax`.

    A row that holds a NaN predicts nothing, and is no hit.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    earlier = jnp.arange(logits.shape[-1])[None] < labels[:, None]
    before = (logits > own) | ((logits == own) & earlier)
    return ((before.sum(-1) < k) & ~jnp.isnan(logits).any(-1)).astype(jnp.float32)


def computed(metrics: dict[str, Metric]) -> dict[str, Any]:
    """Every metric's value, after one transfer from the device."""
    return {name: metric.compute() for name, metric in jax.device_get(metrics).items()}


class Each(NamedTuple):
    """A value for each of N test examples, among a run's results: compared with a competitor's, not reported."""

    values: Shaped[np.ndarray, "N"]
    groups: Shaped[np.ndarray, "N"] | None = None
    """What ties examples together, such as a day: the bootstrap draws whole groups."""


class Drawn(NamedTuple):
    """A value that is no mean over examples, such as an equal error rate: compared with a competitor's draw by draw."""

    value: float
    draws: Float[np.ndarray, "R"]
    """The same of R bootstrap samples of what repeats (people, scenes), the same samples for every system."""


class Named(NamedTuple):
    """A table among a run's results whose rows and columns have names that are not `Fitted.classes`."""

    values: Num[np.ndarray, "R C"]
    classes: Sequence[str]


Results = dict[str, Any]
"""`{"test/accuracy": 0.98, "test/confusion": array [C, C], ...}`; with several seeds together, a list per name."""


def values_of(sums: Mapping[str, Metric], lanes: int) -> dict[str, Any]:
    """name -> value, or a list of values [S] where the sums are those of several lanes."""
    if lanes == 1:
        return computed(sums)
    each = [computed(lane_of(sums, lane)) for lane in range(lanes)]
    return {name: [values[name] for values in each] for name in each[0]}


def lane_of(tree: PyTree, lane: int) -> PyTree:
    """One seed's part of a tree with leaves [S, ...]."""
    return jax.tree.map(lambda leaf: leaf[lane], tree)


def scalars(results: Results) -> dict[str, float]:
    """What a log line can hold: numbers, and the mean over seeds that train together."""
    return {name: float(np.mean(values)) for name, values in numbers(results).items()}


def numbers(results: Results) -> dict[str, list[float]]:
    """The numbers among results, one of each seed that trains together; no tables and no values of single examples."""
    each = {name: value if isinstance(value, list) else [value] for name, value in results.items()}
    each = {name: [v.value if isinstance(v, Drawn) else v for v in own] for name, own in each.items()}
    return {name: v for name, v in each.items() if not isinstance(v[0], Each | Named) and np.ndim(v[0]) == 0}
