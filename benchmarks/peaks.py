"""What a device could do: datasheets, processors by clock and vector width, and ceilings that are measured."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from .timing import QUICK, Budget, compiled, measure, rotated, timed

BUDGET = Budget(rounds=10, seconds=5.0, warmup=2.0)


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Highest rates of one device, dense: figures with structured sparsity are halved."""

    flops: Mapping[str, float]
    """Operations a second by data type, products with wide accumulation; integers for int8."""
    bandwidth: float
    """Bytes a second of the device's own memory; NaN where unknown."""
    source: str


DTYPES = ("float32", "tf32", "bfloat16", "float16", "float8_e4m3fn", "int8")


def _peak(source: str, bandwidth: float, *tera: float) -> Peak:
    """Figures as datasheets print them: GB/s, and TFLOP/s in the order of DTYPES; 0 where the device lacks the type."""
    flops = {name: value * 1e12 for name, value in zip(DTYPES, tera, strict=True) if value}
    return Peak(flops=flops, bandwidth=bandwidth * 1e9, source=source)


DATASHEETS = (  # Regex of `device.device_kind`, and its figures; the first match counts.
    (r"GB200", _peak("NVIDIA GB200 NVL72 datasheet", 8000, 80, 1250, 2500, 2500, 5000, 5000)),
    (r"B200", _peak("NVIDIA HGX B200 datasheet", 7700, 75, 1100, 2250, 2250, 4500, 4500)),
    (r"H200", _peak("NVIDIA H200 datasheet, SXM", 4800, 67, 494.7, 989.4, 989.4, 1978.9, 1978.9)),
    (r"H100 PCIe", _peak("NVIDIA H100 datasheet, PCIe", 2000, 51, 378, 756, 756, 1513, 1513)),
    (r"H100|GH200", _peak("NVIDIA H100 datasheet, SXM", 3350, 67, 494.7, 989.4, 989.4, 1978.9, 1978.9)),
    (r"A100.*80GB", _peak("NVIDIA A100 datasheet, 80 GB SXM", 2039, 19.5, 156, 312, 312, 0, 624)),
    (r"A100", _peak("NVIDIA A100 datasheet, 40 GB", 1555, 19.5, 156, 312, 312, 0, 624)),
    (r"L40S", _peak("NVIDIA L40S datasheet", 864, 91.6, 183, 362, 362, 733, 733)),
    (r"\bL4\b", _peak("NVIDIA L4 datasheet", 300, 30.3, 60, 121, 121, 242, 242)),
    (r"\bA10\b", _peak("NVIDIA A10 datasheet", 600, 31.2, 62.5, 125, 125, 0, 250)),
    (r"V100", _peak("NVIDIA V100 datasheet, SXM2", 900, 15.7, 0, 0, 125, 0, 0)),
    (r"\bT4\b", _peak("NVIDIA T4 datasheet", 320, 8.1, 0, 0, 65, 0, 130)),
    (r"RTX 4090", _peak("NVIDIA Ada whitepaper", 1008, 82.6, 82.6, 165.2, 165.2, 330.3, 660.6)),
    (r"RTX 3090", _peak("NVIDIA GA102 whitepaper", 936, 35.6, 35.6, 71, 71, 0, 284)),
    (r"TPU v6 lite|TPU v6e", _peak("Google Cloud TPU v6e documentation", 1640, 0, 0, 918, 0, 0, 1836)),
    (r"TPU v5 lite|TPU v5e", _peak("Google Cloud TPU v5e documentation", 819, 0, 0, 197, 0, 0, 393)),
    (r"TPU v5", _peak("Google Cloud TPU v5p documentation", 2765, 0, 0, 459, 0, 0, 918)),
    (r"TPU v4", _peak("Google Cloud TPU v4 documentation", 1228, 0, 0, 275, 0, 0, 275)),
)


def datasheet(device: jax.Device) -> Peak | None:
    """The printed figures of an accelerator; None where we have none. For a processor see `processor`."""
    if device.platform == "cpu":
        return processor()
    return next((peak for pattern, peak in DATASHEETS if re.search(pattern, device.device_kind)), None)


def processor(text: str | None = None, cores: int | None = None) -> Peak | None:
    """Cores x clock x float32 operations a cycle of this processor, or of another one's /proc/cpuinfo; None if unknown.

    The clock is the one the system reports, mostly the nominal one: a core that boosts exceeds this peak.
    """
    if text is None:
        try:
            text = Path("/proc/cpuinfo").read_text()
        except OSError:  # Not Linux.
            return None
    cores = cores or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    clock = re.search(r"^cpu MHz\s*: ([\d.]+)", text, re.M)
    if clock is None:
        return None
    width, why = _operations_a_cycle(text)
    rates = {"float32": cores * float(clock[1]) * 1e6 * width}
    if re.search(r"\bavx512_bf16\b", text):
        rates["bfloat16"] = 2 * rates["float32"]  # Pairs of products into float32 sums: twice the products a cycle.
    source = f"{cores} cores x {float(clock[1]) / 1000:.2f} GHz (as reported) x {width} a cycle ({why})"
    return Peak(flops=rates, bandwidth=float("nan"), source=source)


def _operations_a_cycle(text: str) -> tuple[int, str]:
    """float32 additions and multiplications of a core in a cycle, and why: units x lanes x 2 (fused multiply-add)."""
    family = re.search(r"^cpu family\s*: (\d+)", text, re.M)
    if re.search(r"\bavx512f\b", text):
        # Zen 4 (family 25) does 512-bit operations in two halves; Zen 5 and the server Xeons have two full units.
        halves = "AuthenticAMD" in text and family is not None and int(family[1]) <= 25
        return (32, "AVX-512 on two 256-bit units") if halves else (64, "two AVX-512 units")
    if re.search(r"\bfma\b", text):
        return 32, "two AVX2 units with FMA"
    if re.search(r"\basimd\b", text):
        return 16, "two 128-bit NEON units"
    return 8, "SSE"


def measured_flops(device: jax.Device, dtype: str, *, size: int | None = None, quick: bool = False) -> float:
    """Operations a second of one big square product in JAX: the ceiling that shares of a peak are quoted against."""
    size = size or (2048 if device.platform == "cpu" else 8192)
    rng = np.random.default_rng(0)
    with jax.default_device(device):
        inputs = [
            tuple(jnp.asarray(rng.standard_normal((size, size), np.float32)).astype(dtype) for _ in range(2))
            for _ in range(2)
        ]
        product, _ = compiled(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32), *inputs[0])
        seconds = measure({"product": timed(rotated(product, inputs))}, QUICK if quick else BUDGET)["product"].minimum
    return 2 * size**3 / seconds


def measured_bandwidth(device: jax.Device, *, quick: bool = False) -> float:
    """Bytes a second of the triad a = b + 3 c (McCalpin's STREAM) over arrays that no cache holds."""
    count = 2**25 if device.platform == "cpu" else 2**28  # 128 MiB and 1 GiB an array
    with jax.default_device(device):
        inputs = [(jnp.full(count, 1.0 + i), jnp.full(count, 2.0)) for i in range(2)]
        triad, _ = compiled(lambda b, c: b + 3 * c, *inputs[0])
        seconds = measure({"triad": timed(rotated(triad, inputs))}, QUICK if quick else BUDGET)["triad"].minimum
    return 3 * 4 * count / seconds
