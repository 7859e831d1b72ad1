"""Learning rules from 1958 to 1986: single threshold units, and layers of smooth ones by back-propagation.

A single unit answers with the sign of `x @ weights`; its bias is the weight of a column of ones, which `with_bias` adds
first, so that margins and norms count it. Everything is a scan over JAX arrays [N, D] of any float type.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PyTree

from deeplearn.data.split import stratified

Score = Callable[[Float[np.ndarray, "M D"]], Float[np.ndarray, "M"]]
"""Positive for the one class and negative for the other."""
Learner = Callable[[Float[np.ndarray, "N D"], Float[np.ndarray, "N"]], Score]
"""(examples, labels 1 and -1) -> what tells others apart."""


class Passes(NamedTuple):
    """A unit after each of P passes over the examples."""

    weights: Float[Array, "P D"]
    error: Float[Array, "P"]
    """Of the pass: the number of mistakes, or the mean squared error."""


def with_bias(x: Float[Array, "N D"]) -> Float[Array, "N D+1"]:
    return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], axis=1)


def perceptron(x: Float[Array, "N D"], y: Float[Array, "N"], passes: int) -> Passes:
    """Adds y x after every mistake (Rosenblatt, 1958), from zero, the examples in turn; y is 1 or -1.

    If some unit vector u has y (x @ u) >= margin for all examples, there are at most `mistake_bound` mistakes in all.
    Otherwise the weights stay bounded and, where x are integers, come back to where they were: a cycle.
    """

    def visit(weights: Array, example: tuple[Array, Array]) -> tuple[Array, Array]:
        x, y = example
        mistake = (y * (x @ weights) <= 0).astype(x.dtype)
        return weights + mistake * y * x, mistake

    return _passes(visit, x, y, passes, jnp.sum)


def mistake_bound(x: Float[Array, "N D"], y: Float[Array, "N"], unit: Float[Array, "D"]) -> Float[Array, ""]:
    """(R / margin)^2, with R the largest norm and the margin that of `unit` (Novikoff, 1962); with the bias column."""
    margin = jnp.min(y * (x @ unit)) / jnp.linalg.norm(unit)
    return (jnp.max(jnp.linalg.norm(x, axis=1)) / margin) ** 2


def separable(
    key: Array, *, count: int, width: int, margin: ArrayLike, used: ArrayLike | None = None
) -> tuple[Float[Array, "N D+1"], Float[Array, "N"], Float[Array, "D+1"]]:
    """(examples with a bias column, labels 1 and -1, a unit vector that separates them by the margin), at random.

    Points of a cube that lie closer to a random plane are moved away from it. Inputs beyond the first `used` are zero.
    """
    own, points = jax.random.split(key)
    there = (jnp.arange(width) < (width if used is None else used)).astype(jnp.float32)
    unit = jax.random.normal(own, (width + 1,)) * jnp.append(there, 1.0)
    unit = unit / jnp.linalg.norm(unit)
    x = with_bias(jax.random.uniform(points, (count, width), minval=-1.0) * there[None])
    away = x @ unit
    y = jnp.where(away > 0, 1.0, -1.0)
    missing = jnp.maximum(margin - y * away, 0)
    across = unit.at[-1].set(0)  # the bias column stays one
    return x + jnp.outer(y * missing, across / (across @ across)), y, unit


class Trial(NamedTuple):
    """The perceptron on one separable set."""

    mistakes: Float[Array, ""]
    bound: Float[Array, ""]
    """On the mistakes, from the margin of the unit that drew the set."""
    rests: Float[Array, ""]
    """1 if the last pass had no mistake."""


def trial(key: Array, margin: Array, used: Array, *, count: int, width: int, passes: int) -> Trial:
    """Mistakes on a random set of `separable`, and their bound."""
    x, y, unit = separable(key, count=count, width=width, margin=margin, used=used)
    error = perceptron(x, y, passes).error
    return Trial(error.sum(), mistake_bound(x, y, unit), (error[-1] == 0).astype(x.dtype))


@partial(jax.jit, static_argnames=("sets", "passes"))
def trials(key: Array, sets: int, passes: int) -> Trial:
    """Trials on so many sets of 50 examples with 2 to 10 inputs and margins of 0.03 to 0.5; leaves [sets]."""
    keys, margins, inputs = jax.random.split(key, 3)
    margins = 10 ** jax.random.uniform(margins, (sets,), minval=-1.5, maxval=-0.3)
    inputs = jax.random.randint(inputs, (sets,), 2, 11)
    own = partial(trial, count=50, width=10, passes=passes)
    return jax.vmap(own)(jax.random.split(keys, sets), margins, inputs)


def period(weights: Float[Array, "P D"]) -> int | None:
    """Passes after which the weights come back, for ever then, since a pass depends on them alone; None: not seen."""
    same = jnp.all(weights[:-1] == weights[-1:], axis=1)[::-1]
    return int(jnp.argmax(same)) + 1 if bool(same.any()) else None


def widrow_hoff(x: Float[Array, "N D"], y: Float[Array, "N"], passes: int, rate: float) -> Passes:
    """Moves against the squared error of one example after the other (Widrow & Hoff, 1960): least mean squares."""

    def visit(weights: Array, example: tuple[Array, Array]) -> tuple[Array, Array]:
        x, y = example
        error = y - x @ weights
        return weights + rate * error * x, error**2

    return _passes(visit, x, y, passes, jnp.mean)


def _passes(visit: Callable, x: Array, y: Array, passes: int, total: Callable[[Array], Array]) -> Passes:
    def once(weights: Array, _: None) -> tuple[Array, Passes]:
        weights, errors = jax.lax.scan(visit, weights, (x, y))
        return weights, Passes(weights, total(errors))

    return jax.lax.scan(once, jnp.zeros(x.shape[1], x.dtype), length=passes)[1]


Net = tuple[Float[Array, "I+1 O"], ...]
"""Layers of tanh units, the last one logistic, each with its biases as the last row; one alone: logistic regression."""


def layers(key: Array, widths: tuple[int, ...], scale: float = 1.0) -> Net:
    """A net from widths[0] inputs to widths[-1] outputs; normal weights of deviation scale / sqrt(inputs), no bias."""
    keys = jax.random.split(key, len(widths) - 1)
    return tuple(
        (scale * i**-0.5 * jax.random.normal(key, (i + 1, o))).at[-1].set(0)
        for key, i, o in zip(keys, widths[:-1], widths[1:], strict=True)
    )


def activations(net: Net, x: Float[Array, "N D"]) -> list[Float[Array, "N O"]]:
    """The input, what every hidden layer makes of it, and the logits."""
    found = [x]
    for weights in net[:-1]:
        found.append(jnp.tanh(with_bias(found[-1]) @ weights))
    return [*found, with_bias(found[-1]) @ net[-1]]


def cross_entropy(net: Net, x: Float[Array, "N D"], target: Float[Array, "N O"]) -> Float[Array, ""]:
    """Of the logistic outputs against targets in [0, 1]: summed over outputs, mean over examples."""
    logits = activations(net, x)[-1]
    return jnp.mean(jnp.sum(jax.nn.softplus(logits) - target * logits, axis=1))


def back_propagation(net: Net, x: Float[Array, "N D"], target: Float[Array, "N O"]) -> Net:
    """The gradient of `cross_entropy`, written out as Rumelhart, Hinton & Williams (1986) did."""
    *hidden, logits = activations(net, x)
    delta = (jax.nn.sigmoid(logits) - target) / len(x)  # of the loss by the logits
    gradient = []
    for weights, inputs in zip(reversed(net), reversed(hidden), strict=True):
        gradient.append(with_bias(inputs).T @ delta)
        delta = (delta @ weights[:-1].T) * (1 - inputs**2)  # through tanh, whose slope is 1 - tanh^2
    return tuple(reversed(gradient))


@partial(jax.jit, static_argnames="widths")
def gradient_gap(key: Array, widths: tuple[int, ...]) -> Float[Array, ""]:
    """The largest difference between `back_propagation` and JAX's gradient, relative to the largest slope."""
    parts = jax.random.split(key, 3)
    net, x = layers(parts[0], widths), jax.random.normal(parts[1], (16, widths[0]))
    target = jax.random.uniform(parts[2], (16, widths[-1]))
    ours, wanted = back_propagation(net, x, target), jax.grad(cross_entropy)(net, x, target)
    ours, wanted = (ravel_pytree(gradient)[0] for gradient in (ours, wanted))
    return jnp.max(jnp.abs(ours - wanted)) / jnp.max(jnp.abs(wanted))


