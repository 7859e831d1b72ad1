"""Statistics over repeated runs: mean and interval over seeds, and a paired comparison with a competitor."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from deeplearn.metrics import Drawn, Each


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A metric over several seeds; spread and bounds are None where one seed cannot give them."""

    mean: float
    sd: float | None = None
    """Standard deviation of a single run (n - 1 in the denominator)."""
    low: float | None = None
    high: float | None = None
    """95 % confidence bounds of the mean."""
    values: list[float]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("there are no values, of which an interval has one at least")


@dataclass(frozen=True, kw_only=True)
class Paired:
    """How much more one system has than another on the same test examples."""

    difference: float
    """Of the means."""
    low: float
    high: float
    """95 % percentile bounds of the difference."""
    p: float
    """Two-sided p-value of no difference."""


def paired(ours: Sequence[Each] | Sequence[Drawn], theirs: Each | Drawn, seed: int = 0) -> Paired:
    """A competitor against our run, whose values are the mean over its seeds: one `Each` or `Drawn` a seed."""
    if isinstance(theirs, Drawn):
        gaps = theirs.draws - np.mean([own.draws for own in ours], axis=0)
        return _compared(theirs.value - float(np.mean([own.value for own in ours])), gaps)
    mean = np.mean([own.values for own in ours], axis=0)
    return paired_bootstrap(theirs.values, mean, seed, groups=theirs.groups)


def interval(values: Sequence[float]) -> Interval:
    """Mean, standard deviation and Student's 95 % confidence interval of the mean of independent runs [n], n >= 1."""
    values = [float(value) for value in values]
    if len(values) < 2:
        return Interval(mean=values[0], values=values)
    with np.errstate(over="ignore", invalid="ignore"):  # Values near the largest float spread endlessly.
        mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    half = _student(float(len(values) - 1)) * sd / math.sqrt(len(values))
    return Interval(mean=mean, sd=sd, low=mean - half, high=mean + half, values=values)


def difference_interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """(difference b - a of the means, low, high): Welch's 95 % interval for independent runs; needs two values each."""
    with np.errstate(over="ignore", invalid="ignore"):
        va, vb = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
        difference, squares = float(np.mean(b) - np.mean(a)), (va + vb) ** 2
    if va + vb == 0:
        return difference, difference, difference
    if not math.isfinite(squares):
        return difference, -math.inf, math.inf
    freedom = squares / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = _student(freedom) * math.sqrt(va + vb)
    return difference, difference - half, difference + half


BUNDLES = 4000
"""Groups that are drawn at most; of more, bundles of as many drawn at random are. Their means vary by the bundle's root
less, so that the interval is the same but for a hundredth, and takes seconds instead of minutes."""


def paired_bootstrap(
    a: Shaped[np.ndarray, "N"],
    b: Shaped[np.ndarray, "N"],
    seed: int,
    resamples: int = 10_000,
    groups: Shaped[np.ndarray, "N"] | None = None,
) -> Paired:
    """Is system a better than system b on the same N test examples (Koehn, 2004)?

    Args:
        a, b: score of each example, such as 1 where the answer is right.
        seed: fixes the resamples.
        resamples: 10,000 keep the Monte-Carlo error of p = 0.05 below 0.005.
        groups: examples that share a value are drawn together; by default each is a group of its own.

    Returns:
        The mean of a - b with its 95 % percentile interval, and the two-sided p-value of no difference.
    """
    gaps = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    place = np.arange(len(gaps)) if groups is None else np.unique(groups, return_inverse=True)[1]
    # A resample is how often each distinct group is drawn: three numbers where single answers are right or wrong.
    kinds, counts = _kinds(gaps, place)
    rng = np.random.default_rng(seed)
    if len(counts) > BUNDLES:
        kinds, counts = _kinds(gaps, (rng.permutation(place.max() + 1) % BUNDLES)[place])
    totals, sizes = kinds
    share = counts / counts.sum()
    chunk = max(1, 10_000_000 // len(counts))  # 80 MB of counts at a time.
    drawn = (
        rng.multinomial(counts.sum(), share, size=min(chunk, resamples - start)) for start in range(0, resamples, chunk)
    )
    means = np.concatenate([(times @ totals) / (times @ sizes) for times in drawn])
    return _compared(float(gaps.mean()), means)


def _kinds(
    gaps: Float[np.ndarray, "N"], place: Int[np.ndarray, "N"]
) -> tuple[Float[np.ndarray, "2 G"], Int[np.ndarray, "G"]]:
    """The sum of the gaps in a group and its size, as distinct pairs [2, G]; and how many groups have each."""
    return np.unique(np.stack([np.bincount(place, gaps), np.bincount(place)]), axis=1, return_counts=True)


def bootstrap(
    statistic: Callable[[Int[np.ndarray, "R U"]], Float[np.ndarray, "R"]],
    strata: Shaped[np.ndarray, "U"],
    seed: int = 0,
    resamples: int = 2000,
) -> Drawn:
    """A statistic of U units (people, scenes, speakers), and of bootstrap samples of them.

    Two systems whose units, strata and seed agree are judged on the same samples, so that `paired` compares them.

    Args:
        statistic: how often each unit counts [R, U] -> the value of each of these samples [R].
        strata: units of one stratum (a fold) are drawn from among themselves.
        resamples: 2,000 keep the Monte-Carlo error of a 95 % bound below a tenth of the interval's width.
    """
    rng = np.random.default_rng(seed)
    times = np.zeros((resamples, len(strata)), np.int64)
    for name in np.unique(strata):
        own = np.flatnonzero(strata == name)
        times[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=resamples)
    chunks = (times[start : start + 200] for start in range(0, resamples, 200))  # A statistic may need a lot for each.
    whole = statistic(np.ones((1, len(strata)), np.int64))
    return Drawn(float(whole[0]), np.concatenate([statistic(chunk) for chunk in chunks]))


def bounds(draws: Float[np.ndarray, "R"]) -> tuple[float, float]:
    """The 95 % percentile interval."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _compared(difference: float, draws: Float[np.ndarray, "R"]) -> Paired:
    low, high = bounds(draws)
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(draws) + 1))  # + 1: the sample itself; p is never 0.
    return Paired(difference=difference, low=low, high=high, p=float(p))


def _student(freedom: float) -> float:
    """Two-sided 95 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))
