"""The one training loop."""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array

from deeplearn import best, parallel
from deeplearn.beginning import begin, refuse, started_with
from deeplearn.checkpoint import Store
from deeplearn.config import check
from deeplearn.dispatch import LONGEST, Dispatch, Running, dispatcher, reseeded
from deeplearn.errors import ConfigError, NumericalError
from deeplearn.evaluation import evaluate
from deeplearn.exact import on_one
from deeplearn.experiment import FREE, Experiment, Run
from deeplearn.interrupt import Interrupted, Stop, signals
from deeplearn.metrics import Metric, Results, lane_of, scalars, values_of
from deeplearn.record import fitfile
from deeplearn.record.log import Log, log_to
from deeplearn.reestimate import settled
from deeplearn.step import PATIENCE, State, nonfinite_leaves, variables
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
    job = Job(experiment, run, folder, seeds, parallel.make_mesh(run.mesh))
    told = refuse(experiment, run, job.mesh)
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder / "checkpoints", keep=run.keep))
        live = stack.enter_context(watched(folder, run.stuck_seconds, _name()))
        stop = stack.enter_context(signals())
        with stop.at_once(f"before a step was trained; {_onward(job)}"):
            if run.restart:
                store.clear()
            if jax.process_index() == 0:
                fitfile.admit(folder, started_with(experiment, run), experiment.assets, FREE, again=run.restart)
            running, shardings = begin(experiment, run, seeds, job.mesh, store)
            log = stack.enter_context(log_to(folder, run.steps, sinks=run.sinks))
            if (start := _step_of(running)) > run.steps:
                raise ConfigError(
                    f"{folder} has learnt for {start} steps, more than --steps {run.steps}: give as many or more, "
                    "or another --workdir."
                )
            log.start(start, run.batch * len(seeds), again=start > 0 and _to_evaluate(run, start))
            if told:
                log.say(told)
            dispatch = dispatcher(experiment, run, seeds, job.mesh, shardings.replace(best=None))
        return _trained(job, Around(store, log, live, stop), running, dispatch)


class Job(NamedTuple):
    """What is trained, how, where to."""

    experiment: Experiment
    run: Run
    folder: Path
    seeds: tuple[int, ...]
    mesh: Mesh


class Around(NamedTuple):
    """What a training has open."""

    store: Store
    log: Log
    live: Callable[[], None]
    """To be called wherever the training is seen to go on."""
    stop: Stop


def _trained(job: Job, around: Around, running: Running, dispatch: Dispatch) -> tuple[State, Results]:
    """From where `running` stands to the last step."""
    run, kept, results = job.run, running.best, {}
    start, running = _step_of(running), running.replace(best=None)
    if start > 0 and _to_evaluate(run, start):  # Stopped after it had saved and before it wrote what it measured.
        if run.best and start < run.steps:
            kept = _choose(job, around, start, running.state, kept)
        if not run.best or best.over(kept, start, run):
            results = _measure(job, around, start, running.replace(best=kept))
    if start > 0 and best.over(kept, start, run):
        return best.final(running.state, kept), results
    for done, running, pause in _train(job, around, running, dispatch):  # noqa: B020
        if done == run.steps:
            running = running.replace(state=_settled(job, running.state))
        # A stop need not wait for a look that can be made up for; one that may end the training it has to save.
        if run.best and pause.evaluate and (not pause.signal or done == run.steps or run.patience):
            kept = _choose(job, around, done, running.state, kept)
        running, last = running.replace(best=kept), best.over(kept, done, run)
        if pause.save or last:  # First: evaluations may be long, and a stop must not lose the steps before them.
            around.store.save(done, running)
        if pause.signal and not last:
            around.store.wait()
            raise Interrupted(pause.signal, _saved(job, done))
        if pause.evaluate and (not run.best or last):
            results = _measure(job, around, done, running)
        if last:
            break
    return best.final(running.state, kept), results


def _look(job: Job, learnt: Variables, between: Callable[[], None], *, final: bool) -> Results:
    place, learnt = on_one(job.mesh, learnt) if job.run.exact else (job.mesh, learnt)
    return evaluate(job.experiment, learnt, place, final=final, lanes=len(job.seeds), between=between)


