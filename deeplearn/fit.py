"""The one training loop, and evaluation.

A dispatch runs several steps in one compiled loop, so that small models are not bound by the host. The trip count is an argument:
however a run is cut into dispatches, the same loop body runs, and so a resumed run has the same bits as an uninterrupted one.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from deeplearn import parallel
from deeplearn.checkpoint import Store
from deeplearn.data.source import Arrays, Source, prefetch
from deeplearn.errors import ConfigError, NumericalError
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.interrupt import Interrupted, signals
from deeplearn.log import Log, log_to
from deeplearn.metrics import Metric, computed
from deeplearn.step import PATIENCE, State, accumulated, eval_step, init, nonfinite_leaves, train_step, variables
from deeplearn.task import Batch, Task, Variables

LONGEST = 256
"""Most steps in one dispatch: past this, the host's share is below one percent even for the smallest models."""
DISPATCH_SECONDS = 0.5
"""A dispatch should last about this long: the log stays alive, and a stop signal is answered within seconds."""
RESIDENT_BYTES = 2**30
"""In-memory data up to this size is copied to the device once; the batches are then gathered there."""

Sent = tuple[dict[str, Metric], Array]
"""What a dispatch tells: the summed metrics of its steps, and the non-finite updates in a row at its end."""
Results = dict[str, Any]
"""`{"test/accuracy": 0.98, "test/confusion": array [C, C], ...}`; with several seeds together, a list per name."""


def fit(experiment: Experiment, run: Run, folder: Path, *, seeds: Sequence[int] | None = None) -> tuple[State, Results]:
    """Train to `run.steps`, evaluating, logging and saving on the way; a folder with checkpoints is resumed.

    Args:
        folder: where metrics.jsonl, TensorBoard events and checkpoints/ go.
        seeds: train these seeds in one vmapped program; every leaf of the state then has a leading axis [S]. Default: run.seed.

    Returns:
        The final state, and the results of all evaluations at the last step.

    Raises:
        ConfigError: knobs that contradict each other, or a checkpoint of another model.
        NumericalError: `PATIENCE` non-finite updates in a row; names the steps and the leaves.
        StorageError: the disk is full or read-only; older checkpoints are intact.
        Interrupted: SIGTERM or Ctrl-C, after a checkpoint was sealed.
    """
    seeds = (run.seed,) if seeds is None else tuple(seeds)
    mesh = parallel.make_mesh(run.mesh)
    parallel.check(mesh, run.parallel, run.batch, run.microbatches)
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder / "checkpoints", keep=run.keep))
        stopping = stack.enter_context(signals())
        state, shardings = begin(experiment, run, seeds, mesh, store)
        log = stack.enter_context(log_to(folder, run.steps, int(_first(state.step)), batch=run.batch * len(seeds)))
        dispatch = _dispatcher(experiment, run, seeds, mesh, shardings)
        results: Results = {}
        for done, state, signal in _train(experiment, run, seeds, state, dispatch, stopping, log):
            last = done == run.steps
            if last or _due(run.eval_every, done):
                results = evaluate(experiment, variables(state), mesh, final=last, lanes=len(seeds))
                log.write(done, _scalars(results))
            if last or _due(run.save_every, done) or signal:
                store.save(done, state)
            if signal and not last:
                store.wait()
                raise Interrupted(signal, done, folder)
    if not results:  # Resumed at the last step: nothing was left to train.
        results = evaluate(experiment, variables(state), mesh, final=True, lanes=len(seeds))
    return state, results


def begin(experiment: Experiment, run: Run, seeds: Sequence[int], mesh: Mesh, store: Store) -> tuple[State, PyTree]:
    """The restored or the initial state, and its placements. Shapes come first, so that no device ever holds a large model whole."""

    def start(seed: Array) -> State:
        return init(experiment.task, experiment.optimizer, seed, example)

    example = jax.tree.map(jnp.asarray, experiment.train.at(0))
    build = start if len(seeds) == 1 else jax.vmap(start)
    keys = _seed_array(seeds)
    shapes = jax.eval_shape(build, keys)
    shardings = parallel.placements(shapes, mesh, experiment.rules)
    target = jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)
    restored = store.restore(target)
    if restored is not None:
        return restored[1], shardings
    return jax.jit(build, out_shardings=shardings)(keys), shardings


def _seed_array(seeds: Sequence[int]) -> Array:
    return jnp.uint32(seeds[0]) if len(seeds) == 1 else jnp.asarray(seeds, jnp.uint32)


def _first(value: Array) -> Array:
    """All lanes of a vmapped run are at the same step."""
    return np.asarray(value).ravel()[0]


def _due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


