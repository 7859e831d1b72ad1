"""A run that keeps its best step keeps it whatever happens on the way."""

import contextlib
import dataclasses
import json
import signal

import jax
import numpy as np
import pytest
from test_loop import same_bits
from toy import RUN, columns, toy

from deeplearn import best, loop
from deeplearn.checkpoint import flat, read
from deeplearn.data.source import Arrays
from deeplearn.errors import ConfigError
from deeplearn.evaluation import evaluate
from deeplearn.experiment import Evaluation
from deeplearn.interrupt import Interrupted, Stop
from deeplearn.loop import fit
from deeplearn.metrics import Drawn, scalars
from deeplearn.optimizer import Optimizer
from deeplearn.parallel import make_mesh
from deeplearn.step import variables

# A rate this high makes some steps much worse than others, and the last is not the best.
KNOBS = dataclasses.replace(
    RUN,
    steps=16,
    eval_every=2,
    best="valid/loss",
    mesh="data=1",
    optimizer=Optimizer(rate=0.3, schedule="constant", warmup=0),
)


def score(predictions, examples):
    """Of the kinds that a score may have: what is drawn, a table, and a number for which neither end is better."""
    hits = predictions.argmax(-1) == examples["label"]
    return {"wer": Drawn(float(1 - hits.mean()), np.zeros(3)), "table": np.zeros((2, 2)), "blanks": 0.5}


def experiment(run):
    made = toy(run)
    valid = Evaluation(source=Arrays(columns=columns(64, 2), batch=64), score=score)
    test = dataclasses.replace(made.evaluations["test"], final=True)
    return dataclasses.replace(made, evaluations={"valid": valid, "test": test})


def train(folder, *, seeds=None, **knobs):
    run = dataclasses.replace(KNOBS, **knobs)
    folder.mkdir(exist_ok=True)
    return fit(experiment(run), run, folder, seeds=seeds)


