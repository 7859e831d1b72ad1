import itertools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplearn.optimizer import Optimizer, averaged, decayed, make, rate_schedule

PARAMS = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}


def updated(knobs, gradient, steps=10):
    transformation = make(knobs, steps)
    with jax.numpy_dtype_promotion("standard"):
        updates, state = transformation.update(gradient, transformation.init(PARAMS), PARAMS)
    return optax.apply_updates(PARAMS, updates), state


@pytest.mark.parametrize("name", typing.get_args(typing.get_type_hints(Optimizer)["name"]))
def test_every_rule_descends_a_bowl(name):
    transformation = make(Optimizer(name=name, rate=0.05, schedule="constant"), 100)

    @jax.jit
    def step(params, state):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(jax.tree.map(lambda p: 2 * p, params), state, params)
        return optax.apply_updates(params, updates), state

    params, state = PARAMS, transformation.init(PARAMS)
    for _ in range(100):
        params, state = step(params, state)
    size = lambda tree: sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert size(params) < 0.3 * size(PARAMS)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lion", "muon", "lamb", "adafactor"])
def test_decay_spares_biases(name):
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    params, _ = updated(Optimizer(name=name, rate=0.1, decay=0.5, schedule="constant"), zero)
    assert float(params["kernel"].sum()) < float(PARAMS["kernel"].sum())
    np.testing.assert_array_equal(params["bias"], PARAMS["bias"])
    assert decayed(PARAMS) == {"kernel": True, "bias": False}


def test_clipping_bounds_the_step_of_sgd():
    huge = jax.tree.map(lambda p: 1e6 * p, PARAMS)
    params, _ = updated(Optimizer(name="sgd", rate=1.0, clip=0.5, momentum=0.0, schedule="constant"), huge)
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, params, PARAMS))) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "rsqrt", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_the_rate_rises_to_its_peak_and_never_above(schedule, warmup):
    knobs = Optimizer(rate=0.3, schedule=schedule, warmup=warmup)
    with jax.numpy_dtype_promotion("standard"):
        rates = [float(rate_schedule(knobs, 100)(jnp.int32(step))) for step in range(101)]
    assert max(rates) == pytest.approx(0.3, rel=1e-5)
    assert rates[warmup] == pytest.approx(0.3, rel=1e-5)
    assert all(a <= b + 1e-6 for a, b in itertools.pairwise(rates[: warmup + 1]))
    assert rates[0] > 0
    if schedule in ("cosine", "linear"):
        assert rates[100] == pytest.approx(0, abs=1e-6)


def test_the_average_follows_the_parameters():
    transformation = make(
        Optimizer(name="sgd", rate=0.1, momentum=0.0, clip=None, average=0.5, schedule="constant"), 10
    )
    params, state = PARAMS, transformation.init(PARAMS)
    expected = PARAMS
    for t in range(1, 6):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(params, state, params)
        params = optax.apply_updates(params, updates)
        share = 1 - min(0.5, (1 + t) / (10 + t))
        expected = jax.tree.map(lambda a, p, s=share: a + s * (p - a), expected, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), averaged(state, params), expected)
    assert averaged(transformation.init(PARAMS)[:2], params) is params
