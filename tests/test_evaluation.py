"""Every example once, padding masked, sums divided at the end."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import RUN, Net, columns, toy

from deeplearn.data.source import Arrays
from deeplearn.errors import ConfigError
from deeplearn.evaluation import eval_program, evaluate, predict_all
from deeplearn.loop import fit
from deeplearn.metrics import Mean
from deeplearn.parallel import make_mesh, replicated
from deeplearn.step import init, variables
from deeplearn.trained import restored
from deeplearn.workspace import evaluate_stored

EXPERIMENT = toy(RUN)
LEARNT = variables(init(EXPERIMENT.task, EXPERIMENT.optimizer, 0, EXPERIMENT.train.at(0)))


@pytest.mark.parametrize("batch", [1, 7, 50, 64])
def test_predictions_come_in_order_whatever_the_batch(batch):
    data = columns(50, 1)
    whole = EXPERIMENT.task.predict(LEARNT, {"x": data["x"]})
    found = predict_all(EXPERIMENT.task, LEARNT, Arrays(columns=data, batch=batch))
    np.testing.assert_allclose(found, whole, atol=1e-5)


@pytest.mark.parametrize("spec", ["data=8", "data=2,fsdp=2"])
@pytest.mark.parametrize("batch", [7, 64])
def test_devices_that_hold_the_model_share_a_prediction(spec, batch):
    data, mesh = columns(100, 1), make_mesh(spec)
    source = Arrays(columns=data, batch=batch)
    learnt = jax.device_put(LEARNT, replicated(mesh))
    task = replace(EXPERIMENT.task, predict=lambda variables, given: EXPERIMENT.task.predict(variables, given))
    found = predict_all(task, learnt, source)
    np.testing.assert_allclose(found, predict_all(EXPERIMENT.task, LEARNT, source), atol=1e-5)
    program = eval_program(task, mesh, 1, with_predictions=True)[1]
    assert program._cache_size() == 1  # padding makes all batches alike
    np.testing.assert_array_equal(
        predict_all(EXPERIMENT.task, learnt, source, spread=False), predict_all(EXPERIMENT.task, LEARNT, source)
    )


def test_metrics_equal_those_of_one_batch_on_one_or_two_devices():
    data = columns(100, 1)
    logits = np.asarray(EXPERIMENT.task.predict(LEARNT, {"x": data["x"]}))
    for mesh in ("data=1", "data=2"):
        results = evaluate(EXPERIMENT, LEARNT, make_mesh(mesh))
        assert results["test/accuracy"] == pytest.approx((logits.argmax(-1) == data["label"]).mean())
        assert results["test/confusion"].sum() == 100


def test_a_batch_that_does_not_divide_is_spread_all_the_same():
    """Each device computes its part of it; whole on each it would be right, and eight times the work."""
    held = []

    def watched(predictions, examples):
        held.append(len(predictions))
        return {"sum": float(examples["index"].sum())}

    uneven = toy(RUN, score=watched)
    source = replace(uneven.evaluations["test"].source, batch=50)
    uneven = replace(uneven, evaluations={"test": replace(uneven.evaluations["test"], source=source)})
    found = evaluate(uneven, LEARNT, make_mesh("data=8"))
    assert found["test/sum"] == sum(range(100))
    assert held == [100]
    once = evaluate(EXPERIMENT, LEARNT, make_mesh("data=1"))
    assert found["test/loss"] == pytest.approx(once["test/loss"], rel=1e-6)
    np.testing.assert_array_equal(found["test/confusion"], once["test/confusion"])
    measure, _ = eval_program(uneven.task, make_mesh("data=8"), 1, with_predictions=True)
    assert measure._cache_size() == 1  # one shape: 50 rows and 6 of padding


def test_a_test_set_is_looked_at_only_in_the_end():
    once = {"test": replace(EXPERIMENT.evaluations["test"], final=True)}
    experiment = replace(EXPERIMENT, evaluations=once)
    assert evaluate(experiment, LEARNT, make_mesh("data=1"), final=False) == {}


def test_a_loss_that_counts_nothing_is_no_result():
    """A loss between two views says nothing where there is one; zero would look like a perfect fit."""

    def silent(variables, batch, key, train):
        out = EXPERIMENT.task.loss(variables, batch, key, train)
        return out._replace(loss=Mean(total=jnp.float32(0), count=jnp.float32(0)))

    found = evaluate(replace(EXPERIMENT, task=replace(EXPERIMENT.task, loss=silent)), LEARNT, make_mesh("data=1"))
    assert set(found) == {"test/accuracy", "test/confusion"}


def test_a_score_needs_predictions():
    scoring = toy(RUN, score=lambda predictions, found: {"n": float(len(predictions))})
    assert evaluate(scoring, LEARNT, make_mesh("data=1"))["test/n"] == 100
    silent = replace(scoring, task=replace(scoring.task, predict=None))
    with pytest.raises(ConfigError, match="needs a task with predict"):
        evaluate(silent, LEARNT, make_mesh("data=1"))


def test_several_models_at_once_give_the_values_of_each():
    both = jax.tree.map(lambda leaf: np.stack([leaf, leaf + 0.1]), LEARNT)
    together = evaluate(EXPERIMENT, both, make_mesh("data=1"), lanes=2)
    for lane in range(2):
        alone = evaluate(EXPERIMENT, jax.tree.map(lambda leaf, lane=lane: leaf[lane], both), make_mesh("data=1"))
        assert together["test/loss"][lane] == pytest.approx(alone["test/loss"], rel=1e-5)


@pytest.mark.parametrize(("spec", "share"), [("data=2,fsdp=4", 4), ("data=64", 1)])
def test_a_stored_model_is_measured_in_slices_or_on_a_machine_with_fewer_devices(tmp_path, capsys, spec, share):
    """A run of 64 devices is read on eight; slices of its leaves are held as they were in training."""
    wide, held = toy(RUN, model=Net(512)), []
    _, results = fit(wide, replace(RUN, steps=1, mesh="data=1"), tmp_path)
    stored = restored(RUN, tmp_path, None, wide.task)

    def loss(variables, *rest):
        jax.debug.inspect_array_sharding(variables["params"]["Dense_0"]["kernel"], callback=held.append)
        return wide.task.loss(variables, *rest)

    watched = replace(wide, task=replace(wide.task, loss=loss))
    found = evaluate_stored(watched, stored, replace(RUN, mesh=spec), other_data=False)
    assert found["test/loss"] == pytest.approx(results["test/loss"], rel=1e-5)
    assert held and np.prod(held[0].shard_shape((8, 512))) == 8 * 512 / share
    assert ("fewer devices" in capsys.readouterr().err) == (spec == "data=64")
