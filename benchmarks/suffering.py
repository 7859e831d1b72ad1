"""Processes that are made to suffer, and the count of how they bore it."""

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from deeplearn.data.source import Arrays
from deeplearn.errors import DeeplearnError
from deeplearn.interrupt import Interrupted

from .victim import digest, run

ERRORS = {2, 65, 70, 74, 78}
"""Exit codes that come with one sentence."""


class Outcome(NamedTuple):
    """How a process ended."""

    code: int
    """Its exit code; negative: the signal that ended it."""
    value: Any
    """What its work returned."""
    said: str
    seconds: float

    @property
    def traceback(self) -> bool:
        return "Traceback" in self.said

    def __str__(self) -> str:
        return f"exit {self.code}: {self.said[-300:]}"


class Process(NamedTuple):
    """One that is at work."""

    number: int
    value: int
    """The pipe through which its value comes."""
    said: Path
    begun: float

    def wait(self) -> Outcome:
        with os.fdopen(self.value, "rb") as pipe:
            value = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])
        said = self.said.read_text(errors="replace")
        return Outcome(code, json.loads(value) if value else None, said, time.monotonic() - self.begun)


def start(said: Path, work: Callable[..., Any], *arguments: Any, **more: Any) -> Process:
    """A forked process, which need not import again what took seconds. The caller must not use JAX's devices."""
    reading, writing = os.pipe()
    begun = time.monotonic()
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.close(writing)
        return Process(child, reading, said, begun)
    code = 1
    try:
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have told it to ignore it
        os.write(writing, json.dumps(work(*arguments, **more)).encode())
        code = 0
    except (DeeplearnError, Interrupted) as error:
        print(f"deeplearn: {error}")
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


@dataclass(kw_only=True)
class Tally:
    """A line of the table."""

    fault: str
    trials: int = 0
    held: int = 0
    bits: int = 0
    """Trials after which everything had the bits of the run that nothing happened to."""
    seconds: list[float] = field(default_factory=list)
    """From the fault, or the start, to the end."""
    lost: list[str] = field(default_factory=list)

    def add(self, what: str, problem: str | None, *, bits: bool = False, seconds: float | None = None) -> None:
        self.trials += 1
        self.held += problem is None
        self.bits += bits
        self.seconds += [] if seconds is None else [seconds]
        self.lost += [] if problem is None else [f"{self.fault}: {what}: {problem}"]

    def __str__(self) -> str:
        spread = sorted(self.seconds)
        seconds = f"{spread[len(spread) // 2]:.1f}, at most {spread[-1]:.1f}" if spread else ""
        return f"| {self.fault} | {self.trials} | {self.held} | {self.bits or ''} | {seconds} |"


class Ground(NamedTuple):
    """Where it happens."""

    place: Path
    draw: random.Random
    whole: dict[str, Any]
    """Kind of experiment -> digest of the run that nothing happened to, which lies below `place`."""

    def fresh(self) -> Path:
        """A path at which nothing lies."""
        return self.place / f"{self.draw.randrange(10**12)}"

    def copy(self, kind: str) -> Path:
        """A run that nothing has happened to yet."""
        return shutil.copytree(self.place / kind, self.fresh())

    def start(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Process:
        """Work that goes on in a process of its own."""
        return start(self.fresh().with_suffix(".said"), work, *arguments, **more)

    def suffer(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Outcome:
        """How that ends."""
        return start(self.place / "said", work, *arguments, **more).wait()

    def again(self, kind: str, folder: Path, *, logs: bool = True) -> str | None:
        """Start a run once more, to the end, and compare everything; says what is not as it should be."""
        ended = self.suffer(run, kind, folder)
        if ended.code or ended.traceback:
            return str(ended)
        found = self.suffer(digest, kind, folder)
        if found.code:
            return str(found)
        odd = [name for name, value in self.whole[kind].items() if found.value.get(name) != value]
        return next((f"{name} differs" for name in odd if logs or not name.endswith(".jsonl")), None)


def later(seconds: float, number: int = signal.SIGKILL) -> None:
    """Send this process a signal after a while."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()


def at_call(owner: Any, name: str, nth: int, do: Callable[[], None]) -> None:
    """Let the nth call of a function do something first. Only in a process of its own."""
    real, calls = getattr(owner, name), iter(range(10**9))

    def called(*arguments: Any, **more: Any) -> Any:
        if next(calls) == nth:
            do()
        return real(*arguments, **more)

    setattr(owner, name, called)


def slowly(seconds: float) -> None:
    """Let every batch take so long, so that others can look on. Only in a process of its own."""
    rows = Arrays.rows

    def waiting(self: Arrays, step: int) -> Any:
        time.sleep(seconds)
        return rows(self, step)

    Arrays.rows = waiting
