"""What users, disks and strangers do to runs, hundreds of times: killed, damaged, starved, stopped, read, attacked.

A run of a few seconds is trained in processes of its own. Whatever happens to it, it has to end with the same bits as
the run that nothing happened to, or to say in one sentence what is wrong; docs/reliability.md shows the table.

deeplearn bench faults --quick
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from deeplearn import checkpoint, evaluation, loop, sealed
from deeplearn import train as training
from deeplearn.record import folder as record

from . import victim
from .company import growth, others
from .damage import damages, disks, strangers
from .suffering import Ground, Tally, at_call, later
from .victim import KINDS, digest, run

ANSWER = 10.0
"""Seconds in which a signal is answered; measured: one, the rest is for a busy machine."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """How often."""

    kills: int = 200
    """Kills, several a run."""
    damages: int = 500
    """Damaged files, and pairs of them."""
    strangers: int = 500
    """Run folders made to do harm."""
    minutes: float = 10.0
    """How long one run goes on while its memory, threads, descriptors and disk are watched."""
    quick: bool = False
    """A twentieth of all that, in about a minute."""
    seed: int | None = None
    """Of everything that is drawn; by default another each time. It is printed."""


def main(config: Config) -> int:
    """Run all, print the table; 1 where something did not hold."""
    seed = random.SystemRandom().randrange(2**32) if config.seed is None else config.seed
    kills, damaged, attacks = (round(n / (20 if config.quick else 1)) for n in _counts(config))
    tallies: list[Tally] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        ground = Ground(Path(name), random.Random(seed), {})
        jax.config.update("jax_compilation_cache_dir", f"{name}/programs")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        for kind in KINDS:
            made = ground.suffer(_whole, kind, ground.place / kind)
            assert made.code == 0, str(made)
            ground.whole[kind] = made.value
        for found in (
            killed(ground, kills),
            damages(ground, damaged),
            disks(ground, 1 if config.quick else 10),
            signals(ground, list(PHASES)[::3] if config.quick else list(PHASES), 1 if config.quick else 3),
            others(ground, 1 if config.quick else 4),
            strangers(ground, attacks),
            growth(ground, config.minutes * (1.5 if config.quick else 60)),
        ):
            for tally in found:
                print(tally, *tally.lost, sep="\n", file=sys.stderr, flush=True)
                tallies.append(tally)
    used = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    minutes = sum(part.ru_utime + part.ru_stime for part in used) / 60
    head = ["| fault | trials | held | bits equal | seconds (median) |", "|---|---|---|---|---|"]
    lost = [reason for tally in tallies for reason in tally.lost]
    print("\n".join([*head, *map(str, tallies), f"\n{minutes:.1f} CPU minutes, seed {seed}", *lost]))
    return 1 if lost else 0


def _whole(kind: str, folder: Path) -> dict[str, Any]:
    run(kind, folder)
    return digest(kind, folder)


def _counts(config: Config) -> tuple[int, int, int]:
    return config.kills, config.damages, config.strangers


def _places(draw: random.Random) -> Any:
    """A function that is called between the commit of a checkpoint and its seal, or while old ones go."""
    return draw.choice([(sealed, "seal"), (sealed, "partial"), (checkpoint.files, "sync"), (sealed, "remove")])


MOMENTS: dict[str, Callable[[random.Random], None]] = {
    "at any moment": lambda draw: later(draw.uniform(0, 2)),
    "while steps are trained": lambda draw: at_call(
        loop, "scalars", draw.randrange(8), lambda: later(draw.uniform(0, 0.05))
    ),
    "while a checkpoint is written": lambda draw: at_call(
        checkpoint.Store, "save", draw.randrange(6), lambda: later(draw.uniform(0, 0.06))
    ),
    "between commit and seal": lambda draw: at_call(*_places(draw), draw.randrange(8), lambda: later(0)),
    "while the record is written": lambda draw: at_call(
        record, "write_text", draw.randrange(6), lambda: later(draw.uniform(0, 0.003))
    ),
}
"""When a process kills itself."""


def killed(ground: Ground, count: int) -> Iterator[Tally]:
    """Runs of every kind, killed two to four times each, then left to end."""
    tallies = {moment: Tally(fault=f"kill -9 {moment}") for moment in MOMENTS}
    done = 0
    while done < count:
        kind, folder = ground.draw.choice(list(KINDS)), ground.fresh()
        moments = ground.draw.choices(list(MOMENTS), k=ground.draw.choice((2, 3, 4)))
        ends = [ground.suffer(_dying, kind, folder, moment, ground.draw.randrange(2**32)) for moment in moments]
        before = time.monotonic()
        lost = ground.again(kind, folder)
        seconds = time.monotonic() - before
        for moment, end in zip(moments, ends, strict=True):
            # A process may have come to its end before its moment came.
            if end.code == -signal.SIGKILL or end.code:
                problem = None if end.code == -signal.SIGKILL else str(end)
                tallies[moment].add(f"{kind}, {moments}", problem or lost, bits=lost is None, seconds=seconds)
                done += 1
        shutil.rmtree(folder)
    yield from tallies.values()


def _dying(kind: str, folder: Path, moment: str, seed: int) -> None:
    MOMENTS[moment](random.Random(seed))
    run(kind, folder)


PHASES: dict[str, tuple[Any, str, int]] = {
    "the data are loaded": (victim, "points", 0),
    "the state is made": (loop, "begin", 0),
    "the step is compiled": (loop, "_train", 0),
    "steps are trained": (loop, "scalars", 3),
    "a checkpoint is written": (checkpoint.Store, "save", 3),
    "an evaluation runs": (evaluation, "_one_pass", 0),
    "the last evaluation runs": (evaluation, "_one_pass", 2),
    "the competitor is measured": (training, "_competitors", 0),
    "the result is written": (training, "write_result", 0),
}
"""Phase -> a function that is called in it, and at which of its calls the signal comes."""


def signals(ground: Ground, phases: list[str], count: int) -> Iterator[Tally]:
    """SIGTERM, SIGHUP and Ctrl-C in every phase; the run that follows ends with the same bits."""
    for phase in phases:
        tally = Tally(fault=f"a signal while {phase}")
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)[:count]:
            folder, sent = ground.fresh(), ground.place / "sent"
            sent.unlink(missing_ok=True)
            ended = ground.suffer(_signalled, ground, phase, number, folder)
            took = time.time() - float(sent.read_text()) if sent.exists() else 0.0
            right = ended.code == 128 + number and not ended.traceback and took < ANSWER
            lost = ground.again("one fit", folder) if right else f"{number} after {took:.1f} s: {ended}"
            tally.add(signal.Signals(number).name, lost, bits=lost is None, seconds=took)
        yield tally
    yield _at_the_start(ground, 4 * count)


def _signalled(ground: Ground, phase: str, number: int, folder: Path) -> None:
    """What is interrupted would take another minute where a signal has to cut it short."""
    owner, name, nth = PHASES[phase]

    def send() -> None:
        (ground.place / "sent").write_text(str(time.time()))
        os.kill(os.getpid(), number)
        for _ in range(600 if name in ("_one_pass", "_competitors") else 0):
            time.sleep(0.1)

    at_call(owner, name, nth, send)
    run("one fit", folder)


def _at_the_start(ground: Ground, count: int) -> Tally:
    """A command that has hardly begun: the interpreter itself may still be at work."""
    tally = Tally(fault="SIGTERM in the first second of a command")
    words = [sys.executable, "-m", "deeplearn", "train", "classification", "--workdir"]
    for _ in range(count):
        command = subprocess.Popen([*words, str(ground.fresh())], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(ground.draw.uniform(0, 1))
        before = time.monotonic()
        command.terminate()
        said = command.communicate(timeout=60)[1].decode()
        right = command.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM) and "Traceback" not in said
        problem = None if right else f"exit {command.returncode}: {said[-300:]}"
        tally.add("start", problem, seconds=time.monotonic() - before)
    return tally


if __name__ == "__main__":
    import tyro

    sys.exit(main(tyro.cli(Config)))
