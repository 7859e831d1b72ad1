"""Learning rules: the theorems they stand on, and the gradient by hand against JAX's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods import perceptron as rules

CORNERS = jnp.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
XOR = jnp.array([-1.0, 1.0, 1.0, -1.0])


def test_the_perceptron_makes_no_more_mistakes_than_its_bound():
    keys, margins = jax.random.split(jax.random.key(0), 50), jnp.geomspace(0.02, 0.5, 50)
    trial = jax.jit(jax.vmap(functools.partial(rules.trial, count=30, width=4, passes=300)))
    found = trial(keys, margins, jnp.arange(50) % 3 + 2)
    assert jnp.all(found.rests == 1) and jnp.all(found.mistakes <= found.bound)
    assert found.mistakes.max() > 20


def test_a_separable_set_keeps_its_margin_and_the_bound_forgets_the_length_of_the_unit():
    x, y, unit = rules.separable(jax.random.key(1), count=30, width=4, margin=0.2, used=2)
    assert jnp.min(y * (x @ unit)) >= 0.2 - 1e-6 and jnp.all(x[:, 2:4] == 0) and jnp.all(x[:, 4] == 1)
    np.testing.assert_allclose(rules.mistake_bound(x, y, 7 * unit), rules.mistake_bound(x, y, unit), rtol=1e-5)


def test_the_perceptron_is_the_rule_written_out():
    x, y, _ = rules.separable(jax.random.key(0), count=30, width=4, margin=0.2)
    weights, mistakes = np.zeros(5, np.float32), []
    for _ in range(5):
        mistakes.append(0)
        for row, label in zip(np.asarray(x), np.asarray(y), strict=True):
            if label * (row @ weights) <= 0:
                weights, mistakes[-1] = weights + label * row, mistakes[-1] + 1
    found = rules.perceptron(x, y, passes=5)
    np.testing.assert_allclose(found.weights[-1], weights, rtol=1e-5, atol=1e-5)
    assert found.error.tolist() == mistakes


def test_on_exclusive_or_the_perceptron_goes_round_and_on_or_it_rests():
    assert rules.period(rules.perceptron(rules.with_bias(CORNERS), XOR, passes=50).weights) == 1
    learnt = rules.perceptron(rules.with_bias(CORNERS), jnp.array([-1.0, 1.0, 1.0, 1.0]), passes=50)
    assert learnt.error[-1] == 0


def test_widrow_hoff_finds_the_least_squares():
    rng = np.random.default_rng(0)
    x = rules.with_bias(jnp.asarray(rng.normal(size=(200, 3)), jnp.float32))
    y = jnp.asarray(rng.normal(size=200), jnp.float32)
    found = rules.widrow_hoff(x, y, passes=200, rate=1e-3)
    np.testing.assert_allclose(found.weights[-1], np.linalg.lstsq(x, y)[0], atol=5e-3)
    assert found.error[-1] < found.error[0]


@pytest.mark.parametrize("widths", [(3, 1), (3, 5, 1), (4, 6, 5, 2)])
def test_back_propagation_is_the_gradient(widths):
    with jax.enable_x64(True):
        assert rules.gradient_gap(jax.random.key(0), widths) < 1e-12


def test_logistic_regression_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=300) > 0).astype(np.float32)
    start = rules.layers(jax.random.key(0), (4, 1), scale=0.0)
    net, _ = rules.descend(
        lambda net: rules.back_propagation(net, jnp.asarray(x), jnp.asarray(y[:, None])),
        start,
        steps=500,
        rate=1.0,
        momentum=0.9,
    )
    wanted = LogisticRegression(C=np.inf, solver="newton-cholesky").fit(x, y)
    np.testing.assert_allclose(net[0][:-1, 0], wanted.coef_[0], atol=1e-4)
    np.testing.assert_allclose(net[0][-1], wanted.intercept_, atol=1e-4)


def test_hidden_units_solve_exclusive_or_and_a_single_layer_cannot():
    target = (XOR[:, None] + 1) / 2

    def solved(key, widths):
        start = rules.layers(key, widths, scale=0.1)
        net, _ = rules.descend(
            lambda net: rules.back_propagation(net, CORNERS, target), start, steps=1000, rate=2.0, momentum=0.5
        )
        return jnp.all((rules.activations(net, CORNERS)[-1] > 0) == (target > 0.5))

    keys = jax.random.split(jax.random.key(5), 10)
    four, none = (jax.jit(jax.vmap(functools.partial(solved, widths=widths)))(keys) for widths in ((2, 4, 1), (2, 1)))
    assert four.mean() >= 0.9 and not none.any()


def test_an_early_stopped_net_tells_unseen_points_apart_that_a_line_does_not():
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    y = np.sign(x[:, 0] * x[:, 1])
    scores = [rules.early_stopped(x[::2], y[::2], hidden, 0)(x[1::2]) for hidden in ((), (16,))]
    line, net = [np.mean(np.sign(score) == y[1::2]) for score in scores]
    assert net > 0.9 and line < 0.7
