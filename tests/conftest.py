"""A strict environment: eight simulated devices, no silent promotion of types or ranks, warnings are errors."""

import os

# Before JAX starts: the tests of parallelism need several devices, and a CPU can play eight.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("NO_COLOR", "1")

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