def descend(
    gradient: Callable[[PyTree], PyTree], start: PyTree, *, steps: int, rate: float, momentum: float
) -> tuple[PyTree, PyTree]:
    """(the parameters after the last step, those before each step [steps, ...]), by gradient descent with momentum."""

    def step(state: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], PyTree]:
        params, speed = state
        speed = jax.tree.map(lambda v, g: momentum * v - rate * g, speed, gradient(params))
        return (jax.tree.map(jnp.add, params, speed), speed), params

    (params, _), path = jax.lax.scan(step, (start, jax.tree.map(jnp.zeros_like, start)), length=steps)
    return params, path


@jax.jit
def _descent(start: Net, x: Float[Array, "N D"], target: Float[Array, "N 1"]) -> Net:
    """The nets before each of 500 steps on all examples at once."""
    return descend(partial(back_propagation, x=x, target=target), start, steps=500, rate=0.1, momentum=0.9)[1]


def early_stopped(x: Float[np.ndarray, "N D"], y: Float[np.ndarray, "N"], hidden: tuple[int, ...], seed: int) -> Score:
    """A net after as many steps on all examples as were best for a fifth of them when it was held out."""
    kept, held = stratified(y, 0.2, seed)
    target = (y[:, None] > 0).astype(np.float32)
    start = layers(jax.random.key(seed), (x.shape[1], *hidden, 1))
    path = _descent(start, x[kept], target[kept])
    best = jax.vmap(cross_entropy, (0, None, None))(path, x[held], target[held]).argmin()
    net = jax.tree.map(lambda weights: weights[best], _descent(start, x, target))
    return lambda x: np.asarray(activations(net, jnp.asarray(x))[-1][:, 0])