def _measure(job: Job, around: Around, done: int, running: Running) -> Results:
    """Evaluate and write it down. Raises Interrupted at once, with the step saved."""
    last = best.over(running.best, done, job.run)

    def between() -> None:
        around.live()
        around.stop.check()

    try:
        with around.stop.at_once(_saved(job, done)):
            learnt = best.chosen(running.best) if last and job.run.best else variables(running.state)
            results = _look(job, learnt, between, final=last)
    except Interrupted:
        around.store.save(done, running)
        raise
    around.log.write(done, scalars(results))
    return results


def _choose(job: Job, around: Around, done: int, state: State, kept: best.Best) -> best.Best:
    """The better of this step and the best so far.

    Not to be interrupted: the checkpoint that follows has to hold what was chosen.
    """
    state = state if done >= job.run.steps else _settled(job, state)
    results = _look(job, variables(state), around.live, final=False)
    found = best.better(kept, state, results, job.run)
    if best.over(found, done, job.run):  # It is measured again, with what comes after the training, and then written.
        around.log.say(f"keeping step {best.steps(found)}, the best by {job.run.best}")
    else:
        around.log.write(done, scalars(results))
    return found


def _saved(job: Job, step: int) -> str:
    return f"after step {step}, checkpoint saved in {job.run.workdir or job.folder}; {_onward(job)}"


def _onward(job: Job) -> str:
    return f"go on with: deeplearn resume {shlex.quote(str(job.run.workdir or job.folder))}"


def _settled(job: Job, state: State) -> State:
    """The state with the batch statistics that belong to averaged parameters."""
    if not job.run.exact:
        return settled(job.experiment, state, job.mesh, lanes=len(job.seeds))
    place, own = on_one(job.mesh, state)
    extra = settled(job.experiment, own, place).extra
    placed = jax.tree.map(lambda x, like: parallel.put(np.asarray(x), like.sharding), extra, state.extra)
    return state.replace(extra=placed)


def _name() -> str:
    """Of this process among several."""
    return f"-{jax.process_index()}" if jax.process_count() > 1 else ""


def _step_of(running: Running) -> int:
    """All lanes of a vmapped run are at the same step."""
    return int(np.asarray(running.state.step).ravel()[0])


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


def _train(job: Job, around: Around, running: Running, dispatch: Dispatch) -> Iterator[tuple[int, Running, Pause]]:
    """Train to the last step; yield (step, running, pause) where the caller has something to do.

    The next dispatch is sent before the metrics of the last one are read: the device never waits for the log.
    """
    run, log, done = job.run, around.log, _step_of(running)
    pausing = _pauses(run, around.stop, around.store)
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
            raise NumericalError(_diverged(job, running.state))
        around.live()  # The device has come so far: its answer was read.
        log.progress(end)
        if sums is not None:
            values = scalars(values_of(jax.device_get(sums), len(job.seeds)))
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


def _diverged(job: Job, state: State) -> str:
    """Which steps, which leaves: known after the fact, since data and keys are functions of the step."""
    experiment, seeds = job.experiment, job.seeds
    lane = int(np.argmax(np.asarray(state.skipped))) if len(seeds) > 1 else 0
    own = lane_of(state, lane) if len(seeds) > 1 else state
    end = int(own.step)
    batch = parallel.put(dict(reseeded(experiment.train, seeds[lane]).at(end - 1)), parallel.on_rows(job.mesh))
    before = own.replace(step=np.asarray(end - 1, own.step.dtype))
    leaves = nonfinite_leaves(experiment.task, experiment.optimizer, before, batch, jnp.uint32(seeds[lane]))
    named = ", ".join(leaves[:5]) + (f" and {len(leaves) - 5} more" if len(leaves) > 5 else "")
    return (
        f"training diverged: the updates of steps {end - PATIENCE} to {end - 1} (seed {seeds[lane]}) were not finite, "
        f"first seen in {named}; none of them entered the parameters. Lower --optimizer.rate, or set --optimizer.clip."
    )
