"""What the loop says while it works: metrics.jsonl always, TensorBoard events, and the console on stderr."""

import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax

from deeplearn import files
from deeplearn.record.folder import write_text
from deeplearn.record.sinks import Name, Sink, sink

REFRESH = 0.25
"""Seconds between redraws of the progress bar; the loop draws it, so that no thread competes with the training."""
WINDOW = 3.0
"""Seconds over which the speed is measured: steps end in groups, so single lines are milliseconds or seconds apart."""
BAR = 8
"""Characters of the line that the count and the speed leave to a bar that can be seen, and what stands between."""
SYNC = 5.0
"""Seconds between syncs of the event file: tensorboardX waits for the disk each time, which takes milliseconds."""


class Log:
    """Handed out by `log_to`; messages can be said at once, values written after `start`."""

    def __init__(self, folder: Path, total_steps: int, quiet: bool, more: Sequence[Name], stack: ExitStack):
        self._folder, self._total, self._more, self._stack = folder, total_steps, more, stack
        self._writes = jax.process_index() == 0
        self._console = _Console(total_steps, quiet=quiet or not self._writes)
        self._sinks: list[Sink] = []
        stack.callback(self._console.close)

    def start(self, step: int, batch: int = 0, *, again: bool = False) -> None:
        """Go on after `step` updates: what an interrupted run logged past them is removed from metrics.jsonl.

        Args:
            step: updates already done.
            batch: examples a step, to show examples a second; 0 shows steps alone.
            again: the evaluation at `step` comes once more, and what it gave before is removed, too.
        """
        self._console.start(step, batch)
        if self._writes:
            path = self._folder / "metrics.jsonl"
            self._sinks = [
                _jsonl(path, rewind(path, step, again=again), self._stack),
                _tensorboard(self._folder, step, self.say, self._stack),
                self._console.write,
                *(sink(name, self._folder, self._stack) for name in self._more),
            ]

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record values such as {"train/loss": 0.3} after `step` updates; StorageError where the disk refuses."""
        numbers = {name: float(value) for name, value in values.items()}
        for write in self._sinks if numbers else ():
            write(step, numbers)

    def progress(self, step: int) -> None:
        """Say that `step` updates have been dispatched; cheap enough for every step."""
        self._console.progress(step)

    def say(self, message: str) -> None:
        """One line for the user, now."""
        self._console.say(message)


@contextmanager
def log_to(folder: Path, total_steps: int, *, quiet: bool = False, sinks: Sequence[Name] = ()) -> Iterator[Log]:
    """The log of one run of `total_steps` updates.

    Args:
        quiet: show no progress on the console, only what is said.
        sinks: where metrics go besides (see `sinks`).
    """
    with ExitStack() as stack:
        yield Log(folder, total_steps, quiet, sinks, stack)


def rewind(path: Path, step: int, *, again: bool = False) -> float:
    """Drop lines after `step` (with `again` its evaluation's, too) and torn ones; returns the last line's seconds."""
    if not path.exists():
        return 0.0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    kept, seconds = [], 0.0
    for line in lines:
        try:
            entry = json.loads(line)
            evaluated = any(not name.startswith("train/") for name in entry.keys() - {"step", "seconds"})
            if entry["step"] < step + (not (again and evaluated)):
                seconds = float(entry["seconds"])
                kept.append(line)
        except (ValueError, TypeError, KeyError, AttributeError):  # The run was killed while it wrote this line.
            continue
    write_text(path, "".join(f"{line}\n" for line in kept))
    return seconds


def _jsonl(path: Path, seconds: float, stack: ExitStack) -> Sink:
    """A line a call, unbuffered, so that a killed run loses nothing that it showed."""
    start = time.monotonic() - seconds
    with _refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = stack.enter_context(path.open("ab", buffering=0))

    def write(step: int, values: Mapping[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}  # JSON has no NaN.
        line = json.dumps({"step": step, "seconds": round(time.monotonic() - start, 3), **finite})
        with _refusals(path):
            file.write(f"{line}\n".encode())

    return write


def _tensorboard(folder: Path, start_step: int, say: Callable[[str], None], stack: ExitStack) -> Sink:
    """Event files through tensorboardX, which is imported at the first write."""
    writer: list[Sink | None] = []  # Empty before the first write.

    def write(step: int, values: Mapping[str, float]) -> None:
        if not writer:
            writer.append(_event_writer(folder, start_step, say, stack))
        if writer[0] is not None:
            with _refusals(folder):
                writer[0](step, values)

    return write


def _event_writer(folder: Path, start_step: int, say: Callable[[str], None], stack: ExitStack) -> Sink | None:
    """Writes records itself: tensorboardX's SummaryWriter starts a thread and puts the host's name into the file's."""
    try:
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
    except ImportError:
        say("tensorboardX is not installed: no TensorBoard events; metrics.jsonl holds all metrics")
        return None
    with _refusals(folder):
        records = RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns() // 1000}"))
    stack.enter_context(_refusals(folder))  # Closing writes what is buffered.
    stack.callback(records.close)
    records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    # TensorBoard forgets what earlier files hold from this step on.
    restart = SessionLog(status=SessionLog.START)
    records.write(Event(wall_time=time.time(), step=start_step + 1, session_log=restart).SerializeToString())

    flushed = time.monotonic()

    def write(step: int, values: Mapping[str, float]) -> None:
        nonlocal flushed
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        records.write(Event(wall_time=time.time(), step=step, summary=summary).SerializeToString())
        if time.monotonic() - flushed > SYNC:
            flushed = time.monotonic()
            records.flush()

    return write


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise files.unwritable(path, error) from error


class _Console:
    """A progress bar on a terminal, plain lines elsewhere; silent but for messages when quiet."""

    def __init__(self, total_steps: int, quiet: bool):
        self._total, self._batch, self._quiet = total_steps, 0, quiet
        self._first: tuple[int, float] | None = None  # (step, time) after compilation, that is, after the first step.
        self._marks: deque[tuple[int, float]] = deque()  # The same for the lines of the last seconds.
        self._drawn = 0.0
        self._bar: Any = None

    def start(self, step: int, batch: int) -> None:
        self._batch = batch
        self._bar = None if self._quiet else _bar(self._total, step)

    def progress(self, step: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = (step, now)
            self._marks.append(self._first)
        if self._bar is not None and now - self._drawn > REFRESH:
            self._drawn = now
            self._bar.update(self._bar.task_ids[0], completed=step)
            self._bar.refresh()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self._quiet:
            return
        count = f"{self._total}/{self._total}"
        speed = self._speed(step, math.inf if self._bar is None else self._bar.console.width - len(count) - BAR)
        if self._bar is None:
            self.say(f"step {step}/{self._total} {described(values)}" + (f" | {speed}" if speed else ""))
            return
        if any(not name.startswith("train/") for name in values):  # Evaluations stay on the screen above the bar.
            self.say(f"step {step}/{self._total} {described(values)}")
        else:
            self._bar.update(
                self._bar.task_ids[0], completed=step, speed=speed and f"{speed} |", text=described(values)
            )

    def _speed(self, step: int, room: float) -> str:
        """Rate of the last seconds, and the time left at the average rate; empty before there is one.

        Args:
            room: characters; examples a second are left out where they are too many.
        """
        now = time.monotonic()
        if self._first is None or step <= self._marks[-1][0]:
            return ""
        self._marks.append((step, now))
        while len(self._marks) > 2 and now - self._marks[1][1] > WINDOW:
            self._marks.popleft()
        rate = (step - self._marks[0][0]) / max(now - self._marks[0][1], 1e-9)
        left = (self._total - step) * (now - self._first[1]) / (step - self._first[0])
        steps, rest = f"{_short(rate)} steps/s", f"{_clock(left)} left"
        whole = f"{steps}, {_short(rate * self._batch)} examples/s | {rest}"
        return whole if self._batch and len(whole) <= room else f"{steps} | {rest}"

    def say(self, message: str) -> None:
        if self._bar is not None:
            self._bar.console.print(message, markup=False, highlight=False, soft_wrap=True)
        else:
            print(message, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar(total_steps: int, start_step: int) -> Any:
    """rich's progress bar on a terminal that can redraw a line, else None."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Metrics(ProgressColumn):
        """Cut where the line is too long: its column may shrink, as the bar's may, and its text is not wrapped."""

        def render(self, task: Task) -> Text:
            return Text(task.fields["text"], no_wrap=True, overflow="ellipsis")

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    count = MofNCompleteColumn(table_column=Column(no_wrap=True))
    speed = TextColumn("{task.fields[speed]}", markup=False)  # not wrapped either, so both stay whole
    bar = Progress(count, BarColumn(bar_width=24), speed, Metrics(), console=console, auto_refresh=False)
    bar.add_task("", total=total_steps, completed=start_step, speed="", text="compiling")
    bar.start()
    bar.refresh()
    return bar


def described(values: Mapping[str, float]) -> str:
    """{"train/loss": 0.3, "train/accuracy": 0.9} as "train loss 0.3 accuracy 0.9"."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        group, _, metric = name.rpartition("/")
        groups.setdefault(group, []).append(f"{metric} {value:.4g}")
    return " · ".join(" ".join([group, *metrics]).strip() for group, metrics in groups.items())


def _short(rate: float) -> str:
    for least, size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):  # 1532 says more than 1.53k.
        if rate >= least:
            return f"{rate / size:.3g}{unit}"
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
