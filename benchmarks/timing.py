"""The timer. All candidates run in turns, A B B A A B ..., so that a ratio holds when the machine drifts.

Compilation is timed apart from runs, warm-up lasts until it no longer helps, every call gets other inputs so that no
cache helps, and a difference counts only where the bootstrap interval and a signed-rank test say so.
"""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import jax
import numpy as np

Call = Callable[[int], Any]
"""Takes the running number of the call, to choose its inputs by, and returns what is to be waited for."""
Sampler = Callable[[int, int], float]
"""A candidate: (number of its first call, how many calls) -> seconds of them all."""
RESAMPLES = 2000
"""Of the bootstrap: the ends of a 95 % interval are then the 50th values from either end."""
SHORTEST = 1e-3
"""Seconds a sample should last: a clock and a loop of Python cost about a microsecond, which is then 0.1 %."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to measure a set of candidates."""

    rounds: int = 20
    """Samples of every candidate, unless `seconds` ends first."""
    fewest: int = 5
    """Samples that are taken even so."""
    seconds: float = 10.0
    """For all candidates together, after the warm-up."""
    warmup: float = 5.0
    """Most seconds of warm-up for one candidate."""
    shortest: float = SHORTEST
    """Seconds a sample lasts at least: as many calls as that takes."""
    rest: float = 0.03
    """Seconds of silence before a sample: idle threads of OpenBLAS spin for 2^26 cycles, some 25 ms."""


QUICK = Budget(rounds=8, fewest=3, seconds=1.0, warmup=0.5)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one call: one sample a round, in the order of the rounds."""

    samples: tuple[float, ...]
    calls: int = 1
    """Calls that each sample is the mean of."""

    @property
    def minimum(self) -> float:
        return min(self.samples)

    @property
    def median(self) -> float:
        return float(np.median(self.samples))

    @property
    def iqr(self) -> float:
        """Width of the middle half of the samples."""
        low, high = np.quantile(self.samples, (0.25, 0.75))
        return float(high - low)

    def summary(self) -> dict[str, float | int]:
        """For a record: seconds, and how many samples and calls they come from."""
        return {
            "min": self.minimum,
            "median": self.median,
            "iqr": self.iqr,
            "samples": len(self.samples),
            "calls": self.calls,
        }


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times longer the first took than the second."""

    value: float
    """Median over the rounds of the ratio within a round."""
    low: float
    high: float
    """95 % bootstrap interval over rounds."""
    p: float
    """Two-sided Wilcoxon signed-rank test of "no difference"."""

    @classmethod
    def of(cls, first: Timing, second: Timing, *, seed: int = 0) -> Self:
        """Paired by round: both saw the same weather."""
        logs = np.log(first.samples) - np.log(second.samples)
        drawn = np.random.default_rng(seed).integers(0, len(logs), (RESAMPLES, len(logs)))
        low, high = np.quantile(np.median(logs[drawn], axis=1), (0.025, 0.975))
        return cls(
            value=math.exp(np.median(logs)), low=math.exp(low), high=math.exp(high), p=signed_rank(logs.tolist())
        )

    @property
    def differs(self) -> bool:
        """Whether there is a difference beyond the noise: p < 0.01, and an interval without 1."""
        return self.p < 0.01 and not self.low <= 1 <= self.high


def signed_rank(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test: exact up to 25 differences, normal above; zeros do not count."""
    values = np.array([d for d in differences if d != 0])
    n = len(values)
    if n == 0:
        return 1.0
    size = np.abs(values)
    ranks = np.array([(np.sum(size < s) + np.sum(size <= s) + 1) / 2 for s in size])
    # Twice the ranks are whole numbers also where ties share one, so sums can index an array.
    doubled = np.rint(2 * ranks).astype(int)
    total, observed = int(doubled.sum()), int(doubled[values > 0].sum())
    extreme = min(observed, total - observed)
    if n <= 25:
        ways = np.zeros(total + 1)
        ways[0] = 1
        for rank in doubled:  # Each difference is positive or negative with equal chance.
            ways[rank:] += ways[:-rank].copy()
        return float(min(1.0, 2 * ways[: extreme + 1].sum() / 2.0**n))
    deviation = math.sqrt(float((doubled.astype(float) ** 2).sum())) / 2
    return math.erfc((total / 2 - extreme) / deviation / math.sqrt(2))


def rotated(function: Callable[..., Any], inputs: Sequence[Sequence[Any]]) -> Call:
    """`function` on the next argument list in turn, so that no call finds its own inputs in a cache."""
    return lambda number: function(*inputs[number % len(inputs)])


def compiled(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """The compiled program for these arguments (arrays or shapes), and the seconds of tracing and compiling it."""
    start = time.perf_counter()
    program = jax.jit(function, **options).lower(*arguments).compile()
    return program, time.perf_counter() - start


def timed(
    call: Call, *, wait: Callable[[Any], Any] = jax.block_until_ready, clock: Callable[[], float] = time.perf_counter
) -> Sampler:
    """A candidate in this process; `wait` gets every result (values that are not JAX's pass through the default)."""

    def sample(number: int, calls: int) -> float:
        start = clock()
        for i in range(number, number + calls):
            wait(call(i))
        return clock() - start

    return sample


def measure(candidates: Mapping[str, Sampler], budget: Budget = Budget()) -> dict[str, Timing]:
    """Time all candidates in turns; each round runs them in the reverse order of the round before."""
    calls = {name: _warm(sample, budget) for name, sample in candidates.items()}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    order, number, spent = list(candidates), 0, 0.0
    for done in range(budget.rounds):
        if done >= budget.fewest and spent > budget.seconds:
            break
        for name in order if done % 2 == 0 else reversed(order):
            number += calls[name]
            time.sleep(budget.rest)
            seconds = candidates[name](number, calls[name])
            spent += seconds
            samples[name].append(seconds / calls[name])
    return {name: Timing(samples=tuple(values), calls=calls[name]) for name, values in samples.items()}


def _warm(sample: Sampler, budget: Budget) -> int:
    """Call until three in a row are no longer 2 % faster than the best before; returns how many calls make a sample."""
    best, stale, number, spent = math.inf, 0, 0, 0.0
    while stale < 3 and (number < 2 or spent < budget.warmup):
        seconds = sample(number, 1)
        stale = stale + 1 if seconds > 0.98 * best else 0
        best = min(best, seconds)
        number, spent = number + 1, spent + seconds
    return max(1, math.ceil(budget.shortest / max(best, 1e-9)))


def conditions() -> dict[str, Any]:
    """What else decides a time: load average of the last minute, threads we may use, threads of the libraries."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"threads": usable, "pools": _pools()}
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 2)
    return found


def _pools() -> dict[str, int]:
    """Threads of every BLAS and OpenMP library in the process; empty where threadpoolctl is not installed."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return {}
    return {f"{pool['internal_api']}:{pool['prefix']}": pool["num_threads"] for pool in threadpool_info()}
