"""How steps reach the device: several in one compiled loop where that is faster, else one by one.

A loop's trip count is an argument: however a run is cut into dispatches, the same loop body runs, and so a resumed run
has the same bits as an uninterrupted one. For the same reason the metrics of a line of the log are added up on the
device, step by step.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, PyTree

from deeplearn import parallel
from deeplearn.best import Best
from deeplearn.data.source import Arrays, Source, prefetch
from deeplearn.errors import ConfigError
from deeplearn.exact import exact_program
from deeplearn.experiment import Experiment, Run
from deeplearn.metrics import Metric
from deeplearn.step import State, train_step
from deeplearn.task import Batch, Task, batch_of

LONGEST = 256
"""Most steps in one dispatch: past this, the host's share is below one percent even for the smallest models."""
RESIDENT_BYTES = 2**30
"""In-memory data up to this size is copied to the device once; the batches are then gathered there."""


class Running(struct.PyTreeNode):
    """All that a training under way has to remember, on the device and in its checkpoints."""

    state: State
    sums: dict[str, Metric]
    """Metrics of the steps since the last line of the log."""
    best: Best | None = None
    """In checkpoints of runs that keep one; steps do not see it."""


Dispatch = Callable[[Running, int, int], tuple[Running, Array]]
"""(running, first step, count) -> (running, non-finite updates in a row at its end)."""


def running_shapes(experiment: Experiment, seeds: Sequence[int], start: Callable[[Array], State]) -> Running:
    """Shapes of what `start(seed)` begins; the metrics' follow from a step."""
    batch = jax.tree.map(jnp.asarray, experiment.train.at(0))

    def shapes(seed: Array) -> Running:
        state = start(seed)
        return Running(state=state, sums=train_step(experiment.task, experiment.optimizer, state, batch, seed)[1])

    return jax.eval_shape(shapes if len(seeds) == 1 else jax.vmap(shapes), seed_array(seeds))


def dispatcher(experiment: Experiment, run: Run, seeds: Sequence[int], mesh: Mesh, shardings: PyTree) -> Dispatch:
    """What trains some steps; `shardings` are those of a `Running`."""
    source, lanes = experiment.train, len(seeds)
    resident = isinstance(source, Arrays) and source.nbytes <= RESIDENT_BYTES
    if lanes > 1 and not resident:
        raise ConfigError("--together needs training data that fits on the device; use --together False.")
    several = resident and not (jax.default_backend() == "cpu" and convolves(experiment))
    if run.exact:
        return _exact(experiment, run, seeds, mesh, shardings, resident=resident, several=several)
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

        def looped(running: Running, first: int, count: int) -> tuple[Running, Array]:
            # One shape, one compilation; rows past `count` are never read.
            index = np.zeros(shape, np.int32)
            for i in range(count):
                index[i] = _stacked([s.rows(first + i) for s in sources])
            return program(running, whole, parallel.put({"index": index}, rows_at), seed, jnp.int32(count))

        return looped

    whole = parallel.put(dict(source.columns), parallel.replicated(mesh)) if resident else {}
    source, put, _ = (source, parallel.put, 0) if resident else shared(source, mesh)
    return _one_by_one(
        source,
        seeds,
        run.steps,
        lambda running, rows: program(running, whole, put(rows, rows_at), seed, jnp.int32(1)),
        resident,
    )


def _exact(
    experiment: Experiment,
    run: Run,
    seeds: Sequence[int],
    mesh: Mesh,
    shardings: PyTree,
    *,
    resident: bool,
    several: bool,
) -> Dispatch:
    if len(seeds) > 1:
        raise ConfigError("--exact trains one seed at a time; use --together False.")
    source = experiment.train if resident else shared(experiment.train, mesh)[0]
    columns = dict(source.columns) if resident else {}
    learn = (experiment.task, experiment.optimizer, mesh, shardings)
    program = exact_program(*learn, run.exact, run.batch, columns, seeds[0], looped=several)
    return _one_by_one(source, seeds, run.steps, program, resident)


def shared(source: Source, mesh: Mesh) -> tuple[Source, Callable[[PyTree, NamedSharding], PyTree], int]:
    """(the source of this process' rows of every batch, how they get onto the devices, how many devices share them).

    A source that cannot be sliced prepares the whole batch in every process.
    """
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    index, count = parallel.share(mesh)
    if count == 1 or not hasattr(source, "process_index") or source.batch % count:
        return source, parallel.put, rows
    return dataclasses.replace(source, process_index=index, process_count=count), parallel.put_share, rows // count


def _one_by_one(source: Source, seeds: Sequence[int], stop: int, program: Callable, resident: bool) -> Dispatch:
    """Dispatch step by step: batches prepared by a thread, or row numbers alone where the columns are on the device."""
    sources = [reseeded(source, seed) for seed in seeds]
    batches: Iterator[Batch] | None = None

    def call(running: Running, first: int, count: int) -> tuple[Running, Array]:
        nonlocal batches
        if batches is None and not resident:
            batches = prefetch(source, first, stop)
        skipped = jnp.int32(0)
        for step in range(first, first + count):
            rows = {"index": _stacked([s.rows(step) for s in sources])} if resident else next(batches)
            running, skipped = program(running, jax.tree.map(lambda x: x[None], rows))
        return running, skipped

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
    """`count` train steps as one program `(running, columns, rows, seed, count, axis) -> (running, state.skipped)`.

    `rows` are whole batches [K, B, ...] where `columns` is empty, else `{"index": [K, B]}` into the columns [N, ...].
    Without `several`, the program is one step without a loop around it, and K is 1.
    """

    def steps(running: Running, columns: Batch, rows: Batch, seed: Array, count: Array, *, axis: str | None) -> tuple:
        def one(i: Array, running: Running) -> Running:
            batch = batch_of(columns, rows, i)
            state, metrics = train_step(
                task, optimizer, running.state, batch, seed, axis=axis, microbatches=microbatches
            )
            return Running(state=state, sums=jax.tree.map(jnp.add, running.sums, metrics))

        running = jax.lax.fori_loop(0, count, one, running) if several else one(jnp.int32(0), running)
        # A copy: the state's own leaf is given away to the next dispatch.
        return running, running.state.skipped + 0

    return steps


def _over_lanes(steps: Callable) -> Callable:
    """`several_steps` for stacked leaves [S, ...], rows [K, S, B] and seeds [S]; the columns are shared."""

    def lanes(running: Running, columns: Batch, rows: Batch, seed: Array, count: Array, *, axis: str | None) -> tuple:
        one = lambda s, r, k: steps(s, columns, r, k, count, axis=axis)  # noqa: E731
        return jax.vmap(one, in_axes=(0, 1, 0))(running, rows, seed)

    return lanes


def seed_array(seeds: Sequence[int]) -> Array:
    return jnp.uint32(seeds[0]) if len(seeds) == 1 else jnp.asarray(seeds, jnp.uint32)


def reseeded(source: Source, seed: int) -> Source:
    return (
        dataclasses.replace(source, seed=seed)
        if dataclasses.is_dataclass(source) and hasattr(source, "seed")
        else source
    )
