"""The properties the loop promises, on a task small enough to train in a second."""

import contextlib
import dataclasses
import json
import os
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import RUN, columns, toy

from deeplearn import loop
from deeplearn.data.source import Records
from deeplearn.errors import ConfigError, NumericalError
from deeplearn.evaluation import evaluate
from deeplearn.interrupt import Interrupted, Stop
from deeplearn.loop import fit
from deeplearn.metrics import scalars
from deeplearn.optimizer import Optimizer
from deeplearn.parallel import make_mesh
from deeplearn.sealed import steps
from deeplearn.step import variables


def train(folder, *, seeds=None, model=None, data=None, experiment=None, **knobs):
    run = dataclasses.replace(RUN, **knobs)
    return fit(experiment or toy(run, model=model, data=data), run, folder, seeds=seeds)


def same_bits(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.array_equal(np.asarray(x), np.asarray(y)), a, b)))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """One device, the whole batch at once."""
    return train(tmp_path_factory.mktemp("reference"), mesh="data=1")


# float32 sums in another order: 12 steps of Adam on parameters of size about 1 stay within 1e-5 (measured 1.2e-7).
@pytest.mark.parametrize(
    "knobs",
    [
        {"mesh": "data=2"},
        {"mesh": "data=4"},
        {"mesh": "data=8"},
        {"mesh": "data=4,fsdp=2"},
        {"mesh": "data=2,fsdp=2,tensor=2"},
        {"parallel": "shard_map"},
        {"parallel": "shard_map", "mesh": "data=4", "microbatches": 2},
        {"parallel": "pmap"},
        {"microbatches": 4},
    ],
    ids=str,
)
def test_spreading_does_not_change_the_numbers(knobs, reference, tmp_path):
    state, results = train(tmp_path, **knobs)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5),
        state.params,
        reference[0].params,
    )
    assert results["test/accuracy"] == pytest.approx(reference[1]["test/accuracy"])
    np.testing.assert_array_equal(results["test/confusion"], reference[1]["test/confusion"])


def test_fsdp_and_tensor_really_slice(tmp_path, monkeypatch):
    monkeypatch.setattr(loop.parallel, "FSDP_MIN_BYTES", 64)
    state, _ = train(tmp_path, mesh="data=2,fsdp=2,tensor=2", model=Wide())
    kernel = state.params["wide"]["kernel"]  # [8, 64]
    assert kernel.sharding.spec == jax.sharding.PartitionSpec("fsdp", "tensor")
    assert kernel.addressable_shards[0].data.shape == (4, 32)
    moments = jax.tree.leaves(state.opt, is_leaf=lambda leaf: getattr(leaf, "shape", None) == (8, 64))
    sliced = [leaf for leaf in moments if getattr(leaf, "shape", None) == (8, 64)]
    assert len(sliced) == 3  # two moments and the average
    assert all(leaf.sharding.spec == kernel.sharding.spec for leaf in sliced)


class Wide(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(2, name="out")(nn.Dense(64, name="wide")(x))


def test_resume_is_bitwise(tmp_path):
    whole, _ = train(tmp_path / "whole")
    train(tmp_path / "parts", save_every=5, steps=5, optimizer=RUN.optimizer, experiment=toy(RUN))
    parts, _ = train(tmp_path / "parts")
    assert int(parts.step) == RUN.steps
    assert same_bits(whole, parts)


def test_a_run_that_has_learnt_for_longer_is_not_called_shorter(tmp_path):
    train(tmp_path)
    with pytest.raises(ConfigError, match=rf"has learnt for {RUN.steps} steps, more than --steps 5"):
        train(tmp_path, steps=5)


def test_resume_onto_another_mesh_has_the_same_numbers(tmp_path):
    whole, _ = train(tmp_path / "whole", mesh="data=8")
    train(tmp_path / "parts", steps=6, experiment=toy(RUN), mesh="data=8")
    parts, _ = train(tmp_path / "parts", mesh="data=2,fsdp=2,tensor=2")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5), whole.params, parts.params
    )


def test_seeds_together_equal_seeds_alone(tmp_path):
    together, results = train(tmp_path / "all", seeds=[0, 1, 2])
    alone, own = train(tmp_path / "one", seed=1)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a)[1], np.asarray(b), atol=1e-5),
        together.params,
        alone.params,
    )
    assert results["test/accuracy"][1] == pytest.approx(own["test/accuracy"])


