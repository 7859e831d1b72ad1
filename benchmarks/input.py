"""Examples a second that the sources of data deliver, without any model: what a training step must not outrun.

deeplearn bench input --quick
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deeplearn.data.source import Arrays, Records, Source, prefetch

from . import records
from .report import publish
from .timing import QUICK, Budget, Sampler, measure, timed

SHAPES: dict[str, tuple[int, ...]] = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "imagenet": (224, 224, 3)}
"""Images as bytes: 64, 784 and 150,528 an example."""
STEPS = 16
"""Batches in a sample of a prefetched source, whose thread has to start."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which sources."""

    batch: int = 128
    """Examples a batch."""
    size: int = 2048
    """Examples in a source."""
    quick: bool = False
    """Fewer samples, and no images of 224 pixels."""
    output: Path = Path("runs/bench")
    """Folder for input.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records."""
    header = records.begin("input")
    rows = []
    for name, shape in SHAPES.items():
        if config.quick and name == "imagenet":
            continue
        print(f"bench input: {name}", file=sys.stderr, flush=True)
        times = measure(_candidates(shape, config), QUICK if config.quick else Budget())
        rows += [_row(name, shape, who, timing, config) for who, timing in times.items()]
    publish(records.write(config.output / "input.jsonl", header, rows))


def _row(name: str, shape: tuple[int, ...], who: str, timing: Any, config: Config) -> dict[str, Any]:
    rate = config.batch / timing.minimum
    return {
        "case": {"name": name, "source": who, "batch": config.batch},
        "seconds": timing.summary(),
        "samples": timing.samples,
        "shown": {
            "examples": f"{name} {'x'.join(map(str, shape))}",
            "source": who,
            "examples a second, best": f"{rate:,.0f}",
            "median": f"{config.batch / timing.median:,.0f}",
            "MB/s": f"{rate * np.prod(shape) / 1e6:,.0f}",
        },
    }


def _candidates(shape: tuple[int, ...], config: Config) -> dict[str, Sampler]:
    """Seconds of a batch: gathered on the device, gathered on the host, the same ahead of time, read one by one."""
    images = np.random.default_rng(0).integers(0, 256, (config.size, *shape), np.uint8)
    memory = Arrays(columns={"image": images}, batch=config.batch)
    found: dict[str, Sampler] = {
        "Arrays, on the device": timed(_resident(memory)),
        "Arrays": timed(memory.at),
        "Arrays, prefetched to the device": _per_batch(memory),
    }
    try:
        import grain  # noqa: F401  Records needs it.
    except ImportError:
        print("bench input: no grain, so Records are left out", file=sys.stderr)
        return found
    one_by_one = Records(records=[{"image": image} for image in images], batch=config.batch)
    return found | {"Records (grain)": timed(one_by_one.at)}


def _resident(source: Arrays) -> Callable[[int], jax.Array]:
    """As the training loop does with data that fit: only row numbers travel."""
    whole = jax.device_put(source.columns["image"])
    take = jax.jit(lambda column, rows: column[rows])
    return lambda step: take(whole, source.rows(step))


def _per_batch(source: Source) -> Sampler:
    """Batches that a thread prepares, put onto the device."""

    def sample(number: int, calls: int) -> float:
        def stream(step: int) -> None:
            for batch in prefetch(source, step, step + STEPS):
                jax.block_until_ready(jax.device_put(batch))

        return timed(stream)(number, calls) / STEPS

    return sample


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
