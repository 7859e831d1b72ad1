"""Two players in one step: each gets its own gradient, its own optimizer, and costs what it would cost alone."""

from dataclasses import replace
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplearn.adversarial import CRITIC, MAKER, MATCHING, adversarial, hinge, persuasion
from deeplearn.data.source import Arrays
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.loop import fit
from deeplearn.metrics import Mean
from deeplearn.optimizer import Optimizer, averaged, make, of_each
from deeplearn.step import gradient_sums, init, train_step, variables

WEIGHT = 0.5


class Heard(NamedTuple):
    score: jax.Array
    features: list[jax.Array]


class Critic(nn.Module):
    @nn.compact
    def __call__(self, x):
        hidden = nn.tanh(nn.Dense(7)(x))
        return [Heard(nn.Dense(3)(hidden), [hidden])]


MADE, JUDGE = nn.Dense(4), Critic()


def objective(made, batch):
    far = Mean.of(jnp.abs(made - batch["y"]).mean(1), batch["mask"])
    return far, {"far": far}


def game(weight=WEIGHT):
    inputs, real = (lambda batch: (batch["x"],)), (lambda batch: batch["y"])
    return adversarial(MADE, JUDGE, objective, inputs=inputs, real=real, weight=weight)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    columns = {"x": rng.normal(size=(6, 5)), "y": rng.normal(size=(6, 4)) + 3}
    mask = np.array([1, 1, 1, 1, 1, 0], np.float32)
    return {name: column.astype(np.float32) for name, column in columns.items()} | {"mask": mask, "index": np.arange(6)}


@pytest.fixture(scope="module")
def optimizer():
    knobs = {MAKER: Optimizer(rate=1e-2, average=0.5, decay=0.1), CRITIC: Optimizer(name="sgd", rate=0.3, clip=0.1)}
    return knobs, of_each(knobs, 10)


def test_each_player_gets_the_gradient_of_its_own_game(batch, optimizer):
    state = init(game(), optimizer[1], 0, batch)
    found, _ = gradient_sums(game(), state, batch, 0)
    mask, ours, theirs = batch["mask"], state.params[MAKER], state.params[CRITIC]
    say = lambda params, x: JUDGE.apply({"params": params}, x)  # noqa: E731
    made = lambda params: MADE.apply({"params": params}, batch["x"])  # noqa: E731

    def makers(params):
        fooled, matched = persuasion(say(theirs, made(params)), say(theirs, batch["y"]))
        return objective(made(params), batch)[0].total + WEIGHT * ((fooled + MATCHING * matched) * mask).sum()

    def critics(params):
        return (hinge(say(params, batch["y"]), say(params, made(ours))) * mask).sum()

    wanted = {MAKER: jax.grad(makers)(ours), CRITIC: jax.grad(critics)(theirs)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)


def test_each_player_is_moved_as_its_optimizer_alone_would(batch, optimizer):
    knobs, both = optimizer
    task = game()
    state = init(task, both, 0, batch)
    moved, _ = train_step(task, both, state, batch, 0)
    gradient, out = gradient_sums(task, state, batch, 0)
    for name, own in knobs.items():
        alone = make(own, 10)
        mean = jax.tree.map(lambda g: g / out.loss.count, gradient[name])
        with jax.numpy_dtype_promotion("standard"):  # as in step.py: optax multiplies floats by step counts
            updates, _ = alone.update(mean, alone.init(state.params[name]), state.params[name])
        wanted = optax.apply_updates(state.params[name], updates)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), moved.params[name], wanted)


def test_only_the_player_that_keeps_an_average_is_averaged(batch, optimizer):
    task, (_, both) = game(), optimizer
    state = init(task, both, 0, batch)
    for _ in range(3):
        state, _ = train_step(task, both, state, batch, 0)
    found = averaged(state.opt, state.params)
    assert jax.tree.structure(found) == jax.tree.structure(state.params)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), found, state.params)
    assert not any(jax.tree.leaves(same[MAKER])) and all(jax.tree.leaves(same[CRITIC]))
    plain = of_each({MAKER: Optimizer(), CRITIC: Optimizer()}, 10).init(state.params)
    assert averaged(plain, state.params) is state.params


