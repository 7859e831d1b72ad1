"""How time and memory grow with the data: what reads, groups and reports at sizes ten times apart, and the exponent.

An exponent of 1 is as much for ten times the data as for ten tables of a tenth; beyond 1.1 something is to be mended.

deeplearn bench growth --quick
"""

import math
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn.errors import UsageError

from . import records
from .made import CASES
from .report import publish
from .step import environments
from .worker import Worker


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is to grow."""

    cases: tuple[str, ...] = tuple(CASES)
    """By name."""
    rounds: int = 3
    """Samples of each size, of which the fastest counts."""
    quick: bool = False
    """Without the largest size."""
    output: Path = Path("runs/bench")
    """Folder for growth.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records."""
    for name in config.cases:
        if name not in CASES:
            raise UsageError(f"there is no case {name!r}; there are: {', '.join(CASES)}.")
    header = records.begin("growth")
    rows = [row for name in config.cases for row in _case(name, config)]
    publish(records.write(config.output / "growth.jsonl", header, rows))


def _case(name: str, config: Config) -> Iterator[dict[str, Any]]:
    """All sizes of one case: processor seconds of a process that did the same once before."""
    case, before = CASES[name], None
    for size in case.sizes[:-1] if config.quick else case.sizes:
        print(f"bench growth: {size:,} {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            case.write(Path(folder), size, np.random.default_rng(0))
            job = {"library": "growth", "case": name, "folder": folder, "clock": "cpu"}
            with Worker(job, environments()["jax"]) as worker:
                samples = [worker.sample(number, 1) for number in range(config.rounds)]
                peak = _peak(worker.process.pid)
        best = min(samples)
        exponent = None if before is None else exponent_of(before, (size, best))
        before = size, best
        yield {
            "case": {"name": name, "size": size},
            "samples": samples,
            "peak_bytes": peak,
            "exponent": exponent,
            "shown": {
                "what": name,
                "size": f"{size:,}",
                "CPU s, best": f"{best:.3g}",
                "MiB at most": "" if peak is None else f"{peak / 2**20:,.0f}",
                "exponent": "" if exponent is None else f"{exponent:.2f}",
            },
        }


def exponent_of(smaller: tuple[int, float], larger: tuple[int, float]) -> float:
    """x of seconds ~ size ** x between two (size, seconds)."""
    return math.log(larger[1] / smaller[1]) / math.log(larger[0] / smaller[0])


def work(job: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What the worker does: the case, once to warm up, then as often as it is asked to."""
    once = CASES[job["case"]].read
    folder = Path(job["folder"])
    once(folder)

    def run(number: int, calls: int) -> None:
        for _ in range(calls):
            once(folder)

    return run, {}


def _peak(process: int) -> int | None:
    """Bytes that a process had in memory at most; None where the system does not say."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
