"""Random search for a competitor's settings on an inner split: the same budget for every competitor of every task.

Bergstra & Bengio, "Random search for hyper-parameter optimization" (2012). A network is chosen by hand over days; what
it is measured beside should not have been looked at for a minute only.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from deeplearn.errors import note

SETTINGS = 32
"""Settings to try, the usual ones first."""
SECONDS = 60.0
"""CPU seconds after which no other setting is begun, so that competitors do not decide how long a run takes."""
EARNEST = 100
"""Training steps from which on a network is no mere try, and its competitors get their whole budget."""

Setting = Mapping[str, Any]


class Space(NamedTuple):
    """What a competitor may be set to."""

    usual: Setting
    """What its authors or its library set."""
    draw: Callable[[np.random.Generator], Setting]
    """A random setting."""


class Searched(NamedTuple):
    """What a search found, and what it cost."""

    setting: Setting
    loss: float
    """On the inner split."""
    tried: int
    seconds: float
    """Of CPU time."""


def effort(steps: int) -> float:
    """The share of their budgets that competitors may spend beside a network of so many training steps."""
    return min(1.0, steps / EARNEST)


def search(
    name: str,
    space: Space,
    loss: Callable[[Setting], float],
    *,
    settings: int = SETTINGS,
    seconds: float = SECONDS,
    effort: float = 1.0,
    seed: int = 0,
) -> Searched:
    """The setting with the least loss on the inner split, the first of equals; what it took goes to standard error.

    Args:
        name: of the competitor.
        space: its settings.
        loss: of one of them.
        settings: to try at most.
        seconds: of CPU time, after which none is begun.
        effort: share of both to spend.
        seed: draws the settings.
    """
    settings, seconds = max(1, round(effort * settings)), effort * seconds
    rng, began = np.random.default_rng(seed), time.process_time()
    losses, tried = [], [space.usual, *(space.draw(rng) for _ in range(settings - 1))]
    with one_thread():
        for setting in tried:
            if losses and time.process_time() - began > seconds:
                break
            losses.append(float(loss(setting)))
            spent = f"{time.process_time() - began:.0f} of {seconds:.0f} s"
            progress(f"{name}: {len(losses)} of {settings} settings, {spent}")
    progress("")
    best, spent = int(np.nanargmin(losses)), time.process_time() - began
    short = f" of {settings}, for want of time" if len(losses) < settings else ""
    short += f" ({effort:.0%} of the usual effort, for a try of few steps)" if effort < 1 else ""
    words = (f"{key} {f'{value:.3g}' if isinstance(value, float) else value}" for key, value in tried[best].items())
    cost = f"{len(losses)} settings{short} on the inner split in {spent:.0f} CPU seconds"
    note(f"{name}: the best of {cost}: {', '.join(words)}")
    return Searched(tried[best], losses[best], len(losses), spent)


def progress(message: str) -> None:
    """A line on the terminal that the next one replaces, cut where the terminal is narrow; an empty one wipes it."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1  # Some terminals break a full line.
        print(f"{message[:width]:{width}}", end="\r", file=sys.stderr, flush=True)


def drawn(name: str, size: int, most: int, what: str = "rows") -> Int[np.ndarray, "M"]:
    """Numbers of the rows that a competitor learns from, in random order: all, or at most so many, which is said."""
    if most < size:
        progress("")
        note(f"{name}: learns from {most:,} of {size:,} {what}, drawn at random; all would take it too long")
    progress(f"{name}: learns from {min(most, size):,} {what} in the setting that was found")
    return np.random.default_rng(0).permutation(size)[:most]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between two, evenly on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number between two, about evenly on a logarithmic scale."""
    return round(between(rng, low, high))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let libraries compute with one thread: on a busy machine several wait for each other for minutes."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
