"""Seconds from a command to its first training step, with an empty compilation cache and a full one; share of imports.

deeplearn bench start
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplearn import runtime
from deeplearn.errors import ConfigError

from . import records
from .report import publish
from .worker import HERE

IMPORT = re.compile(r"^import time:\s+(\d+) \|")
"""A line of `python -X importtime`: microseconds of one module without those that it imports."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to start."""

    experiments: tuple[str, ...] = ("classification", "prices", "translation")
    """By name, with their own knobs."""
    rounds: int = 2
    """Warm starts, of which the fastest counts; a cold one cannot be repeated."""
    output: Path = Path("runs/bench")
    """Folder for start.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records."""
    header, rows = records.begin("start"), []
    for name in config.experiments:
        print(f"bench start: {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as cache:
            cold, _ = started(name, cache)
            warm, imports = min(started(name, cache) for _ in range(config.rounds))
        rows.append(_row(name, cold, warm, imports))
    publish(records.write(config.output / "start.jsonl", header, rows))


def _row(name: str, cold: float, warm: float, imports: float) -> dict[str, Any]:
    return {
        "case": {"name": name},
        "cold": cold,
        "warm": warm,
        "imports": imports,
        "shown": {
            "experiment": name,
            "first step, cold, s": f"{cold:.1f}",
            "warm": f"{warm:.1f}",
            "warm / cold": f"{warm / cold:.2f}",
            "imports, s": f"{imports:.1f}",
            "of the warm start": f"{imports / warm:.0%}",
        },
    }


def started(name: str, cache: str) -> tuple[float, float]:
    """(seconds until the first step is logged, those of imports), with the compiled programs in a folder of their own.

    Raises:
        ConfigError: the command ended before; with the last line it said.
    """
    own = {key: value for key, value in os.environ.items() if runtime.settings().get(key) != value}
    own = {key: value for key, value in own.items() if key != runtime.SWITCH} | {"JAX_COMPILATION_CACHE_DIR": cache}
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", name, "--log-every", "1", "--workdir", f"{folder}/run"]
        command = [sys.executable, "-X", "importtime", "-m", "deeplearn", *words]
        begin, imports, line = time.perf_counter(), 0, ""
        streams = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with subprocess.Popen(command, text=True, env=own, cwd=HERE, **streams) as process:
            for line in process.stdout:
                if found := IMPORT.match(line):
                    imports += int(found[1])
                if line.startswith("step 1/"):
                    seconds = time.perf_counter() - begin
                    process.kill()
                    return seconds, imports / 1e6
    raise ConfigError(f"deeplearn train {name} ended before its first step and said: {line.strip()}")


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