def test_evaluation_asks_no_critic_and_without_a_weight_there_is_none(batch, optimizer):
    task = game()
    params = task.init(jax.random.key(0), batch)
    broken = {"params": {**params["params"], CRITIC: jax.tree.map(lambda x: x * jnp.nan, params["params"][CRITIC])}}
    out = task.loss(broken, batch, jax.random.key(0), False)
    assert np.isfinite(out.loss.total) and set(out.metrics) == {"far"}
    alone = game(weight=0.0)
    assert set(alone.init(jax.random.key(0), batch)["params"]) == {MAKER}
    state = init(alone, optimizer[1], 0, batch)
    moved, sums = train_step(alone, optimizer[1], state, batch, 0)
    assert moved.params[MAKER]["kernel"].shape == (5, 4) and "fooled" not in sums


def test_padded_rows_teach_nobody(batch, optimizer):
    state = init(game(), optimizer[1], 0, batch)
    odd = {**batch, "x": np.where(batch["mask"][:, None] > 0, batch["x"], 1e3).astype(np.float32)}
    found, other = (gradient_sums(game(), state, rows, 0)[0] for rows in (batch, odd))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), found, other)


RUN = Run(steps=6, batch=16, log_every=2, save_every=3)


def played(folder, **knobs):
    """The state after a few steps of the game."""
    rng, run = np.random.default_rng(0), replace(RUN, **knobs)
    columns = {"x": rng.normal(size=(64, 5)).astype(np.float32), "y": rng.normal(size=(64, 4)).astype(np.float32)}
    # Plain steps: Adam would blow differences of rounding up where gradients vanish.
    parts = {MAKER: Optimizer(name="sgd", rate=0.1, average=0.5), CRITIC: Optimizer(name="sgd", rate=0.05)}
    made = Experiment(
        task=game(),
        optimizer=of_each(parts, RUN.steps),
        train=Arrays(columns=columns, batch=run.batch, seed=0),
        evaluations={"test": Evaluation(source=Arrays(columns=columns, batch=64))},
    )
    return fit(made, run, folder)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return played(tmp_path_factory.mktemp("reference"), mesh="data=1")


@pytest.mark.parametrize(
    "knobs",
    [
        {"mesh": "data=4,fsdp=2"},
        {"mesh": "data=2", "parallel": "shard_map", "microbatches": 2},
        {"parallel": "pmap"},
    ],
)
def test_a_game_is_the_same_however_it_is_spread(reference, tmp_path, knobs):
    (state, results), (other, found) = reference, played(tmp_path, **knobs)
    close = lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5)  # noqa: E731
    jax.tree.map(close, variables(state), variables(other))
    assert found["test/loss"] == pytest.approx(results["test/loss"], abs=1e-5)


def test_a_game_goes_on_where_it_stopped_to_the_bit(reference, tmp_path):
    played(tmp_path, mesh="data=1", steps=3)
    state, _ = played(tmp_path, mesh="data=1")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), state, reference[0])


def test_what_both_players_look_at_is_computed_once(batch, optimizer):
    """The passes of what was made through the critic differ in who learns, and are one in the compiled program."""
    task = game()
    wide = {name: np.repeat(column, 100, axis=0) for name, column in batch.items()}
    params = task.init(jax.random.key(0), wide)["params"]

    def products(learns):
        def total(own):
            return task.loss({"params": {**params, **own}}, wide, jax.random.key(0), True).loss.total

        return (
            jax.jit(jax.grad(total)).lower({name: params[name] for name in learns}).compile().as_text().count(" dot(")
        )

    both, maker, critic = products([MAKER, CRITIC]), products([MAKER]), products([CRITIC])
    assert both < maker + critic


def test_the_players_meet_where_what_is_made_looks_real(batch):
    """With the critic's word alone (the objective weighs nothing), a constant maker comes to the real mean."""
    rng = np.random.default_rng(1)
    rows = {"x": np.zeros((64, 5)), "y": rng.normal(size=(64, 4)) + 2, "mask": np.ones(64)}
    rows = {name: column.astype(np.float32) for name, column in rows.items()} | {"index": np.arange(64)}

    def nothing(made, batch):
        return Mean(total=0.0 * made.sum(), count=batch["mask"].sum()), {}

    inputs, real = (lambda batch: (batch["x"],)), (lambda batch: batch["y"])
    task = adversarial(MADE, JUDGE, nothing, inputs=inputs, real=real, weight=1.0)
    knobs = Optimizer(rate=1e-2, schedule="constant", average=0.99)  # they circle each other; the middle is the answer
    both = of_each({MAKER: knobs, CRITIC: replace(knobs, rate=2e-2)}, 600)
    state = init(task, both, 0, rows)
    step = jax.jit(lambda state: train_step(task, both, state, rows, 0)[0])
    for _ in range(600):
        state = step(state)
    made = task.predict(variables(state), rows)
    assert np.abs(made[0] - rows["y"].mean(0)).mean() < 0.5  # it began 2 away