def test_a_streamed_source_trains_like_one_in_memory(tmp_path):
    resident = toy(RUN)
    records = [{name: column[i] for name, column in columns().items()} for i in range(256)]

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Same(Records):
        def at(self, step):
            return resident.train.at(step)

    streamed = dataclasses.replace(resident, train=Same(records=records, batch=RUN.batch))
    a, _ = train(tmp_path / "a", experiment=resident)
    b, _ = train(tmp_path / "b", experiment=streamed)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=1e-6), a.params, b.params)


def test_one_compilation_whatever_the_dispatches(tmp_path):
    traces = []

    class Counting(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            if train:
                traces.append(1)
            return nn.Dense(2)(x)

    train(tmp_path, model=Counting(), steps=40, log_every=7, save_every=11, eval_every=13)
    # The look for convolutions, the shapes of the loop's carry, the loop body: jit compiles once, whatever the cuts.
    assert len(traces) == 3


@pytest.mark.parametrize("batch", [7, 64, 100])
def test_metrics_do_not_depend_on_the_evaluation_batch(batch, tmp_path, reference):
    experiment = toy(dataclasses.replace(RUN, mesh="data=1"))
    source = dataclasses.replace(experiment.evaluations["test"].source, batch=batch)
    changed = dataclasses.replace(
        experiment, evaluations={"test": dataclasses.replace(experiment.evaluations["test"], source=source)}
    )
    results = evaluate(changed, variables(reference[0]), make_mesh("data=1"))
    assert results["test/loss"] == pytest.approx(reference[1]["test/loss"], abs=1e-6)
    assert results["test/accuracy"] == reference[1]["test/accuracy"]


def test_a_score_sees_every_example_once_without_padding(tmp_path):
    seen = {}

    def score(predictions, examples):
        seen.update(predictions=predictions, examples=examples)
        return {"agreement": float((predictions.argmax(-1) == examples["label"]).mean())}

    _, results = train(tmp_path, experiment=toy(RUN, score=score))
    np.testing.assert_array_equal(seen["examples"]["index"], np.arange(100))
    assert results["test/agreement"] == pytest.approx(results["test/accuracy"])


def test_the_average_is_what_evaluation_uses(tmp_path):
    state, _ = train(tmp_path)
    assert not same_bits(state.params, variables(state)["params"])


def poisoned(at):
    """Data whose rows of batch `at` are NaN."""
    data = columns()
    run = RUN
    rows = toy(run, data=data).train.rows(at)
    data["x"][rows] = np.nan
    return data


def test_a_non_finite_batch_is_skipped_and_counted(tmp_path):
    data = poisoned(2)
    state, _ = train(tmp_path, data=data, steps=4)  # Fewer steps than an epoch: no other batch holds these rows.
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(state.params)))
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert line["train/skipped"] == pytest.approx(0.25)
    assert np.isfinite(line["train/loss"])


def test_an_optimizer_that_makes_nan_of_a_finite_gradient_is_stopped_too(tmp_path):
    broken = dataclasses.replace(toy(RUN), optimizer=optax.chain(optax.adam(1e-3), optax.scale(float("nan"))))
    with pytest.raises(NumericalError, match=r"steps 0 to 2 .* first seen in the update of .*kernel"):
        train(tmp_path, experiment=broken, mesh="data=1")


def test_three_non_finite_updates_in_a_row_stop_the_run(tmp_path):
    data = columns()
    data["x"][:] = np.nan
    with pytest.raises(NumericalError, match=r"steps 0 to 2 .*seed 0.* first seen in loss, .*kernel"):
        train(tmp_path, data=data)


def test_a_signal_saves_and_the_run_resumes_bitwise(tmp_path, monkeypatch):
    whole, _ = train(tmp_path / "whole", log_every=1)
    answers = iter([None, None, None, None, signal.SIGTERM])

    @contextlib.contextmanager
    def soon():
        yield Stop(lambda: next(answers))

    with monkeypatch.context() as patch:
        patch.setattr(loop, "signals", soon)
        with pytest.raises(Interrupted) as stop:
            train(tmp_path / "parts", log_every=1)
    assert stop.value.exit_code == 128 + signal.SIGTERM
    resumed, _ = train(tmp_path / "parts", log_every=1)
    assert same_bits(whole, resumed)