def measured(folder):
    """Step -> loss on the validation, as it was logged on the way."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["valid/loss"] for line in lines if "valid/loss" in line and "test/loss" not in line}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    return folder, *train(folder)


def test_the_best_step_is_what_a_run_that_ends_there_learns(reference, tmp_path):
    folder, state, results = reference
    losses = measured(folder)
    step = min(losses, key=losses.get)
    assert 0 < step < KNOBS.steps and state.step == step
    assert results["valid/loss"] == pytest.approx(losses[step], rel=1e-6)
    until, tested = train(tmp_path, steps=step, best="")
    assert same_bits(variables(state), variables(until))
    assert results["test/loss"] == tested["test/loss"]


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    folder = tmp_path_factory.mktemp("impatient")
    return folder, *train(folder, patience=2)


def test_patience_ends_the_training_after_so_many_looks_that_brought_nothing(reference, impatient):
    losses, (folder, state, results) = measured(reference[0]), impatient
    best_so_far = np.minimum.accumulate(list(losses.values()))
    waited = [sum(best_so_far[: i + 1] == best_so_far[i]) - 1 for i in range(len(losses))]
    end = list(losses)[waited.index(2)]
    assert end < KNOBS.steps
    step, arrays = read(folder / "checkpoints")
    until = {step: loss for step, loss in losses.items() if step <= end}
    assert (step, int(arrays["step"]), int(state.step)) == (end, *2 * (min(until, key=until.get),))
    assert results["valid/loss"] == pytest.approx(min(until.values()), rel=1e-6)
    assert "test/loss" in results


@pytest.mark.parametrize("asked", [1, 2, 3, 4, 5, 6, 7, 8])
def test_an_impatient_run_stopped_anywhere_ends_at_the_same_step(asked, impatient, tmp_path, monkeypatch):
    """The last ones while what was chosen is measured, or after it."""
    folder, state, results = impatient
    answers = iter([None] * asked + [signal.SIGTERM])
    with monkeypatch.context() as patch, contextlib.suppress(Interrupted):
        patch.setattr(loop, "signals", lambda: contextlib.nullcontext(Stop(lambda: next(answers, None))))
        train(tmp_path, patience=2)
    again, found = train(tmp_path, patience=2)
    assert scalars(found) == scalars(results)
    assert same_bits(variables(again), variables(state))
    assert same_bits(read(tmp_path / "checkpoints")[1], read(folder / "checkpoints")[1])


def test_each_of_several_seeds_has_its_own_patience(tmp_path):
    both, results = train(tmp_path / "both", seeds=(0, 1, 2), patience=1)
    steps = []
    for lane in range(3):
        alone, found = train(tmp_path / str(lane), seed=lane, patience=1)
        steps.append(int(alone.step))
        assert results["valid/loss"][lane] == pytest.approx(found["valid/loss"], rel=1e-3)
    assert both.step.tolist() == steps
    assert len(set(steps)) > 1


def test_readers_take_the_best_step_from_the_checkpoint(reference):
    folder, state, _ = reference
    step, arrays = read(folder / "checkpoints")
    assert (step, int(arrays["step"])) == (KNOBS.steps, min(measured(folder), key=measured(folder).get))
    params = {name.removeprefix("params/"): leaf for name, leaf in arrays.items() if name.startswith("params/")}
    assert same_bits(params, flat(state.params))


@pytest.mark.parametrize("asked", [1, 3, 5, 8, 10, 12])
def test_a_run_stopped_anywhere_keeps_the_same_step(asked, reference, tmp_path, monkeypatch):
    """The last ones while what was chosen is measured at the end."""
    folder, state, results = reference
    answers = iter([None] * asked + [signal.SIGTERM])
    with monkeypatch.context() as patch:
        patch.setattr(loop, "signals", lambda: contextlib.nullcontext(Stop(lambda: next(answers, None))))
        with pytest.raises(Interrupted):
            train(tmp_path)
    again, found = train(tmp_path)
    assert scalars(found) == scalars(results)
    assert same_bits(variables(again), variables(state))
    assert same_bits(read(tmp_path / "checkpoints")[1], read(folder / "checkpoints")[1])
    assert measured(tmp_path) == measured(folder)


def test_seeds_together_keep_each_its_own_step(tmp_path):
    both, results = train(tmp_path / "both", seeds=(0, 1))
    for lane in (0, 1):
        alone, found = train(tmp_path / str(lane), seed=lane)
        own = jax.tree.map(lambda leaf, lane=lane: leaf[lane], variables(both))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), own, variables(alone))
        assert results["valid/loss"][lane] == pytest.approx(found["valid/loss"], rel=1e-3)


@pytest.mark.parametrize(
    "knobs",
    [{"mesh": "data=2,fsdp=2"}, {"mesh": "data=2", "exact": 4}, {"parallel": "shard_map", "mesh": "data=2"}],
    ids=str,
)
def test_spreading_keeps_the_same_step(knobs, reference, tmp_path):
    folder, _, results = reference
    _, found = train(tmp_path, **knobs)
    assert int(read(tmp_path / "checkpoints")[1]["step"]) == int(read(folder / "checkpoints")[1]["step"])
    assert found["test/loss"] == pytest.approx(results["test/loss"], rel=1e-3)


def test_more_of_a_score_is_better_where_its_name_says_so(tmp_path):
    _, results = train(tmp_path, best="valid/accuracy")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert results["valid/accuracy"] == pytest.approx(max(line.get("valid/accuracy", 0) for line in lines))


def test_a_value_that_is_drawn_is_chosen_by(tmp_path):
    _, results = train(tmp_path, best="valid/wer")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert results["valid/wer"].value == pytest.approx(min(line.get("valid/wer", 1) for line in lines))


def test_choosing_compiles_once_however_often(tmp_path, monkeypatch):
    traced = []
    monkeypatch.setattr(best, "variables", lambda state: traced.append(1) or variables(state))
    train(tmp_path / "few", eval_every=8)
    few = len(traced)
    train(tmp_path / "many", eval_every=1)
    assert len(traced) - few <= few  # 2 choices against 16


def test_what_is_kept_is_what_an_evaluation_measures_again(reference):
    _, state, results = reference
    assert evaluate(experiment(KNOBS), variables(state), make_mesh("data=1"))["valid/loss"] == results["valid/loss"]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"best": "test/loss"}, "no metric of the validation.*valid/loss"),
        ({"best": "valid/los"}, "is not measured.*valid/loss"),
        ({"best": "valid/table"}, "is not measured.*valid/loss"),
        ({"best": "valid/blanks"}, "neither small nor large"),
        ({"eval_every": None}, "--eval-every"),
        ({"best": "", "patience": 2}, "--patience.*--best"),
    ],
    ids=str,
)
def test_what_cannot_be_chosen_by_is_refused(knobs, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, **knobs)


def test_a_mistyped_metric_is_refused_before_the_first_step(tmp_path):
    """As far as names are known by then: a score has others."""
    run = dataclasses.replace(KNOBS, best="valid/acuracy")
    made = experiment(run)
    plain = dataclasses.replace(made.evaluations["valid"], score=None)
    with pytest.raises(ConfigError, match=r"is not measured.*: valid/accuracy, valid/loss\."):
        fit(dataclasses.replace(made, evaluations={"valid": plain}), run, tmp_path)
    assert not list(tmp_path.iterdir())
