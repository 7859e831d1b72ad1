"""Who can multiply matrices here: JAX on every device; on the CPU NumPy, PyTorch (if installed) and a Python loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .peaks import DTYPES, datasheet, processor

Array = Any
"""Of whichever library."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A library on a device. Host arrays [..., M, K] and [..., K, N] are float32 (for int8, whole numbers in it)."""

    name: str
    dtypes: tuple[str, ...]
    """Those it is asked for here."""
    place: Callable[[np.ndarray, str], Array]
    """(host array, dtype) -> its own array, on its device."""
    product: Callable[[str], Callable[[Array, Array], Array]]
    """dtype -> the product, which accumulates in float32, or int32 for int8."""
    fetch: Callable[[Array], np.ndarray] = np.asarray
    """Back to the host."""
    transfers: bool = False
    """Whether its arrays live elsewhere, so that a time with transfer differs."""
    largest: float = float("inf")
    """Most operations in a product that it is asked for."""


def contestants() -> tuple[list[Contestant], list[str]]:
    """All that are here, and a sentence about each that is missing."""
    found, missing = [on_device(device) for device in _one_of_each()], []
    if all(device.platform == "cpu" for device in jax.devices()):
        missing.append("no accelerator: JAX sees processors only, so there is no speed-up of a GPU or TPU to show.")
    found.append(numpy())
    try:
        found.append(torch())
    except ImportError:
        missing.append("no PyTorch: pip install torch adds it as a baseline.")
    return [*found, python()], missing


def supported(device: jax.Device) -> tuple[str, ...]:
    """Types that the hardware multiplies by itself; others would be emulated, slowly."""
    peak = datasheet(device)
    known = peak.flops if peak is not None else ("float32", "bfloat16", "float16")
    return tuple(name for name in DTYPES if name == "float32" or name in known)


def on_device(device: jax.Device) -> Contestant:
    def place(host: np.ndarray, dtype: str) -> jax.Array:
        return jax.device_put(host.astype(_storage(dtype)), device)

    name = "jax" if device.platform == "cpu" else f"jax {device.platform}"
    return Contestant(
        name=name,
        dtypes=supported(device),
        place=place,
        product=lambda dtype: jax.jit(lambda a, b: multiply(a, b, dtype, device.platform)),
        transfers=True,
    )


def multiply(a: jax.Array, b: jax.Array, dtype: str, platform: str) -> jax.Array:
    """[..., M, K] x [..., K, N] -> [..., M, N] in float32 or int32, by the algorithm that the name of the type says."""
    if dtype == "int8":
        return jnp.matmul(a, b, preferred_element_type=jnp.int32)
    exact = {"float32": jax.lax.DotAlgorithmPreset.F32_F32_F32, "tf32": jax.lax.DotAlgorithmPreset.TF32_TF32_F32}
    # Only GPUs have a choice: their default for float32 operands may be TF32.
    precision = exact.get(dtype) if platform in ("gpu", "cuda") else None
    return jnp.matmul(a, b, precision=precision, preferred_element_type=jnp.float32)


def numpy() -> Contestant:
    return Contestant(
        name="numpy", dtypes=("float32",), place=lambda host, dtype: host.copy(), product=lambda dtype: np.matmul
    )


def torch() -> Contestant:
    """PyTorch on the CPU; ImportError where it is not installed."""
    import torch

    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    processor_peak = processor()
    native = {"float32"} | set(processor_peak.flops if processor_peak is not None else ())
    return Contestant(
        name="torch",
        dtypes=tuple(name for name in kinds if name in native),
        place=lambda host, dtype: torch.from_numpy(host).to(kinds[dtype]),
        product=lambda dtype: torch.matmul,
        fetch=lambda array: array.float().numpy(),
    )


def python() -> Contestant:
    """Three nested loops over lists: what no library at all means. 2 x 128^3 operations take it about half a second."""

    def product(a: Sequence, b: Sequence) -> list[list[float]]:
        columns = list(zip(*b, strict=True))
        return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in a]

    return Contestant(
        name="python",
        dtypes=("float32",),
        place=lambda host, dtype: host.tolist(),
        product=lambda dtype: product,
        fetch=lambda rows: np.asarray(rows, np.float64),
        largest=2 * 128**3,
    )


def error(contestant: Contestant, dtype: str, a: np.ndarray, b: np.ndarray) -> float:
    """Relative error in the Frobenius norm against float64 on the unrounded inputs; 16 rows say it as well as all."""
    a = a[..., :16, :]
    exact = a.astype(np.float64) @ b.astype(np.float64)
    found = contestant.fetch(
        contestant.product(dtype)(*(contestant.place(np.ascontiguousarray(x), dtype) for x in (a, b)))
    )
    return float(np.linalg.norm(found.astype(np.float64) - exact) / np.linalg.norm(exact))


def draw(rng: np.random.Generator, shape: Sequence[int], dtype: str) -> np.ndarray:
    """Standard normal float32; for int8 whole numbers over its range."""
    if dtype == "int8":
        return rng.integers(-127, 128, shape).astype(np.float32)
    return rng.standard_normal(shape, np.float32)


def _storage(dtype: str) -> np.dtype:
    return jnp.dtype("float32" if dtype == "tf32" else dtype)


def _one_of_each() -> list[jax.Device]:
    """One device of every kind, the CPU always among them: it is the baseline."""
    kinds = {device.device_kind: device for device in [*jax.devices(), *jax.devices("cpu")][::-1]}
    return list(kinds.values())
