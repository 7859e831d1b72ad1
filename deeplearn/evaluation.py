"""Evaluation: every example once, padding masked, sums divided at the end."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from deeplearn import parallel
from deeplearn.data.source import Source
from deeplearn.dispatch import shared
from deeplearn.errors import ConfigError
from deeplearn.experiment import Evaluation, Experiment
from deeplearn.metrics import Metric, Results, lane_of, values_of
from deeplearn.step import accumulated, eval_step
from deeplearn.task import Batch, Task, Variables

FEW = (1, 8, 64)
"""Rows to which the last batch of a prediction is cut where so many hold it: few sizes, since each is compiled."""


def evaluate(
    experiment: Experiment,
    variables: Variables,
    mesh: Mesh,
    *,
    final: bool = True,
    lanes: int = 1,
    between: Callable[[], None] = lambda: None,
) -> Results:
    """The metrics of all evaluations over every example once.

    Args:
        variables: leaves [S, ...] where lanes > 1.
        final: also those that are to be looked at once only.
        lanes: number of models stacked in `variables`.
        between: called between batches, by all processes equally often; what it raises ends the evaluation.

    Returns:
        `{"<evaluation>/<metric>": value}`, and a list of values [S] per name where lanes > 1.
    """
    results: Results = {}
    for name, evaluation in experiment.evaluations.items():
        if evaluation.final and not final:
            continue
        sums, predictions = _one_pass(experiment.task, variables, evaluation, mesh, lanes, between)
        counted = np.any(np.asarray(sums["loss"].count) > 0)  # A contrast has no loss where there is one view.
        values = values_of({name: own for name, own in sums.items() if counted or name != "loss"}, lanes)
        if evaluation.score is not None:
            scores = [evaluation.score(*lane) for lane in predictions]
            values |= {key: scores[0][key] if lanes == 1 else [score[key] for score in scores] for key in scores[0]}
        results |= {f"{name}/{key}": value for key, value in values.items()}
    return results


def _one_pass(
    task: Task,
    variables: Variables,
    evaluation: Evaluation,
    mesh: Mesh,
    lanes: int,
    between: Callable[[], None],
) -> tuple[dict[str, Metric], list[tuple[PyTree, Batch]]]:
    """Summed metrics, and per lane (predictions, columns) of all examples where there is a score."""
    measure, predict = eval_program(task, mesh, lanes, with_predictions=evaluation.score is not None)
    sums: dict[str, Metric] | None = None
    seen: list[tuple[PyTree, Batch]] = []
    source, put, devices = shared(evaluation.source, mesh)
    for batch in source.once():
        between()
        batch = _padded(batch, devices)
        placed = put(batch, parallel.on_rows(mesh))
        sums = accumulated(sums, measure(variables, placed))
        if evaluation.score is not None:
            whole = batch if source is evaluation.source else parallel.fetched(placed)
            seen.append((predict(variables, placed), whole))
    return jax.device_get(sums), [_unpadded(seen, lane if lanes > 1 else None) for lane in range(lanes)] if seen else []


def _padded(batch: Batch, devices: int) -> Batch:
    """Rows that divide among the devices: the last one again, under a mask of 0."""
    lack = -len(batch["mask"]) % devices
    longer = {name: np.concatenate([column, np.repeat(column[-1:], lack, axis=0)]) for name, column in batch.items()}
    return longer | {"mask": np.concatenate([batch["mask"], np.zeros(lack, np.float32)])} if lack else batch


def predict_all(task: Task, variables: Variables, source: Source, *, spread: bool = True) -> PyTree:
    """What the task predicts for every example of the source, in order: leaves [N, ...].

    Args:
        spread: where the variables lie on several devices, as after a training, each of them predicts its share of a
            batch, and all processes call this. Otherwise each device predicts all, with the bits of one alone.
    """
    mesh = parallel.mesh_of(variables) if spread else None
    if mesh is not None:
        return _predicted_by_all(task, variables, source, mesh)
    program = jax.jit(task.predict)
    kept = []
    for batch in source.once():
        real = int((np.asarray(batch["mask"]) > 0).sum())  # padding comes last
        rows = min([size for size in FEW if size >= real], default=len(batch["mask"]))
        found = program(variables, {name: column[:rows] for name, column in batch.items()})
        kept.append(jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[:real], found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *kept)


def _predicted_by_all(task: Task, variables: Variables, source: Source, mesh: Mesh) -> PyTree:
    program = eval_program(task, mesh, 1, with_predictions=True)[1]
    source, put, devices = shared(source, mesh)
    kept = []
    for batch in source.once():
        placed = put(_padded(batch, devices), parallel.on_rows(mesh))
        real = np.asarray(parallel.fetched(placed["mask"])) > 0
        kept.append(jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[real], program(variables, placed)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *kept)


@functools.lru_cache(maxsize=32)
def eval_program(task: Task, mesh: Mesh, lanes: int, *, with_predictions: bool) -> tuple[Callable, Callable]:
    """The jitted evaluation step and prediction of a task; kept, so that repeated evaluations compile once."""
    measure, predict = functools.partial(eval_step, task), task.predict
    if with_predictions and predict is None:
        raise ConfigError("an evaluation with a score needs a task with predict.")
    if lanes > 1:
        measure = jax.vmap(measure, in_axes=(0, None))
        predict = predict and jax.vmap(predict, in_axes=(0, None))
    whole = parallel.replicated(mesh)  # A process can read only what its own devices hold.
    return jax.jit(measure, out_shardings=whole), predict and jax.jit(predict, out_shardings=whole)


def _unpadded(seen: list[tuple[PyTree, Batch]], lane: int | None) -> tuple[PyTree, Batch]:
    """(predictions [N, ...], columns [N, ...]) of the real examples of all batches."""

    def keep(tree: PyTree, mask: np.ndarray) -> PyTree:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[mask], tree)

    kept = []
    for predictions, batch in seen:
        own = predictions if lane is None else lane_of(predictions, lane)
        kept.append(keep((own, batch), np.asarray(batch["mask"]) > 0))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *kept)
