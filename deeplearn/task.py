"""What a task is: a record of pure functions. Only `linen` knows Flax."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from deeplearn.metrics import Mean, Metric

Batch = dict[str, Array]
"""Columns that share their first axis [B]; always with `mask` [B] (1 real, 0 padding) and `index` [B] (source row)."""
Variables = Mapping[str, PyTree]
"""`{"params": ..., other collections}`: what an optimizer trains, and what else the model carries."""


def batch_of(columns: Batch, rows: Batch, i: ArrayLike) -> Batch:
    """Batch `i` of `rows` [K, B, ...]; where there are columns [N, ...], `rows` are `{"index": [K, B]}` into them."""
    batch = {name: column[i] for name, column in rows.items()}
    if not columns:
        return batch
    index = batch["index"]
    taken = {name: jnp.take(column, index, axis=0) for name, column in columns.items()}
    return taken | {"index": index, "mask": jnp.ones(index.shape, jnp.float32)}


class Output(NamedTuple):
    """One look at a batch."""

    loss: Mean
    """The objective is loss.total / loss.count, over however many devices and microbatches the batch is spread."""
    metrics: Mapping[str, Metric]
    extra: PyTree
    """New values of the collections that are not trained."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to learn, as `optax.GradientTransformation` is how: `init`, `loss` and optionally `predict`, all pure."""

    init: Callable[[Array, Batch], Variables]
    """(key, example batch) -> variables."""
    loss: Callable[[Variables, Batch, Array, bool], Output]
    """(variables, batch, key, train) -> Output."""
    predict: Callable[[Variables, Batch], PyTree] | None = None
    """(variables, batch) -> predictions, each leaf [B, ...]."""
    statistics: Callable[[Variables, Batch], PyTree] | None = None
    """(variables, batch) -> the collections that are not trained, after training's look at the batch as it is."""
    couples: bool = False
    """The loss ties the rows of a batch together, as contrasts do: it is another loss where a device or a microbatch
    sees a part of the batch only, so such ways of spreading are refused."""


def linen(
    model: nn.Module,
    objective: Callable[[Any, Batch], tuple[Mean, Mapping[str, Metric]]],
    *,
    inputs: Callable[[Batch], tuple[Array, ...]],
    augment: Callable[[Array, Batch], Batch] | None = None,
    predict: Callable[[Any, Batch], PyTree] | None = None,
    couples: bool = False,
) -> Task:
    """A Flax Linen model and an objective as a Task.

    Args:
        model: called as `model(*inputs(batch), train=...)`; may use the key stream "dropout" and mutable collections.
        objective: (model outputs, batch) -> (loss, metrics).
        inputs: which columns the model sees.
        augment: (key, batch) -> batch, applied when training only. Draw per example from `fold_in(key, index)` and the
            result does not depend on how the batch is spread over devices.
        predict: (model outputs, batch) -> predictions; the outputs themselves by default.
        couples: whether the objective compares the rows of a batch with each other.
    """

    def init(key: Array, batch: Batch) -> Variables:
        params_key, dropout_key = jax.random.split(key)
        return model.init({"params": params_key, "dropout": dropout_key}, *inputs(batch), train=False)

    def loss(variables: Variables, batch: Batch, key: Array, train: bool) -> Output:
        extra = {name: value for name, value in variables.items() if name != "params"}
        if not train:
            outputs = model.apply(variables, *inputs(batch), train=False)
            return Output(*objective(outputs, batch), extra)
        augment_key, dropout_key = jax.random.split(key)
        if "index" in batch:  # Each device's and each microbatch's rows are dropped in their own way.
            dropout_key = jax.random.fold_in(dropout_key, batch["index"][0])
        if augment is not None:
            batch = augment(augment_key, batch)
        outputs, updated = model.apply(
            variables, *inputs(batch), train=True, rngs={"dropout": dropout_key}, mutable=list(extra)
        )
        return Output(*objective(outputs, batch), {**extra, **updated})

    def statistics(variables: Variables, batch: Batch) -> PyTree:
        names = [name for name in variables if name != "params"]
        rngs = {"dropout": jax.random.key(0)}
        return model.apply(variables, *inputs(batch), train=True, rngs=rngs, mutable=names)[1]

    def predictions(variables: Variables, batch: Batch) -> PyTree:
        outputs = model.apply(variables, *inputs(batch), train=False)
        return outputs if predict is None else predict(outputs, batch)

    return Task(init=init, loss=loss, predict=predictions, statistics=statistics, couples=couples)


def per_example(
    model: nn.Module,
    loss: Callable[[Any, Batch], Float[Array, "B"]],
    *,
    inputs: Callable[[Batch], tuple[Array, ...]],
    augment: Callable[[Array, Batch], Batch] | None = None,
    predict: Callable[[Any, Batch], PyTree] | None = None,
    couples: bool = False,
) -> Task:
    """`linen` with a loss of each example, whose mean is minimised, and no other metric."""

    def objective(outputs: Any, batch: Batch) -> tuple[Mean, Mapping[str, Metric]]:
        return Mean.of(loss(outputs, batch), batch["mask"]), {}

    return linen(model, objective, inputs=inputs, augment=augment, predict=predict, couples=couples)


def warm(task: Task, part: str, learnt: Variables) -> Task:
    """The task, with the part of its model of that name starting from what another task learnt, and the rest afresh."""

    def begin(fresh: Variables) -> Variables:
        return {name: {**own, **({part: learnt[name]} if name in learnt else {})} for name, own in fresh.items()}

    return starting(task, begin)


def starting(task: Task, begin: Callable[[Variables], Variables]) -> Task:
    """The task whose first variables are what `begin` makes of fresh ones, such as weights that a file holds.

    Only who trains needs it: wrapped in `experiment()`, not in `task()`, a run predicts where that file is not.
    """
    return replace(task, init=lambda key, batch: begin(task.init(key, batch)))
