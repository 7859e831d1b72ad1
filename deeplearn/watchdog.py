"""Notice a training that is alive and does nothing: a dead loop, a hung disk, a sum that another never joins."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

STUCK = 76
"""Exit code of a process that made no step for too long: start the run again, and it resumes."""
TIMES = 20
"""A pause is no pause yet if the run had one a twentieth as long before: evaluations, compilations, slow disks."""
FIRST = 4
"""So many times longer may the first sign take: before it the program is compiled."""
LOOKS = 50
"""Looks in the shortest time that may be too long."""
DUMP_SECONDS = 10
"""Longest wait for the stacks to be written: the disk may be what hangs."""


@contextmanager
def watched(folder: Path, seconds: float | None, name: str = "") -> Iterator[Callable[[], None]]:
    """A function to call at every sign of life. Without one for long the process ends, with its stacks in the folder.

    Args:
        seconds: without a sign that are too many, where `TIMES` the longest pause so far is not more; None never ends.
        name: of this process among several, for the name of its file.
    """
    signs, over = [0], threading.Event()

    def live() -> None:
        signs[0] += 1

    def watch(limit: float) -> None:
        seen, quiet, longest, looked = 0, 0.0, 0.0, time.monotonic()
        while not over.wait(limit / LOOKS):
            now = time.monotonic()
            # A stopped process (SIGSTOP, a laptop asleep) is not stuck: only the time that this thread lived counts.
            quiet, looked = quiet + min(now - looked, 2 * limit / LOOKS), now
            if signs[0] != seen:
                seen, longest, quiet = signs[0], max(longest, quiet if seen else 0.0), 0.0
            elif quiet > (max(limit, TIMES * longest) if seen else FIRST * limit):
                _end(folder / f"stacks{name}.txt", quiet, longest)

    if seconds is not None:
        threading.Thread(target=watch, args=(seconds,), name="watchdog", daemon=True).start()
    try:
        yield live
    finally:
        over.set()


def _end(path: Path, quiet: float, longest: float) -> None:
    """Say so, write down what every thread is doing, and go without waiting for any of them."""

    def dump() -> None:
        print(
            f"deeplearn: no step for {quiet:.0f} seconds (the longest so far took {longest:.0f}); {path} shows where; "
            "start the run again to resume, or raise --stuck-seconds.",
            file=sys.stderr,
            flush=True,
        )
        with path.open("w") as file:
            faulthandler.dump_traceback(file)

    writer = threading.Thread(target=dump, daemon=True)
    writer.start()
    writer.join(DUMP_SECONDS)
    os._exit(STUCK)