def logged(folder):
    """What metrics.jsonl holds, but for the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_the_log_of_a_run_stopped_anywhere_equals_that_of_one_which_was_not(tmp_path, monkeypatch):
    """Inside a logged window, in the evaluation half way and in the last one, one after the other."""
    knobs = dict(log_every=5, eval_every=6, seeds=[0, 1], mesh="data=1")
    whole, results = train(tmp_path / "whole", **knobs)
    measured = loop.evaluate

    def stopped(*arguments, **rest):
        raise Interrupted(signal.SIGTERM, "here")

    asked = iter([None, None, signal.SIGTERM])  # Before the first step, after one dispatch and after two.
    with monkeypatch.context() as patch:
        patch.setattr(loop, "signals", lambda: contextlib.nullcontext(Stop(lambda: next(asked))))
        with pytest.raises(Interrupted, match=r"after step [23]"):
            train(tmp_path / "parts", **knobs)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(loop, "evaluate", stopped)
            with pytest.raises(Interrupted):
                train(tmp_path / "parts", **knobs)
        assert steps(tmp_path / "parts" / "checkpoints")[-1] == 6
    passed = iter([measured, stopped])
    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", lambda *a, **k: next(passed)(*a, **k))
        with pytest.raises(Interrupted):
            train(tmp_path / "parts", **knobs)
    assert steps(tmp_path / "parts" / "checkpoints")[-1] == RUN.steps
    parts, again = train(tmp_path / "parts", **knobs)
    assert same_bits(whole, parts)
    assert scalars(results) == scalars(again)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")


def test_a_signal_during_an_evaluation_is_answered_at_once(tmp_path):
    def score(predictions, examples):
        os.kill(os.getpid(), signal.SIGHUP)
        return {"unreachable": 1.0}

    with pytest.raises(Interrupted, match=f"stopped by SIGHUP after step {RUN.steps}, checkpoint saved"):
        train(tmp_path, experiment=toy(RUN, score=score), mesh="data=1")
    assert steps(tmp_path / "checkpoints") == [RUN.steps]


def test_a_run_saves_by_time_but_not_more_often_than_it_can_afford(tmp_path):
    train(tmp_path, save_seconds=0.0, keep=100, mesh="data=1")
    # The first took some ten milliseconds, so that the next is not due for some seconds.
    assert steps(tmp_path / "checkpoints") == [1, RUN.steps]


def test_restart_begins_again(tmp_path):
    train(tmp_path, steps=4, experiment=toy(RUN), keep=100, save_every=1, mesh="data=1")
    train(tmp_path, steps=6, experiment=toy(RUN), keep=100, restart=True, mesh="data=1")
    assert steps(tmp_path / "checkpoints") == [6]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"mesh": "data=3"}, "batch of 32 does not divide into 3 device"),
        ({"mesh": "data=16"}, "needs 16 devices, but there are 8"),
        ({"mesh": "rows=2"}, "'rows=2' is not AXIS=SIZE"),
        ({"mesh": "data=4,fsdp=2", "parallel": "shard_map"}, "spreads data only"),
        ({"microbatches": 3}, "3 microbatch"),
    ],
)
def test_knobs_that_contradict_are_named(knobs, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, **knobs)


def test_a_warm_up_longer_than_the_run_is_an_error():
    with pytest.raises(ConfigError, match="warmup is 20, longer than the run's 12 steps"):
        toy(dataclasses.replace(RUN, optimizer=Optimizer(warmup=20)))


def test_golden_values_of_one_step(tmp_path):
    """Numbers of one step as first computed by hand-checked code; if they change, every published result does."""
    state, _ = train(tmp_path, steps=1, log_every=1)
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    total = sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(state.params))
    assert (line["train/loss"], total) == pytest.approx(GOLDEN, rel=1e-5)


GOLDEN = (1.0726405382156372, 118.39273217320442)


@pytest.mark.parametrize(
    "knobs",
    [{}, {"parallel": "shard_map"}, {"parallel": "pmap"}, {"mesh": "data=2,fsdp=2,tensor=2"}, {"exact": 8}],
    ids=str,
)
def test_a_divergence_names_the_leaf_however_the_state_is_spread(knobs, tmp_path):
    data = columns()
    data["x"][:] = np.nan
    run = dataclasses.replace(RUN, **knobs)
    with pytest.raises(NumericalError, match=r"steps 0 to \d+ \(seed 0\).*first seen in loss, "):
        fit(toy(run, data=data), run, tmp_path)
