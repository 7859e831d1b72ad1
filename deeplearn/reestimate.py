"""Statistics of batch normalisation for parameters that no training step has used, such as averaged ones."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from deeplearn import parallel
from deeplearn.dispatch import reseeded
from deeplearn.experiment import Experiment
from deeplearn.optimizer import averaged
from deeplearn.step import State, variables
from deeplearn.task import Batch, Task, Variables

MOST = 100
"""Batches to measure on: of some thousand images each channel's mean and variance are known to a percent or better."""


def settled(experiment: Experiment, state: State, mesh: Mesh, *, lanes: int = 1) -> State:
    """The state after training: where the parameters are averaged, with the batch statistics that belong to them.

    Running averages follow the parameters of each step on augmented batches; the averaged ones on clean images have
    others (Izmailov et al., "Averaging weights leads to wider optima", 2018, section 3.2).
    """
    if "batch_stats" not in state.extra or averaged(state.opt, state.params) is state.params:
        return state
    source = reseeded(experiment.train, 0)  # the same batches whatever the seed
    where = parallel.on_rows(mesh)
    count = min(max(source.size // source.batch, 1), MOST)
    batches = (parallel.put(source.at(step), where) for step in range(count))
    return state.replace(
        extra={**state.extra, "batch_stats": reestimated(experiment.task, variables(state), batches, lanes=lanes)}
    )


def reestimated(task: Task, learnt: Variables, batches: Iterable[Batch], *, lanes: int = 1) -> Variables:
    """The collection `batch_stats` as the mean over batches of their own statistics (as torch's `update_bn`).

    Args:
        lanes: number of models stacked in `learnt`.
    """

    def look(learnt: Variables, before: Variables, batch: Batch) -> Variables:
        return task.statistics({**learnt, "batch_stats": before}, batch)["batch_stats"]

    program = jax.jit(look if lanes == 1 else jax.vmap(look, in_axes=(0, 0, None)))
    zeros = total = jax.tree.map(jnp.zeros_like, learnt["batch_stats"])
    count = 0
    for batch in batches:
        own = program(learnt, zeros, batch)
        total, count = jax.tree.map(jnp.add, total, own), count + 1
    # A look leaves m * before + (1 - m) * own behind, and m is the model's business: another `before` of the size of
    # what is there tells it to all digits.
    other = jax.tree.map(lambda x: 1 + jnp.abs(x), own)
    kept = jax.tree.map(lambda a, b, c: (a - b) / c, program(learnt, other, batch), own, other)
    return jax.tree.map(lambda t, m: t / (count * (1 - m)), total, kept)
