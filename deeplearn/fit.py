"""The one training loop."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from deeplearn import parallel
from deeplearn.checkpoint import Store
from deeplearn.config import to_json
from deeplearn.dispatch import LONGEST, Sent, dispatcher, reseeded, seed_array
from deeplearn.errors import NumericalError
from deeplearn.evaluation import evaluate
from deeplearn.experiment import FREE, Experiment, Run
from deeplearn.interrupt import Interrupted, signals
from deeplearn.metrics import Metric, Results, lane_of, scalars, values_of
from deeplearn.record import fitfile
from deeplearn.record.log import Log, log_to
from deeplearn.reestimate import settled
from deeplearn.step import PATIENCE, State, init, nonfinite_leaves, variables

DISPATCH_SECONDS = 0.5
"""A dispatch should last about this long: the log stays alive, and a stop signal is answered within seconds."""


def fit(experiment: Experiment, run: Run, folder: Path, *, seeds: Sequence[int] | None = None) -> tuple[State, Results]:
    """Train to `run.steps`, evaluating, logging and saving on the way; a folder with checkpoints is resumed.

    Args:
        folder: where fit.json, assets/, metrics.jsonl, TensorBoard events and checkpoints/ go.
        seeds: train these seeds in one vmapped program; leaves of the state then have a leading axis [S].
            By default run.seed alone.

    Returns:
        The final state, and the results of all evaluations at the last step.

    Raises:
        ConfigError: knobs that contradict each other, or a folder that holds a fit with other knobs or data.
        NumericalError: `PATIENCE` non-finite updates in a row; names the steps and the leaves.
        StorageError: the disk is full or read-only; older checkpoints are intact.
        Interrupted: SIGTERM or Ctrl-C, after a checkpoint was sealed.
    """
    seeds = (run.seed,) if seeds is None else tuple(seeds)
    mesh = parallel.make_mesh(run.mesh)
    parallel.check(mesh, run.parallel, run.batch, run.microbatches)
    if jax.process_index() == 0:
        fitfile.admit(folder, started_with(experiment, run), experiment.assets, FREE)
    told = parallel.refuse_parts(experiment.task.couples, collections(experiment), mesh, run.parallel, run.microbatches)
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder / "checkpoints", keep=run.keep))
        stopping = stack.enter_context(signals())
        first, shardings = begin(experiment, run, seeds, mesh, store)
        log = stack.enter_context(log_to(folder, run.steps))
        log.start(int(_first(first.step)), run.batch * len(seeds))
        if told:
            log.say(told)
        dispatch = dispatcher(experiment, run, seeds, mesh, shardings)
        state, results = first, {}
        for done, state, signal in _train(experiment, run, seeds, first, dispatch, stopping, log):
            last = done == run.steps
            if last:
                state = settled(experiment, state, mesh, lanes=len(seeds))
            if last or _due(run.eval_every, done):
                results = evaluate(experiment, variables(state), mesh, final=last, lanes=len(seeds))
                log.write(done, scalars(results))
            if last or _due(run.save_every, done) or signal:
                store.save(done, state)
            if signal and not last:
                store.wait()
                raise Interrupted(signal, done, folder)
    if not results:  # Resumed at the last step: nothing was left to train.
        results = evaluate(experiment, variables(state), mesh, final=True, lanes=len(seeds))
    return state, results


def started_with(experiment: Experiment, run: Run) -> dict[str, Any]:
    """What fit.json keeps of a fit."""
    example = experiment.train.at(0)
    stamp = {
        "knobs": {name: value for name, value in dataclasses.asdict(run).items() if name != "workdir"},
        "data": data_of(experiment),
        "inputs": {name: {"shape": column.shape[1:], "dtype": str(column.dtype)} for name, column in example.items()},
        "fitted": None if experiment.fitted is None else to_json(experiment.fitted),
    }
    return json.loads(json.dumps(stamp, default=str))  # paths as text, tuples as lists: as it will be read


def collections(experiment: Experiment) -> list[str]:
    """Names of what the model carries: "params", and "batch_stats" where it normalises over the batch."""
    example = jax.tree.map(jnp.asarray, experiment.train.at(0))
    return list(jax.eval_shape(experiment.task.init, jax.random.key(0), example))


def data_of(experiment: Experiment) -> dict[str, Any]:
    """Fingerprints of the training data ("train") and of the data of every evaluation."""
    held = {name: evaluation.source.fingerprint() for name, evaluation in experiment.evaluations.items()}
    return {"train": experiment.train.fingerprint()} | held


def begin(experiment: Experiment, run: Run, seeds: Sequence[int], mesh: Mesh, store: Store) -> tuple[State, PyTree]:
    """The restored or initial state, and its placements; shapes first: no device ever holds a large model whole."""

    def start(seed: Array) -> State:
        return init(experiment.task, experiment.optimizer, seed, example)

    example = jax.tree.map(jnp.asarray, experiment.train.at(0))
    build = start if len(seeds) == 1 else jax.vmap(start)
    keys = seed_array(seeds)
    shapes = jax.eval_shape(build, keys)
    shardings = parallel.placements(shapes, mesh, experiment.rules)
    target = jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)
    restored = store.restore(target)
    if restored is not None:
        return restored[1], shardings
    # Initialisation runs once: on a CPU, optimising its random numbers takes longer than drawing them unoptimised.
    quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(build, out_shardings=shardings, compiler_options=quick)(keys), shardings


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
    """Train from `state` to the last step; yield (step, state, signal) where the caller has to do with the state.

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
            values = scalars(values_of(window, len(seeds)))
            log.write(end, {f"train/{name}": value for name, value in values.items() if value or name != "skipped"})
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
        # Several processes must cut alike, and their clocks differ: one step at a time.
        if jax.process_count() > 1:
            length = 1
        elif now - since < DISPATCH_SECONDS:
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
    """Which steps, which leaves: known after the fact, since data and keys are functions of the step."""
    lane = int(np.argmax(np.asarray(state.skipped))) if len(seeds) > 1 else 0
    own = lane_of(state, lane) if len(seeds) > 1 else state
    own = parallel.fetched(own)
    end = int(own.step)
    batch = jax.tree.map(jnp.asarray, reseeded(experiment.train, seeds[lane]).at(end - 1))
    leaves = nonfinite_leaves(experiment.task, own.replace(step=own.step - 1), batch, jnp.uint32(seeds[lane]))
    named = ", ".join(leaves[:5]) + (f" and {len(leaves) - 5} more" if len(leaves) > 5 else "")
    return (
        f"training diverged: the updates of steps {end - PATIENCE} to {end - 1} (seed {seeds[lane]}) were not finite, "
        f"first seen in {named}; none of them entered the parameters. Lower --optimizer.rate, or set --optimizer.clip."
    )
