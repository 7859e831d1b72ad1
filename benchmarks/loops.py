"""Whole training loops on the same model and data: ours, and the plain one of the Flax examples."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState

from deeplearn.data.source import Arrays
from deeplearn.experiment import Experiment, Run

from .cases import Case, cases, optimizer

ROWS = 1500
"""Examples in memory, as in the training half of the digits of scikit-learn, roughly."""


def columns(case: Case) -> dict[str, np.ndarray]:
    """Random examples of the case: columns [ROWS, ...]."""
    count = -(-ROWS // case.batch)
    drawn = [case.columns(np.random.default_rng(seed)) for seed in range(count)]
    return {name: np.concatenate([one[name] for one in drawn])[:ROWS] for name in drawn[0]}


def ours(job: Mapping[str, Any]) -> tuple[Callable[[int, int], float], dict[str, Any]]:
    """`fit` with log lines and a checkpoint at the end; seconds are those between its own log lines, without the start.

    `seeds` in the job: that many in one program. `mesh`: as the knob of a run.
    """
    from deeplearn.loop import fit

    case, seeds = cases()[job["case"]], range(job["seeds"])
    source = Arrays(columns=columns(case), batch=case.batch)

    def run(number: int, calls: int) -> float:
        # One part to reach its pace (dispatches grow from one step to hundreds), three that are measured. Not the last:
        # its line waits for its step, while others are written up to a dispatch late.
        config = Run(steps=5 * calls, batch=case.batch, log_every=calls, save_every=2 * calls, mesh=job["mesh"])
        experiment = Experiment(task=case.task, optimizer=optimizer(), train=source)
        with tempfile.TemporaryDirectory() as folder:
            fit(experiment, config, Path(folder), seeds=seeds)
            lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
        seconds = {line["step"]: line["seconds"] for line in lines}
        return (seconds[4 * calls] - seconds[calls]) / 3

    return run, {}


def flax_example(job: Mapping[str, Any]) -> tuple[Callable[[int, int], None], dict[str, Any]]:
    """The shape of Flax's MNIST example: NumPy batches, one jitted function for gradients, another for the update."""
    case = cases()[job["case"]]
    data, rng = columns(case), np.random.default_rng(0)
    variables = case.task.init(jax.random.key(0), case.draw(0))
    state = TrainState.create(apply_fn=None, params=variables["params"], tx=optimizer())
    rest = {key: value for key, value in variables.items() if key != "params"}

    @jax.jit
    def gradients(state: TrainState, batch: dict[str, jax.Array]) -> tuple[Any, jax.Array]:
        def loss(params: Any) -> jax.Array:
            out = case.task.loss({"params": params, **rest}, batch, jax.random.key(0), True)
            return out.loss.total / out.loss.count

        value, gradient = jax.value_and_grad(loss)(state.params)
        return gradient, value

    @jax.jit
    def update(state: TrainState, gradient: Any) -> TrainState:
        with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats by step counts.
            return state.apply_gradients(grads=gradient)

    def run(number: int, calls: int) -> None:
        nonlocal state
        losses = []
        for step, rows in zip(range(calls), epochs(rng, case.batch), strict=False):
            batch = {name: column[rows] for name, column in data.items()}
            batch |= {"mask": np.ones(case.batch, np.float32), "index": rows}
            gradient, value = gradients(state, batch)
            state = update(state, gradient)
            losses.append(value)
            if step % 100 == 99:
                np.mean(jax.device_get(losses))
        jax.block_until_ready(state)

    return run, {}


def epochs(rng: np.random.Generator, batch: int) -> Any:
    """Rows of one shuffled epoch after the other, int32 [batch]; the incomplete last batch is dropped, as is usual."""
    while True:
        order = rng.permutation(ROWS).astype(np.int32)
        yield from order[: ROWS // batch * batch].reshape(-1, batch)


def steps_alone(job: Mapping[str, Any]) -> tuple[Callable[[int, int], None], dict[str, Any]]:
    """The bare jitted step on batches that lie on the device: what a loop can at best reach, one dispatch a step."""
    from deeplearn.step import init, train_step

    case, transformation = cases()[job["case"]], optimizer()
    batches = [jax.device_put(case.draw(seed)) for seed in range(4)]
    state = jax.jit(lambda batch: init(case.task, transformation, 0, batch))(batches[0])
    step = jax.jit(
        lambda state, batch: train_step(case.task, transformation, state, batch, jnp.uint32(0)), donate_argnums=0
    )

    def run(number: int, calls: int) -> None:
        nonlocal state
        for i in range(calls):
            state, _ = step(state, batches[i % len(batches)])
        jax.block_until_ready(state)

    return run, {}
