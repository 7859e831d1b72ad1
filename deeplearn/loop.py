"""The one training loop."""

import dataclasses
import json
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from deeplearn import best, parallel
from deeplearn.checkpoint import Store
from deeplearn.config import check, to_json
from deeplearn.dispatch import LONGEST, Dispatch, Running, dispatcher, reseeded, running_shapes, seed_array
from deeplearn.errors import NumericalError
from deeplearn.evaluation import evaluate
from deeplearn.exact import check_shards, on_one
from deeplearn.experiment import FREE, Experiment, Run
from deeplearn.interrupt import Interrupted, Stop, signals
from deeplearn.metrics import Metric, Results, lane_of, scalars, values_of
from deeplearn.record import fitfile
from deeplearn.record.log import Log, log_to
from deeplearn.reestimate import settled
from deeplearn.step import PATIENCE, State, init, nonfinite_leaves, variables
from deeplearn.task import Variables
from deeplearn.watchdog import watched

DISPATCH_SECONDS = 0.5
"""A dispatch should last about this long: the log stays alive, and a stop signal is answered within seconds."""
AUTOSAVE_SHARE = 0.01
"""Saves by time come so seldom that they take at most this share of it, counted from the call to the seal."""


def fit(experiment: Experiment, run: Run, folder: Path, *, seeds: Sequence[int] | None = None) -> tuple[State, Results]:
    """Train to `run.steps`, evaluating, logging and saving on the way; a folder with checkpoints is resumed.

    Args:
        folder: where fit.json, assets/, metrics.jsonl, TensorBoard events and checkpoints/ go.
        seeds: train these seeds in one vmapped program; leaves of the state then have a leading axis [S].
            By default run.seed alone.

    Returns:
        The final state, and the results of all evaluations at the last step; of the best step with `run.best`.

    Raises:
        ConfigError: knobs that contradict each other, a folder that holds a fit with other knobs or data, or in which
            another training is at work.
        NumericalError: `PATIENCE` non-finite updates in a row; names the steps and the leaves.
        StorageError: the disk is full or read-only; older checkpoints are intact.
        Interrupted: SIGTERM, SIGHUP or Ctrl-C, after a checkpoint was sealed.
    """
    check(run)
    seeds = (run.seed,) if seeds is None else tuple(seeds)
    mesh = parallel.make_mesh(run.mesh)
    told = refuse(experiment, run, mesh)
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder / "checkpoints", keep=run.keep))
        live = stack.enter_context(watched(folder, run.stuck_seconds, _name()))
        stop = stack.enter_context(signals())
        with stop.at_once(f"before a step was trained; {_onward(run.workdir or folder)}"):
            if run.restart:
                store.clear()
            if jax.process_index() == 0:
                fitfile.admit(folder, started_with(experiment, run), experiment.assets, FREE, again=run.restart)
            running, shardings = begin(experiment, run, seeds, mesh, store)
            kept, running, shardings = running.best, running.replace(best=None), shardings.replace(best=None)
            start, results = int(_first(running.state.step)), {}
            log = stack.enter_context(log_to(folder, run.steps, sinks=run.sinks))
            again = start > 0 and _to_evaluate(run, start)
            log.start(start, run.batch * len(seeds), again=again)
            if told:
                log.say(told)
            dispatch = dispatcher(experiment, run, seeds, mesh, shardings)

        def between() -> None:
            live()
            stop.check()

        def look(learnt: Variables, between: Callable[[], None], *, final: bool) -> Results:
            place, learnt = on_one(mesh, learnt) if run.exact else (mesh, learnt)
            return evaluate(experiment, learnt, place, final=final, lanes=len(seeds), between=between)

        def measure(done: int, running: Running) -> Results:
            last = done >= run.steps
            try:
                with stop.at_once(_saved(done, run.workdir or folder)):
                    learnt = best.chosen(running.best) if last and run.best else variables(running.state)
                    results = look(learnt, between, final=last)
            except Interrupted:
                store.save(done, running)
                raise
            log.write(done, scalars(results))
            return results

        def choose(done: int, running: Running) -> best.Best:
            """Not to be interrupted: the checkpoint that follows has to hold what was chosen."""
            last = done >= run.steps
            state = running.state if last else _settled(experiment, run, running.state, mesh, len(seeds))
            results = look(variables(state), live, final=False)
            found = best.better(kept, state, results, run.best)
            if last:
                log.say(f"keeping step {best.steps(found)}, the best by {run.best}")
            else:
                log.write(done, scalars(results))
            return found

        if again:  # The run was stopped after it had saved and before it had written down what it measured.
            if run.best and start < run.steps:
                kept = choose(start, running)
            else:
                results = measure(start, running.replace(best=kept))
        pauses = _pauses(run, stop, store)
        for done, running, pause in _train(experiment, run, seeds, running, dispatch, pauses, log, live):  # noqa: B020
            stopped = pause.signal and done < run.steps
            if done == run.steps:
                running = running.replace(state=_settled(experiment, run, running.state, mesh, len(seeds)))
            if run.best and pause.evaluate and not stopped:
                kept = choose(done, running)
            running = running.replace(best=kept)
            if pause.save:  # First: evaluations may be long, and a stop must not lose the steps before them.
                store.save(done, running)
            if stopped:
                store.wait()
                raise Interrupted(pause.signal, _saved(done, run.workdir or folder))
            if pause.evaluate and (not run.best or done == run.steps):
                results = measure(done, running)
    return best.final(running.state, kept), results


