"""Matrix products: JAX on every device against a Python loop, NumPy and PyTorch on the CPU, in turns.

deeplearn bench matmul --quick
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import peaks, products, records
from .report import publish
from .timing import QUICK, Budget, Ratio, measure, rotated, timed

SHAPES: dict[str, tuple[int, int, int, int]] = {
    # name: (batch, M, K, N). Those of a Transformer with width 256 on 2048 tokens, and of large language models.
    "feed-forward": (1, 2048, 256, 1024),
    "logits": (1, 2048, 256, 8000),
    "attention": (128, 64, 64, 64),
    "tall": (1, 65536, 64, 64),
    "wide": (1, 64, 64, 65536),
    "vector": (1, 1, 4096, 4096),
}
ROTATED_BYTES = 2**27
"""Inputs of one contestant together: four times a 32 MiB cache."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to multiply."""

    sizes: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
    """Square products; those that do not fit into memory, or would take a minute, are left out with a message."""
    shapes: tuple[str, ...] = tuple(SHAPES)
    """Other products by name."""
    dtypes: tuple[str, ...] = peaks.DTYPES
    """Types to compute in, where the hardware has them."""
    quick: bool = False
    """A minute instead of twenty: sizes up to 1024, fewer rounds."""
    output: Path = Path("runs/bench")
    """Folder for matmul.jsonl, tables and plots."""


def main(config: Config) -> None:
    """Measure, print the tables, write records and plots."""
    header = records.begin("matmul")
    entrants, missing = products.contestants()
    rows = [{"case": {"missing": text}} for text in missing]
    rows += list(_ceilings(config))
    for text in missing:
        _say(text)
    cases = [(f"{n}", (1, n, n, n)) for n in config.sizes if not config.quick or n <= 1024]
    cases += [(name, SHAPES[name]) for name in (() if config.quick else config.shapes)]
    for name, shape in cases:
        for dtype in config.dtypes:
            able = [one for one in entrants if dtype in one.dtypes]
            if able:
                _say(f"{name} {dtype}: {', '.join(one.name for one in able)}")
                rows += _case(name, shape, dtype, able, config)
            else:
                text = f"{dtype} is left out: no device here multiplies it by itself."
                rows += [{"case": {"missing": text}}] if {"case": {"missing": text}} not in rows else []
    publish(records.write(config.output / "matmul.jsonl", header, rows))


def _say(text: str) -> None:
    print(f"bench matmul: {text}", file=sys.stderr, flush=True)


def _ceilings(config: Config) -> Iterator[dict[str, Any]]:
    """What each kind of device could do: printed and measured."""
    for device in {d.device_kind: d for d in [*jax.devices("cpu"), *jax.devices()]}.values():
        printed = peaks.datasheet(device)
        yield {
            "case": {"ceiling": products.on_device(device).name},
            "device": device.device_kind,
            "printed": dict(printed.flops) if printed else {},
            "source": printed.source if printed else "no datasheet known",
            "printed_bandwidth": printed.bandwidth if printed else None,
            "flops": {
                dtype: peaks.measured_flops(device, dtype, quick=config.quick)
                for dtype in products.supported(device)
                if dtype in config.dtypes and dtype in ("float32", "bfloat16", "float16")
            },
            "bandwidth": peaks.measured_bandwidth(device, quick=config.quick),
        }


def _case(
    name: str, shape: tuple[int, int, int, int], dtype: str, able: Sequence[products.Contestant], config: Config
) -> Iterator[dict[str, Any]]:
    """All contestants on one product; the rows hold rates, ratios to each baseline, and errors."""
    batch, m, k, n = shape
    operations = 2 * batch * m * k * n
    case = {"name": name, "batch": batch, "m": m, "k": k, "n": n, "dtype": dtype}
    able = [one for one in able if operations <= one.largest and (one.name != "python" or batch == 1)]
    if reason := _too_much(operations, 4 * batch * (m * k + k * n + m * n), len(able)):
        _say(f"{name} is left out: {reason}")
        yield {"case": case, "skipped": reason}
        return
    rng = np.random.default_rng(0)
    left, right = ((batch, m, k), (batch, k, n)) if batch > 1 else ((m, k), (k, n))
    copies = max(2, min(8, ROTATED_BYTES // (4 * batch * (m * k + k * n))))
    hosts = [(products.draw(rng, left, dtype), products.draw(rng, right, dtype)) for _ in range(copies)]
    candidates = {}
    for one in able:
        candidates[one.name] = timed(rotated(one.product(dtype), _placed(one, hosts, dtype)))
        if one.transfers:
            candidates[f"{one.name}, with transfer"] = timed(rotated(_round_trip(one, dtype), hosts))
            zeros = [tuple(np.zeros_like(x) for x in hosts[0])] * 2
            candidates[f"{one.name}, zeros"] = timed(rotated(one.product(dtype), _placed(one, zeros, dtype)))
    times = measure(candidates, QUICK if config.quick else Budget())
    errors = {one.name: products.error(one, dtype, *hosts[0]) for one in able}
    for contestant, timing in times.items():
        yield {
            "case": {**case, "contestant": contestant},
            "seconds": timing.summary(),
            "samples": timing.samples,
            "flops": operations / timing.minimum,
            "intensity": operations / (_bytes(dtype) * batch * (m * k + k * n) + 4 * batch * m * n),
            "faster_than": {
                other: vars(Ratio.of(times[other], timing))
                for other in ("numpy", "torch", "python")
                if other in times and other != contestant
            },
            "error": errors.get(contestant),
        }


def _placed(one: products.Contestant, hosts: Sequence[Sequence[np.ndarray]], dtype: str) -> list[tuple[Any, ...]]:
    return [tuple(one.place(x, dtype) for x in pair) for pair in hosts]


def _round_trip(one: products.Contestant, dtype: str) -> Any:
    """From host memory to host memory: what a program pays that multiplies only now and then."""
    product = one.product(dtype)
    return lambda a, b: one.fetch(product(one.place(a, dtype), one.place(b, dtype)))


def _bytes(dtype: str) -> int:
    return {"float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2}.get(dtype, 1)


def _too_much(operations: float, footprint: int, libraries: int) -> str | None:
    """Why a product is left out, if it is: two copies for each library must fit into half of the free memory."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") if hasattr(os, "sysconf") else 2**33
    for device in jax.devices():
        free = min(free, (device.memory_stats() or {}).get("bytes_limit", free))
    if 3 * footprint * libraries > free / 2:
        return f"it needs {3 * footprint * libraries / 2**30:.1f} GiB of {free / 2**30:.1f} GiB that are free"
    return None


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
