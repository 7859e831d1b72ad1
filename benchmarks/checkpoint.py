"""Seconds and memory to save and restore many parameters, sealed as a training does it, and by plain Orbax.

deeplearn bench checkpoint
"""

import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deeplearn.errors import ConfigError

from . import records
from .report import publish, ratio
from .timing import Ratio, Timing
from .worker import HERE

LEAVES = 100
"""Arrays that the parameters lie in."""
Who = Literal["ours", "Orbax"]
Action = Literal["save", "restore"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much is saved."""

    parameters: int = 100_000_000
    """Numbers of four bytes."""
    rounds: int = 5
    """Of each, in turns; every one in a process of its own, after which its memory is known."""
    quick: bool = False
    """A hundredth of the parameters, three rounds."""
    output: Path = Path("runs/bench")
    """Folder for checkpoint.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records."""
    size, rounds = (config.parameters // 100, 3) if config.quick else (config.parameters, config.rounds)
    header, rows = records.begin("checkpoint"), []
    found: dict[tuple[Action, Who], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".checkpoint-") as folder:  # /tmp may be memory
        for number in range(rounds):
            print(f"bench checkpoint: {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for who in ("ours", "Orbax")[:: 1 if number % 2 == 0 else -1]:
                for action in ("save", "restore"):
                    place = Path(folder) / who / str(number)
                    found.setdefault((action, who), []).append(_apart(action, who, place, size))
    for action in ("save", "restore"):
        times = {who: Timing(samples=tuple(x["seconds"] for x in found[action, who])) for who in ("ours", "Orbax")}
        for who in times:
            rows.append(_row(action, who, size, found[action, who], times))
    publish(records.write(config.output / "checkpoint.jsonl", header, rows))


def _row(action: str, who: str, size: int, own: list[dict[str, float]], times: dict[str, Timing]) -> dict[str, Any]:
    slower = vars(Ratio.of(times["ours"], times["Orbax"])) if who == "ours" else None
    peak = min(x["bytes"] for x in own)
    return {
        "case": {"action": action, "candidate": who, "parameters": size},
        "seconds": times[who].summary(),
        "samples": times[who].samples,
        "bytes": peak,
        "slower": slower,
        "shown": {
            "": action,
            "by": who,
            "parameters": f"{size:,}",
            "s, median": f"{times[who].median:.2f}",
            "blocking, s": f"{min(x['blocking'] for x in own):.2f}",
            "memory for it, GiB": f"{peak / 2**30:.2f}",
            "times Orbax's [95 %]": ratio(slower) if slower else "",
        },
    }


def _apart(action: Action, who: Who, folder: Path, size: int) -> dict[str, float]:
    """What `child` measures, in a process of its own. Raises ConfigError, with the last line it said."""
    call = f"from {__name__} import child; child({action!r}, {who!r}, {str(folder)!r}, {size})"
    ran = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, cwd=HERE, check=False)
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"]
        raise ConfigError(f"{who} could not {action} {size:,} parameters: {said[-1]}")
    return json.loads(ran.stdout.splitlines()[-1])


def child(action: Action, who: Who, folder: str, size: int) -> None:
    """Save or restore once; prints seconds until all is done, those that the caller waits, and bytes at the peak."""
    import jax

    keys = jax.random.split(jax.random.key(0), LEAVES)  # Orbax compresses: what is drawn, as what is learnt, hardly.
    state = {f"layer{i}": jax.random.normal(key, size // LEAVES) for i, key in enumerate(keys)}
    shapes = jax.eval_shape(lambda: state)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here) for name, leaf in shapes.items()}
    jax.block_until_ready(state)
    if action == "restore":
        state.clear()
    with (_ours if who == "ours" else _orbax)(Path(folder)) as (save, wait, restore):
        before, start = _peak(), time.perf_counter()
        if action == "save":
            save(state)
            blocking = time.perf_counter() - start
            wait()
        else:
            jax.block_until_ready(restore(target))
            blocking = time.perf_counter() - start
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "blocking": blocking, "bytes": _peak() - before}))


def _peak() -> int:
    """Most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def _ours(folder: Path) -> Iterator[tuple[Callable[[Any], None], Callable[[], None], Callable[[Any], Any]]]:
    from deeplearn.checkpoint import Store

    folder.mkdir(parents=True, exist_ok=True)
    with Store(folder / "checkpoints") as store:
        yield lambda state: store.save(1, state), store.wait, store.restore


@contextlib.contextmanager
def _orbax(folder: Path) -> Iterator[tuple[Callable[[Any], None], Callable[[], None], Callable[[Any], Any]]]:
    import orbax.checkpoint as ocp

    with ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler()) as saver:

        def save(state: Any) -> None:
            saver.save(folder / "1", args=ocp.args.StandardSave(state))

        yield (
            save,
            saver.wait_until_finished,
            lambda target: saver.restore(folder / "1", args=ocp.args.StandardRestore(target)),
        )


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
