"""One process' part of a training step that is spread over devices and processes."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deeplearn import parallel
from deeplearn.metrics import Metric
from deeplearn.step import State, init, train_step

from .cases import cases, optimizer


def step(job: Mapping[str, Any]) -> tuple[Callable[[int, int, int], None], dict[str, Any]]:
    """`run(number, calls, which)`: steps under shard_map that add up gradients over devices (0), or do not (1)."""
    if job["processes"] > 1:
        jax.distributed.initialize(job["address"], job["processes"], job["process"])
    case, transformation = cases(job["batch"])[job["case"]], optimizer()
    mesh = parallel.make_mesh(f"data={job['processes'] * job['devices']}")
    share = case.batch // job["processes"]
    rows = {name: column[job["process"] * share :][:share] for name, column in case.draw(0).items()}
    batch = parallel.put_share(rows, parallel.on_rows(mesh))

    def train(state: State, whole: Any, batch: Any, seed: jax.Array, count: jax.Array, *, axis: Any) -> Any:
        return train_step(case.task, transformation, state, batch, seed, axis=axis)

    def apart(*arguments: Any, axis: Any) -> tuple[State, dict[str, Metric]]:
        return train(*arguments, axis=None)

    programs = [
        parallel.compiled(part, mesh, "shard_map", parallel.replicated(mesh), row_axis=0) for part in (train, apart)
    ]
    start = jax.jit(lambda batch: init(case.task, transformation, 0, batch), out_shardings=parallel.replicated(mesh))
    states = [start(case.draw(0)) for _ in programs]
    seed, count = jnp.uint32(0), jnp.int32(1)

    def run(number: int, calls: int, which: int) -> None:
        for _ in range(calls):
            states[which], _ = programs[which](states[which], {}, batch, seed, count)
        jax.block_until_ready(states[which])

    return run, {}
