"""SIGTERM, SIGHUP and Ctrl-C: a question that the loop asks between dispatches, so that a run saves before it exits;
an exception in evaluations, which may be long; the end at once where there is nothing to save."""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_ASKED = itertools.count(1)
"""How often this process has asked its peers whether to stop. JAX lets all of them stop at the highest number that one
has asked with, plus one: steps of a resumed run, or a second fit that counts anew, would put that off to the end."""
Handler = Callable[[int, FrameType | None], None]


class Interrupted(BaseException):
    """The run stopped on a signal; the exit code is the shell's 128 + signal.

    Like KeyboardInterrupt it is no Exception, which libraries catch and go on.
    """

    def __init__(self, number: int, told: str):
        super().__init__(f"stopped by {signal.Signals(number).name} {told}")
        self.exit_code = 128 + number


@contextmanager
def promptly(told: str) -> Iterator[None]:
    """Inside, a signal ends the process at once; `told` completes "stopped by SIGTERM ...".

    Not by an exception: Python drops those that come up in its own callbacks, and an import makes other errors of them.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        os.write(2, f"deeplearn: stopped by {signal.Signals(number).name} {told}\n".encode())
        os._exit(128 + number)

    with _handled(stop):
        yield


class Stop:
    """What `signals` hands out: whether, and how, to stop."""

    def __init__(self, asked: Callable[[], int | None]):
        self.asked = asked
        """The signal to stop on, if any. Several processes have to ask equally often, and get the same answer."""
        self.told: str | None = None
        """Not None inside `at_once`."""

    def check(self) -> None:
        """Raise Interrupted if there was a signal: for `at_once`, between pieces of work that take seconds."""
        if number := self.asked():
            raise Interrupted(number, self.told or "")

    @contextmanager
    def at_once(self, told: str) -> Iterator[None]:
        """Inside, a signal raises Interrupted: in one process wherever it is, in several where they `check`."""
        self.told = told
        try:
            self.check()
            yield
        except Exception:
            self.check()  # Whatever a library has made of it.
            raise
        finally:
            self.told = None


@contextmanager
def signals() -> Iterator[Stop]:
    """Note signals, so that they can be asked for. A second Ctrl-C interrupts at once.

    With several processes JAX's own notifier listens to SIGTERM and makes all of them agree when to stop; a Python
    handler would displace it, so none is installed.
    """
    import jax  # The command line handles signals before it can wait for this import.
    from jax.experimental.multihost_utils import reached_preemption_sync_point

    if jax.process_count() > 1:
        yield Stop(lambda: signal.SIGTERM if reached_preemption_sync_point(next(_ASKED)) else None)
        return
    received: list[int] = []
    stop = Stop(lambda: received[0] if received else None)

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        if stop.told is not None:
            raise Interrupted(number, stop.told)

    with _handled(note):
        yield stop


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    """Signals go to the handler; not those that the user wants ignored (nohup), and not outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
