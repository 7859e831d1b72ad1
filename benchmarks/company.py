"""What else goes on beside a run: another training, readers, time."""

import contextlib
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from deeplearn.files import below
from deeplearn.sealed import steps

from .suffering import Ground, Tally, at_call, slowly
from .victim import Arrays, digest, run, use

ALLOWED = {"MiB of memory": 16.0, "threads": 2.0, "descriptors": 2.0, "MiB on disk": 1.0}
"""What may come and go: the allocator's arenas, a file that is being written."""


WARM = 1000
"""Steps after which pools of threads and buffers have their size."""


def others(ground: Ground, count: int) -> Iterator[Tally]:
    """A second training in the folder, readers of it, a process that is alive and stuck."""
    second, readers = Tally(fault="a second training in the folder"), Tally(fault="predict on a run under way")
    stuck = Tally(fault="alive and stuck, --stuck-seconds 2")
    for _ in range(count):
        folder = ground.fresh()
        first = ground.start(_slow, 0.03, folder, save_every=2)
        while not list(folder.glob("checkpoints/*/SEAL.json")):
            time.sleep(0.05)
        ended = ground.suffer(run, "one fit", folder)
        looks = [ground.suffer(use, "one fit", folder) for _ in range(3)]
        found = first.wait()
        same = ground.suffer(digest, "one fit", folder).value == ground.whole["one fit"]
        whole = None if found.code == 0 and same else f"the first: {found}"
        refused = ended.code == 78 and "is in use by process" in ended.said
        second.add("second", whole if refused else str(ended), bits=same, seconds=ended.seconds)
        for look in looks:
            readers.add("reader", whole if look.code == 0 else str(look), bits=same)
        folder = ground.fresh()
        ended = ground.suffer(_stuck, folder)
        told = ended.code == 76 and "in _hang" in (folder / "stacks.txt").read_text()
        lost = ground.again("one fit", folder) if told else str(ended)
        stuck.add("stuck", lost, bits=lost is None, seconds=ended.seconds)
    yield from (second, readers, stuck)


def _slow(seconds: float, folder: Path, **knobs: int) -> None:
    slowly(seconds)
    run("one fit", folder, **knobs)


def _stuck(folder: Path) -> None:
    at_call(Arrays, "rows", 40, _hang)
    run("one fit", folder, stuck_seconds=2.0)


def _hang() -> None:
    while True:
        time.sleep(1)


def growth(ground: Ground, seconds: float) -> Iterator[Tally]:
    """One run that saves, evaluates and logs all the time: its last quarter may hold no more than its second."""
    tally = Tally(
        fault=f"{seconds / 60:.1f} minutes of saving, evaluating, logging: memory, threads, descriptors, disk"
    )
    folder = ground.fresh()
    every = {"save_every": 25, "eval_every": 50, "log_every": 50}
    process = ground.start(_slow, 0.04, folder, steps=10**6, **every)
    samples: list[tuple[float, ...]] = []
    while max(steps(folder / "checkpoints"), default=0) < WARM:
        time.sleep(0.1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(seconds / 100)
        samples.append(_held(process.number, folder))
    os.kill(process.number, signal.SIGTERM)
    ended, quarter = process.wait(), len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    for column, (name, allowed) in enumerate(ALLOWED.items()):
        before, after = (statistics.median(sample[column] for sample in part) for part in (early, late))
        grown = f"{before:.1f} {name} became {after:.1f}"
        print(grown, file=sys.stderr)
        right = ended.code == 143 and after <= before + allowed
        tally.add(name, None if right else f"{grown}; {ended}")
    yield tally


def _held(process: int, folder: Path) -> tuple[float, ...]:
    """What a process holds; its logs may grow."""
    place = Path(f"/proc/{process}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    disk = 0
    for path in below(folder):
        with contextlib.suppress(FileNotFoundError):
            disk += path.stat().st_size if path.name != "metrics.jsonl" and "tfevents" not in path.name else 0
    memory = float(status["VmRSS"].split()[0]) / 1024
    return memory, float(status["Threads"]), float(len(list((place / "fd").iterdir()))), disk / 2**20
