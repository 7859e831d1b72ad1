"""SIGTERM and Ctrl-C as a question the loop asks between dispatches, so that a run saves before it exits."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import jax
from jax.experimental import multihost_utils

from deeplearn.errors import DeeplearnError


class Interrupted(DeeplearnError):
    """The run stopped on a signal after its checkpoint was sealed; the exit code is the shell's 128 + signal."""

    def __init__(self, number: int, step: int, folder: Path):
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}, checkpoint saved; "
            f"resume with --workdir {folder}"
        )
        self.exit_code = 128 + number


@contextmanager
def signals() -> Iterator[Callable[[int], int | None]]:
    """A function of the step that tells the signal to stop on, if any. A second Ctrl-C interrupts at once.

    With several processes JAX's own notifier listens to SIGTERM and makes all of them agree on one step; a Python
    handler would displace it, so none is installed. The step must then be asked about equally often by all.
    """
    received: list[int] = []
    if jax.process_count() > 1:
        yield lambda step: signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else None
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: None
        return

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda step: received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