def _train(
    experiment: Experiment,
    run: Run,
    seeds: Sequence[int],
    state: State,
    dispatch: Callable[[State, int, int], tuple[State, Sent]],
    stopping: Callable[[int], int | None],
    log: Log,
) -> Iterator[tuple[int, State, int | None]]:
    """Train from `state` to the last step; yield (step, state, signal) wherever the caller has something to do with the state.

    The next dispatch is sent before the metrics of the last one are read: the device never waits for the log.
    """
    done = int(_first(state.step))
    sent: tuple[int, Sent] | None = None
    window: dict[str, Metric] | None = None
    length, since = 1, time.perf_counter()

    def settle() -> None:
        nonlocal window, sent
        if sent is None:
            return
        end, (sums, skipped) = sent
        sent = None
        sums = jax.device_get(sums)
        window = sums if window is None else jax.tree.map(np.add, window, sums)
        if np.max(skipped) >= PATIENCE:
            raise NumericalError(_diverged(experiment, seeds, state))
        log.progress(end)
        if end % run.log_every == 0 or end == run.steps:
            log.write(end, {f"train/{name}": value for name, value in _scalars(_values(window, len(seeds))).items()})
            window = None

    while done < run.steps:
        stops = (run.log_every, run.eval_every, run.save_every)
        count = min(length, run.steps - done, *(every - done % every for every in stops if every))
        state, news = dispatch(state, done, count)
        settle()  # of the dispatch before
        done += count
        sent = (done, news)
        now = time.perf_counter()
        # The first dispatches measure: one step (with compilation), then longer ones up to the wanted duration.
        if now - since < DISPATCH_SECONDS:
            length = min(2 * length, LONGEST)
        elif now - since > 2 * DISPATCH_SECONDS:
            length = max(length // 2, 1)
        since = now
        signal = stopping(done)
        if done == run.steps or _due(run.eval_every, done) or _due(run.save_every, done) or signal:
            settle()
            yield done, state, signal
            since = time.perf_counter()


def _diverged(experiment: Experiment, seeds: Sequence[int], state: State) -> str:
    """What the user needs to know: which steps, which leaves. Possible after the fact, since data and keys are functions of the step."""
    lane = int(np.argmax(np.asarray(state.skipped))) if len(seeds) > 1 else 0
    own = jax.tree.map(lambda leaf: leaf[lane], state) if len(seeds) > 1 else state
    end = int(own.step)
    batch = jax.tree.map(jnp.asarray, _reseeded(experiment.train, seeds[lane]).at(end - 1))
    leaves = nonfinite_leaves(experiment.task, own.replace(step=own.step - 1), batch, jnp.uint32(seeds[lane]))
    named = ", ".join(leaves[:5]) + (f" and {len(leaves) - 5} more" if len(leaves) > 5 else "")
    return (
        f"training diverged: the updates of steps {end - PATIENCE} to {end - 1} (seed {seeds[lane]}) were not finite, first seen in {named}; "
        "none of them entered the parameters. Lower --optimizer.rate, or set --optimizer.clip."
    )


def _reseeded(source: Source, seed: int) -> Source:
    return (
        dataclasses.replace(source, seed=seed)
        if dataclasses.is_dataclass(source) and hasattr(source, "seed")
        else source
    )


def _dispatcher(
    experiment: Experiment, run: Run, seeds: Sequence[int], mesh: Mesh, shardings: PyTree
) -> Callable[[State, int, int], tuple[State, Sent]]:
    """(state, first step, count) -> (state, summed metrics, non-finite updates in a row)."""
    source, lanes = experiment.train, len(seeds)
    resident = isinstance(source, Arrays) and source.nbytes <= RESIDENT_BYTES
    if lanes > 1 and not resident:
        raise ConfigError("--together needs training data that fits on the device; use --together False.")
    steps = several_steps(experiment.task, experiment.optimizer, run.microbatches)
    if lanes > 1:
        steps = _over_lanes(steps)
    row_axis = 1 if lanes == 1 else 2
    program = parallel.compiled(steps, mesh, run.parallel, shardings, row_axis=row_axis)
    seed, rows_at = _seed_array(seeds), parallel.on_rows(mesh, row_axis)

    if resident:
        whole = jax.device_put(source.columns, parallel.replicated(mesh))
        sources = [_reseeded(source, s) for s in seeds]

        def gathered(state: State, first: int, count: int) -> tuple[State, Sent]:
            # [LONGEST, B]: one shape, one compilation; rows past `count` are never read.
            index = np.zeros((LONGEST, *(() if lanes == 1 else (lanes,)), len(source.rows(first))), np.int32)
            for i in range(count):
                rows = [s.rows(first + i) for s in sources]
                index[i] = rows[0] if lanes == 1 else np.stack(rows)
            return program(state, whole, parallel.put({"index": index}, rows_at), seed, jnp.int32(count))

        return gathered

    batches: Iterator[Batch] | None = None

    def streamed(state: State, first: int, count: int) -> tuple[State, Sent]:
        nonlocal batches
        if batches is None:
            batches = prefetch(source, first, run.steps)
        total = None
        for _ in range(count):
            rows = parallel.put(jax.tree.map(lambda x: x[None], next(batches)), rows_at)
            state, (sums, skipped) = program(state, {}, rows, seed, jnp.int32(1))
            total = accumulated(total, sums)
        return state, (total, skipped)

    return streamed


def several_steps(task: Task, optimizer: optax.GradientTransformation, microbatches: int = 1) -> Callable:
    """`(state, columns, rows, seed, count, axis) -> (state, (summed metrics, state.skipped))`: `count` train steps in one program.

    `rows` are whole batches [K, B, ...] where `columns` is empty, else `{"index": [K, B]}` into the columns [N, ...].
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


def evaluate(
    experiment: Experiment, variables: Variables, mesh: Mesh, *, final: bool = True, lanes: int = 1
) -> Results:
    """The metrics of all evaluations over every example once.

    Args:
        variables: leaves [S, ...] where lanes > 1.
        final: also those that are to be looked at once only.
        lanes: number of models stacked in `variables`.

    Returns:
        `{"<evaluation>/<metric>": value}`, and a list of values [S] per name where lanes > 1.
    """
    results: Results = {}
    for name, evaluation in experiment.evaluations.items():
        if evaluation.final and not final:
            continue
        sums, predictions = _one_pass(experiment.task, variables, evaluation, mesh, lanes)
        values = _values(sums, lanes)
        if evaluation.score is not None:
            scores = [evaluation.score(*lane) for lane in predictions]
            values |= {key: scores[0][key] if lanes == 1 else [score[key] for score in scores] for key in scores[0]}
        results |= {f"{name}/{key}": value for key, value in values.items()}
    return results


def _one_pass(
    task: Task, variables: Variables, evaluation: Evaluation, mesh: Mesh, lanes: int
) -> tuple[dict[str, Metric], list[tuple[PyTree, Batch]]]:
    """Summed metrics, and per lane (predictions, columns) of all examples where the evaluation scores them as a whole."""
    measure, predict = eval_program(task, lanes, with_predictions=evaluation.score is not None)
    sums: dict[str, Metric] | None = None
    seen: list[tuple[PyTree, Batch]] = []
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    for batch in evaluation.source.once():
        # A batch that does not divide among the devices is evaluated whole on each: right, if not fast.
        where = parallel.on_rows(mesh) if len(batch["mask"]) % rows == 0 else parallel.replicated(mesh)
        placed = parallel.put(batch, where)
        more = measure(variables, placed)
        sums = accumulated(sums, more)
        if evaluation.score is not None:
            seen.append((predict(variables, placed), batch))
    return jax.device_get(sums), [_unpadded(seen, lane if lanes > 1 else None) for lane in range(lanes)] if seen else []


@functools.lru_cache(maxsize=32)
def eval_program(task: Task, lanes: int, *, with_predictions: bool) -> tuple[Callable, Callable]:
    """The jitted evaluation step and prediction of a task; kept, so that repeated evaluations compile once."""
    measure, predict = functools.partial(eval_step, task), task.predict
    if with_predictions and predict is None:
        raise ConfigError("an evaluation with a score needs a task with predict.")
    if lanes > 1:
        measure = jax.vmap(measure, in_axes=(0, None))
        predict = predict and jax.vmap(predict, in_axes=(0, None))
    return jax.jit(measure), jax.jit(predict) if predict else None


def _unpadded(seen: list[tuple[PyTree, Batch]], lane: int | None) -> tuple[PyTree, Batch]:
    """(predictions [N, ...], columns [N, ...]) of the real examples of all batches."""

    def keep(tree: PyTree, mask: np.ndarray) -> PyTree:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[mask], tree)

    kept = []
    for predictions, batch in seen:
        own = predictions if lane is None else jax.tree.map(lambda leaf: leaf[lane], predictions)
        kept.append(keep((own, batch), np.asarray(batch["mask"]) > 0))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *kept)


def _values(sums: Mapping[str, Metric], lanes: int) -> dict[str, Any]:
    if lanes == 1:
        return computed(sums)
    each = [computed(jax.tree.map(lambda leaf: leaf[lane], sums)) for lane in range(lanes)]
    return {name: [values[name] for values in each] for name in each[0]}


def _scalars(results: Results) -> dict[str, float]:
    """What a log line can hold: numbers, and the mean over seeds that train together."""
    return {
        name: float(np.mean(value))
        for name, value in results.items()
        if np.ndim(value[0] if isinstance(value, list) else value) == 0
    }
