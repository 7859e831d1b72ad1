"""Batch statistics for averaged parameters: those of the layers' own inputs, whatever was there before."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import RUN, columns, objective, toy

from deeplearn.loop import fit
from deeplearn.optimizer import Optimizer, averaged
from deeplearn.parallel import make_mesh
from deeplearn.reestimate import reestimated, settled
from deeplearn.step import init
from deeplearn.task import linen


class Normed(nn.Module):
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(16, name="first")(1e3 + x)  # statistics need not be of size one
        x = nn.relu(nn.BatchNorm(not train, momentum=self.momentum, use_fast_variance=False, name="norm")(x))
        return nn.Dense(2, name="last")(nn.Dropout(0.5, deterministic=not train)(x))


def batches(count=4, size=32):
    data = columns(count * size)
    parts = (slice(i * size, (i + 1) * size) for i in range(count))
    return [{name: jnp.asarray(column[part]) for name, column in data.items()} for part in parts]


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("before", [0.0, 7.0])
def test_statistics_are_the_mean_of_the_batches_own_whatever_the_momentum(momentum, before):
    task = linen(Normed(momentum), objective, inputs=lambda batch: (batch["x"],))
    learnt = task.init(jax.random.key(0), batches()[0])
    learnt = {**learnt, "batch_stats": jax.tree.map(lambda x: x * 0 + before, learnt["batch_stats"])}
    found = reestimated(task, learnt, batches())["norm"]
    kernel = np.float64(learnt["params"]["first"]["kernel"])  # its bias is zero
    inputs = [np.float64(1e3 + batch["x"]) @ kernel for batch in batches()]
    np.testing.assert_allclose(found["mean"], np.mean([x.mean(0) for x in inputs], 0), rtol=1e-4)
    np.testing.assert_allclose(found["var"], np.mean([x.var(0) for x in inputs], 0), rtol=1e-3)


def test_models_side_by_side_have_their_own():
    task = linen(Normed(), objective, inputs=lambda batch: (batch["x"],))
    each = [task.init(jax.random.key(seed), batches()[0]) for seed in range(2)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    found = reestimated(task, both, batches(), lanes=2)
    for lane, learnt in enumerate(each):
        alone = reestimated(task, learnt, batches())
        jax.tree.map(lambda a, b, i=lane: np.testing.assert_allclose(a[i], b, rtol=1e-4), found, alone)


def test_after_the_last_step_averaged_parameters_have_their_own_statistics(tmp_path):
    run = dataclasses.replace(RUN, mesh="data=1")
    whole, results = fit(toy(run, model=Normed()), run, tmp_path / "whole")
    task = toy(run, model=Normed()).task
    learnt = {"params": averaged(whole.opt, whole.params), "batch_stats": whole.extra["batch_stats"]}
    wanted = reestimated(task, learnt, [toy(run).train.at(step) for step in range(8)])  # seed 0, 256 rows
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), whole.extra["batch_stats"], wanted)
    test = toy(run).evaluations["test"].source.columns
    logits = Normed().apply(learnt, test["x"], train=False)
    assert results["test/accuracy"] == pytest.approx(float((logits.argmax(-1) == test["label"]).mean()))

    fit(toy(run, model=Normed()), dataclasses.replace(run, steps=5), tmp_path / "parts")
    parts, _ = fit(toy(run, model=Normed()), run, tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


def test_parameters_that_are_not_averaged_keep_their_running_statistics():
    run = dataclasses.replace(RUN, optimizer=Optimizer())
    experiment = toy(run, model=Normed())
    state = init(experiment.task, experiment.optimizer, 0, batches()[0])
    assert settled(experiment, state, make_mesh()) is state
