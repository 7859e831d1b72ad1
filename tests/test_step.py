"""The pure training step: sums divided once, whatever the rows are worth and however they are cut."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec
from toy import RUN, toy

from deeplearn.metrics import Mean
from deeplearn.parallel import make_mesh
from deeplearn.step import PATIENCE, eval_step, init, nonfinite_leaves, train_step, variables
from deeplearn.task import linen

EXPERIMENT = toy(RUN)
BATCH = {name: jnp.asarray(column) for name, column in EXPERIMENT.train.at(0).items()}
SGD = optax.sgd(0.1)
START = init(EXPERIMENT.task, SGD, 0, BATCH)


def after(batch, microbatches=1, state=START):
    step = jax.jit(lambda state, batch: train_step(EXPERIMENT.task, SGD, state, batch, 0, microbatches=microbatches))
    return step(state, batch)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a, b)


def test_rows_under_mask_0_change_nothing_whatever_they_hold():
    padded = {name: jnp.concatenate([column, column[:8]]) for name, column in BATCH.items()}
    padded["x"] = padded["x"].at[-8:].set(1e3)
    padded["mask"] = padded["mask"].at[-8:].set(0)
    close(after(padded)[0].params, after(BATCH)[0].params)


@pytest.mark.parametrize("microbatches", [2, 4])
def test_microbatches_with_unequal_weights_give_the_gradient_of_the_whole(microbatches):
    """Means of means would be wrong here: the parts hold different numbers of real rows."""
    weighted = BATCH | {"mask": BATCH["mask"].at[: len(BATCH["mask"]) // 2].set(0)}
    close(after(weighted, microbatches)[0].params, after(weighted)[0].params)


class Masks(nn.Module):
    """Tells which of many features dropout has kept of each row."""

    @nn.compact
    def __call__(self, x, *, train):
        scale = self.param("scale", nn.initializers.ones, ())
        return nn.Dropout(0.5, deterministic=not train)(jnp.ones((x.shape[0], 64)) * scale)


@pytest.mark.parametrize(("how", "microbatches"), [("jit", 1), ("jit", 2), ("jit", 4), ("shard_map", 1)])
def test_every_row_has_a_dropout_mask_of_its_own(how, microbatches):
    """One key for all microbatches or devices would drop the same features of their rows again and again."""

    def objective(kept, batch):
        one_hot = jax.nn.one_hot(batch["index"], 4)[..., None]  # [B, 4, 1]
        patterns = (one_hot * kept[:, None]).sum(0)  # [4, 64]
        return Mean.of(kept.mean(1), batch["mask"]), {"patterns": Mean(total=patterns, count=jnp.ones(()))}

    task = linen(Masks(), objective, inputs=lambda batch: (batch["x"],))
    batch = {"x": jnp.ones((4, 2)), "mask": jnp.ones(4), "index": jnp.arange(4, dtype=jnp.int32)}
    state = init(task, SGD, 0, batch)
    if how == "jit":
        metrics = train_step(task, SGD, state, batch, 0, microbatches=microbatches)[1]
    else:
        mesh, rows = make_mesh("data=4"), PartitionSpec("data")
        step = lambda batch: train_step(task, SGD, state, batch, 0, axis="data")[1]  # noqa: E731
        spread = jax.shard_map(step, mesh=mesh, in_specs=rows, out_specs=PartitionSpec(), check_vma=False)
        metrics = spread(batch)
    assert len(np.unique(np.asarray(metrics["patterns"].total) > 0, axis=0)) == 4


def test_a_non_finite_batch_leaves_parameters_alone_and_is_counted():
    state, metrics = after(BATCH | {"x": BATCH["x"].at[0, 0].set(jnp.nan)})
    close(state.params, START.params)
    assert (int(state.step), int(state.skipped)) == (1, 1)
    assert metrics["skipped"].compute() == 1 and float(metrics["loss"].count) == 0


def test_after_patience_the_state_stands_still():
    halted = START.replace(skipped=jnp.int32(PATIENCE))
    state, _ = after(BATCH, state=halted)
    assert int(state.step) == int(halted.step)
    close(state.params, halted.params)


def test_what_diverged_is_named():
    assert nonfinite_leaves(EXPERIMENT.task, SGD, START, BATCH, 0) == []
    broken = BATCH | {"x": BATCH["x"].at[0, 0].set(jnp.inf)}
    assert nonfinite_leaves(EXPERIMENT.task, SGD, START, broken, 0)[0] == "loss"


def test_evaluation_uses_the_average_where_there_is_one():
    averaging = toy(dataclasses.replace(RUN, optimizer=dataclasses.replace(RUN.optimizer, average=0.5)))
    state = init(averaging.task, averaging.optimizer, 0, BATCH)
    moved, _ = train_step(averaging.task, averaging.optimizer, state, BATCH, 0)
    kernel = lambda tree: tree["params"]["Dense_0"]["kernel"]  # noqa: E731
    assert not np.array_equal(kernel(variables(moved)), kernel({"params": moved.params}))
    assert set(eval_step(averaging.task, variables(moved), BATCH)) == {"loss", "accuracy", "confusion"}
