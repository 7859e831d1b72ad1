"""Random search for a competitor's settings on an inner split: the same budget for every competitor of every task.

Bergstra & Bengio, "Random search for hyper-parameter optimization" (2012). A network is chosen by hand over days; what
it is measured beside should not have been looked at for a minute only.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from deeplearn.errors import note

SETTINGS = 32
"""Settings to try, the usual ones first."""
SECONDS = 60.0
"""CPU seconds after which no other setting is begun, so that competitors do not decide how long a run takes."""

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


def search(
    name: str,
    space: Space,
    loss: Callable[[Setting], float],
    *,
    settings: int = SETTINGS,
    seconds: float = SECONDS,
    seed: int = 0,
) -> Searched:
    """The setting with the least loss on the inner split, the first of equals; what it took goes to standard error."""
    rng, began = np.random.default_rng(seed), time.process_time()
    losses, drawn = [], [space.usual, *(space.draw(rng) for _ in range(settings - 1))]
    with one_thread():
        for setting in drawn:
            if losses and time.process_time() - began > seconds:
                break
            losses.append(float(loss(setting)))
            if sys.stderr.isatty():
                spent = f"{time.process_time() - began:.0f} of {seconds:.0f} s"
                print(f"{name}: {len(losses)} of {settings} settings, {spent}", end="\r", file=sys.stderr, flush=True)
    best, spent = int(np.nanargmin(losses)), time.process_time() - began
    short = f" of {settings}, for want of time" if len(losses) < settings else ""
    words = (f"{key} {f'{value:.3g}' if isinstance(value, float) else value}" for key, value in drawn[best].items())
    cost = f"{len(losses)} settings{short} on the inner split in {spent:.0f} CPU seconds"
    note(f"{name}: the best of {cost}: {', '.join(words)}")
    return Searched(drawn[best], losses[best], len(losses), spent)


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