def refuse(experiment: Experiment, run: Run, mesh: Mesh) -> str | None:
    """What to tell the user of how the batch is cut up.

    Raises:
        ConfigError: it cannot be cut up so, or nothing can be chosen by `run.best`.
    """
    parallel.check(mesh, run.parallel, run.batch, run.microbatches)
    if run.exact:
        check_shards(mesh, run.parallel, run.batch, run.exact)
    if run.best:
        best.refuse_metric(experiment, run)
    parts = (mesh, run.parallel, run.microbatches, run.exact)
    return parallel.refuse_parts(experiment.task.couples, collections(experiment), *parts)


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


def _saved(step: int, folder: Path) -> str:
    return f"after step {step}, checkpoint saved in {folder}; {_onward(folder)}"


def _onward(folder: Path) -> str:
    return f"go on with: deeplearn resume {shlex.quote(str(folder))}"


def begin(experiment: Experiment, run: Run, seeds: Sequence[int], mesh: Mesh, store: Store) -> tuple[Running, Running]:
    """The restored or first state, and its placements; shapes first: no device ever holds a large model whole."""

    def start(seed: Array) -> State:
        return init(experiment.task, experiment.optimizer, seed, example)

    example = jax.tree.map(jnp.asarray, experiment.train.at(0))
    shapes = running_shapes(experiment, seeds, start)
    if run.best:
        shapes = shapes.replace(best=jax.eval_shape(best.first, shapes.state))
    where = Running(
        state=parallel.placements(shapes.state, mesh, experiment.rules),
        sums=jax.tree.map(lambda _: parallel.replicated(mesh), shapes.sums),
        best=parallel.placements(shapes.best, mesh, experiment.rules) if run.best else None,
    )
    target = jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, where)
    restored = store.restore(target)
    if restored is not None:
        return restored[1], where
    # Initialisation runs once: on a CPU, optimising its random numbers takes longer than drawing them unoptimised.
    quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    build = start if len(seeds) == 1 else jax.vmap(start)
    state = jax.jit(build, out_shardings=where.state, compiler_options=quick)(seed_array(seeds))
    first = jax.jit(best.first, out_shardings=where.best)(state) if run.best else None
    return Running(state=state, sums=_zeros(where.sums, shapes.sums), best=first), where


def _settled(experiment: Experiment, run: Run, state: State, mesh: Mesh, lanes: int) -> State:
    if not run.exact:
        return settled(experiment, state, mesh, lanes=lanes)
    place, own = on_one(mesh, state)
    extra = settled(experiment, own, place).extra
    placed = jax.tree.map(lambda x, like: parallel.put(np.asarray(x), like.sharding), extra, state.extra)
    return state.replace(extra=placed)


def _name() -> str:
    """Of this process among several."""
    return f"-{jax.process_index()}" if jax.process_count() > 1 else ""


def _zeros(where: PyTree, like: PyTree) -> PyTree:
    """Sums of nothing, placed."""
    return jax.tree.map(lambda sharding, leaf: parallel.put(np.zeros(leaf.shape, leaf.dtype), sharding), where, like)


