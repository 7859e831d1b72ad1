"""Before the first step: what is refused, what fit.json keeps of a fit, and the first state."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from deeplearn import best, parallel
from deeplearn.checkpoint import Store
from deeplearn.config import to_json
from deeplearn.dispatch import Running, running_shapes, seed_array
from deeplearn.errors import ConfigError
from deeplearn.exact import check_shards
from deeplearn.experiment import Experiment, Run
from deeplearn.step import State, init


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
    elif run.patience is not None:
        raise ConfigError("--patience waits for a better evaluation: say by which metric, as in --best valid/loss.")
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


def _zeros(where: PyTree, like: PyTree) -> PyTree:
    """Sums of nothing, placed."""
    return jax.tree.map(lambda sharding, leaf: parallel.put(np.zeros(leaf.shape, leaf.dtype), sharding), where, like)
