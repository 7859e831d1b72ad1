"""How steps reach the device: several in one compiled loop where that is faster, else one by one.

A loop's trip count is an argument: however a run is cut into dispatches, the same loop body runs, and so a resumed run
has the same bits as an uninterrupted one.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, PyTree

from deeplearn import parallel
from deeplearn.data.source import Arrays, Source, prefetch
from deeplearn.errors import ConfigError
from deeplearn.experiment import Experiment, Run
from deeplearn.metrics import Metric
from deeplearn.step import State, accumulated, train_step
from deeplearn.task import Batch, Task

LONGEST = 256
"""Most steps in one dispatch: past this, the host's share is below one percent even for the smallest models."""
RESIDENT_BYTES = 2**30
"""In-memory data up to this size is copied to the device once; the batches are then gathered there."""

Sent = tuple[dict[str, Metric], Array]
"""What a dispatch tells: the summed metrics of its steps, and the non-finite updates in a row at its end."""


def dispatcher(
    experiment: Experiment, run: Run, seeds: Sequence[int], mesh: Mesh, shardings: PyTree
) -> Callable[[State, int, int], tuple[State, Sent]]:
    """(state, first step, count) -> (state, summed metrics, non-finite updates in a row)."""
    source, lanes = experiment.train, len(seeds)
    resident = isinstance(source, Arrays) and source.nbytes <= RESIDENT_BYTES
    if lanes > 1 and not resident:
        raise ConfigError("--together needs training data that fits on the device; use --together False.")
    several = resident and not (jax.default_backend() == "cpu" and convolves(experiment))
    steps = several_steps(experiment.task, experiment.optimizer, run.microbatches, several=several)
    if lanes > 1:
        steps = _over_lanes(steps)
    row_axis = 1 if lanes == 1 else 2
    program = parallel.compiled(steps, mesh, run.parallel, shardings, row_axis=row_axis)
    seed, rows_at = seed_array(seeds), parallel.on_rows(mesh, row_axis)

    if several:
        whole = parallel.put(dict(source.columns), parallel.replicated(mesh))
        sources = [reseeded(source, s) for s in seeds]
        shape = (LONGEST, *_stacked([s.rows(0) for s in sources]).shape)

        def looped(state: State, first: int, count: int) -> tuple[State, Sent]:
            # One shape, one compilation; rows past `count` are never read.
            index = np.zeros(shape, np.int32)
            for i in range(count):
                index[i] = _stacked([s.rows(first + i) for s in sources])
            return program(state, whole, parallel.put({"index": index}, rows_at), seed, jnp.int32(count))

        return looped

    whole = parallel.put(dict(source.columns), parallel.replicated(mesh)) if resident else {}
    source, put = (source, parallel.put) if resident else _shared(source, mesh)
    return _one_by_one(
        source,
        seeds,
        run.steps,
        lambda state, rows: program(state, whole, put(rows, rows_at), seed, jnp.int32(1)),
        resident,
    )


def _shared(source: Source, mesh: Mesh) -> tuple[Source, Callable[[PyTree, NamedSharding], PyTree]]:
    """The source of this process' rows of every batch, and how they get onto the devices.

    A source that cannot be sliced prepares the whole batch in every process.
    """
    if jax.process_count() == 1 or not hasattr(source, "process_index"):
        return source, parallel.put
    index, count = parallel.share(mesh)
    return dataclasses.replace(source, process_index=index, process_count=count), parallel.put_share


def _one_by_one(
    source: Source, seeds: Sequence[int], stop: int, program: Callable, resident: bool
) -> Callable[[State, int, int], tuple[State, Sent]]:
    """Dispatch step by step: batches prepared by a thread, or row numbers alone where the columns are on the device."""
    sources = [reseeded(source, seed) for seed in seeds]
    batches: Iterator[Batch] | None = None

    def call(state: State, first: int, count: int) -> tuple[State, Sent]:
        nonlocal batches
        if batches is None and not resident:
            batches = prefetch(source, first, stop)
        total = skipped = None
        for step in range(first, first + count):
            rows = {"index": _stacked([s.rows(step) for s in sources])} if resident else next(batches)
            state, (sums, skipped) = program(state, jax.tree.map(lambda x: x[None], rows))
            total = accumulated(total, sums)
        return state, (total, skipped)

    return call


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Row numbers [B] of one seed, [S, B] of several."""
    return rows[0] if len(rows) == 1 else np.stack(rows)


def convolves(experiment: Experiment) -> bool:
    """Whether the training step holds a convolution.

    XLA's CPU backend runs a convolution inside a loop about three times slower than outside (jax-ml/jax#12868), and
    per-seed kernels become grouped convolutions, which are slower than one seed after the other.
    """
    batch = jax.tree.map(jnp.asarray, experiment.train.at(0))
    variables = jax.eval_shape(experiment.task.init, jax.random.key(0), batch)
    program = jax.make_jaxpr(lambda v, b: experiment.task.loss(v, b, jax.random.key(0), True))(variables, batch)
    return "conv_general_dilated" in str(program)


def several_steps(
    task: Task, optimizer: optax.GradientTransformation, microbatches: int = 1, *, several: bool = True
) -> Callable:
    """`count` train steps as one program `(state, columns, rows, seed, count, axis) -> (state, (sums, state.skipped))`.

    `rows` are whole batches [K, B, ...] where `columns` is empty, else `{"index": [K, B]}` into the columns [N, ...].
    Without `several`, the program is one step without a loop around it, and K is 1.
    """

    def steps(state: State, columns: Batch, rows: Batch, seed: Array, count: Array, *, axis: str | None) -> tuple:
        def one(i: Array, carry: tuple[State, dict[str, Metric]]) -> tuple[State, dict[str, Metric]]:
            state, sums = carry
            state, metrics = step(state, i)
            return state, jax.tree.map(jnp.add, sums, metrics)

        def step(state: State, i: Array) -> tuple[State, dict[str, Metric]]:
            batch = {name: column[i] for name, column in rows.items()}
            if columns:
                index = batch["index"]
                batch = {name: jnp.take(column, index, axis=0) for name, column in columns.items()}
                batch |= {"index": index, "mask": jnp.ones(index.shape, jnp.float32)}
            return train_step(task, optimizer, state, batch, seed, axis=axis, microbatches=microbatches)

        if not several:
            state, metrics = step(state, 0)
            return state, (metrics, state.skipped + 0)
        shapes = jax.eval_shape(step, state, jnp.int32(0))[1]
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        state, sums = jax.lax.fori_loop(0, count, one, (state, zeros))
        # A copy: the state's own leaf is given away to the next dispatch.
        return state, (sums, state.skipped + 0)

    return steps


def _over_lanes(steps: Callable) -> Callable:
    """`several_steps` for stacked states [S, ...], rows [K, S, B] and seeds [S]; the columns are shared."""

    def lanes(state: State, columns: Batch, rows: Batch, seed: Array, count: Array, *, axis: str | None) -> tuple:
        return jax.vmap(lambda s, r, k: steps(s, columns, r, k, count, axis=axis), in_axes=(0, 1, 0))(state, rows, seed)

    return lanes


def seed_array(seeds: Sequence[int]) -> Array:
    return jnp.uint32(seeds[0]) if len(seeds) == 1 else jnp.asarray(seeds, jnp.uint32)


def reseeded(source: Source, seed: int) -> Source:
    return (
        dataclasses.replace(source, seed=seed)
        if dataclasses.is_dataclass(source) and hasattr(source, "seed")
        else source
    )