def _first(value: Array) -> Array:
    """All lanes of a vmapped run are at the same step."""
    return np.asarray(value).ravel()[0]


def _due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


def _to_evaluate(run: Run, step: int) -> bool:
    return step >= run.steps or _due(run.eval_every, step)


class Pause(NamedTuple):
    """What is to be done between two dispatches."""

    save: bool
    evaluate: bool
    signal: int | None


def _pauses(run: Run, stop: Stop, store: Store) -> Callable[[int], Pause]:
    """Steps done -> what is to be done there."""
    saved = time.monotonic()

    def late(done: int) -> bool:
        """Whether too much work would be lost; saving is to cost less than `AUTOSAVE_SHARE` of the time."""
        if run.save_seconds is None or store.saving:
            return False
        over = time.monotonic() - saved > max(run.save_seconds, store.seconds / AUTOSAVE_SHARE)
        if jax.process_count() == 1:
            return over
        # Clocks differ, so the first process decides, where a line of the log makes all wait anyway.
        return _due(run.log_every, done) and bool(multihost_utils.broadcast_one_to_all(np.int32(over)))

    def at(done: int) -> Pause:
        nonlocal saved
        number = stop.asked()
        save = bool(done == run.steps or _due(run.save_every, done) or number or late(done))
        if save:
            saved = time.monotonic()
        return Pause(save, _to_evaluate(run, done), number)

    return at


def _train(
    experiment: Experiment,
    run: Run,
    seeds: Sequence[int],
    running: Running,
    dispatch: Dispatch,
    pausing: Callable[[int], Pause],
    log: Log,
    live: Callable[[], None],
) -> Iterator[tuple[int, Running, Pause]]:
    """Train to the last step; yield (step, running, pause) where the caller has something to do.

    The next dispatch is sent before the metrics of the last one are read: the device never waits for the log.
    """
    done = int(_first(running.state.step))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), running.sums)
    where = jax.tree.map(lambda leaf: leaf.sharding, running.sums)
    sent: tuple[int, dict[str, Metric] | None, Array] | None = None
    length, since = 1, time.perf_counter()

    def settle() -> None:
        nonlocal sent
        if sent is None:
            return
        (end, sums, skipped), sent = sent, None
        if np.max(skipped) >= PATIENCE:
            raise NumericalError(_diverged(experiment, seeds, running.state))
        live()  # The device has come so far: its answer was read.
        log.progress(end)
        if sums is not None:
            values = scalars(values_of(jax.device_get(sums), len(seeds)))
            log.write(end, {f"train/{name}": value for name, value in values.items() if value or name != "skipped"})

    while done < run.steps:
        stops = (run.log_every, run.eval_every, run.save_every)
        count = min(length, run.steps - done, *(every - done % every for every in stops if every))
        running, skipped = dispatch(running, done, count)
        settle()  # of the dispatch before
        done += count
        sent = (done, None, skipped)
        if _due(run.log_every, done) or done == run.steps:
            # The sums leave the training here: the next dispatch, which takes its arguments' memory, must not get them.
            sent = (done, running.sums, skipped)
            running = running.replace(sums=jax.tree.map(parallel.put, zeros, where))
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
        pause = pausing(done)
        if any(pause):
            settle()
            yield done, running, pause
            since = time.perf_counter()


def _diverged(experiment: Experiment, seeds: Sequence[int], state: State) -> str:
    """Which steps, which leaves: known after the fact, since data and keys are functions of the step."""
    lane = int(np.argmax(np.asarray(state.skipped))) if len(seeds) > 1 else 0
    own = lane_of(state, lane) if len(seeds) > 1 else state
    own = parallel.fetched(own)
    end = int(own.step)
    batch = jax.tree.map(jnp.asarray, reseeded(experiment.train, seeds[lane]).at(end - 1))
    before = own.replace(step=own.step - 1)
    leaves = nonfinite_leaves(experiment.task, experiment.optimizer, before, batch, jnp.uint32(seeds[lane]))
    named = ", ".join(leaves[:5]) + (f" and {len(leaves) - 5} more" if len(leaves) > 5 else "")
    return (
        f"training diverged: the updates of steps {end - PATIENCE} to {end - 1} (seed {seeds[lane]}) were not finite, "
        f"first seen in {named}; none of them entered the parameters. Lower --optimizer.rate, or set --optimizer.clip."
    )
