"""Learning rules from 1958 to 1986: single threshold units, and layers of smooth ones by back-propagation.

A single unit answers with the sign of `x @ weights`; its bias is the weight of a column of ones, which `with_bias` adds
first, so that margins and norms count it. Everything is a scan over JAX arrays [N, D] of any float type.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


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


def period(weights: Float[Array, "P D"]) -> int | None:
    """Passes after which the weights come back, for ever then, since a pass depends on them alone; None: not seen."""
    same = jnp.all(weights[:-1] == weights[-1], axis=1)[::-1]
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


class Layer(NamedTuple):
    weights: Float[Array, "I O"]
    bias: Float[Array, "O"]


Net = tuple[Layer, ...]
"""Layers of tanh units, and last one of logistic units; with that one alone it is logistic regression (Cox, 1958)."""


def layers(key: Array, widths: tuple[int, ...], scale: float = 1.0) -> Net:
    """A net from widths[0] inputs to widths[-1] outputs; normal weights of deviation scale / sqrt(inputs), no bias."""
    keys = jax.random.split(key, len(widths) - 1)
    return tuple(
        Layer(scale * jax.random.normal(key, (i, o)) / jnp.sqrt(i), jnp.zeros(o))
        for key, i, o in zip(keys, widths[:-1], widths[1:], strict=True)
    )


def activations(net: Net, x: Float[Array, "N D"]) -> list[Float[Array, "N O"]]:
    """The input, what every hidden layer makes of it, and the logits."""
    found = [x]
    for layer in net[:-1]:
        found.append(jnp.tanh(found[-1] @ layer.weights + layer.bias))
    return [*found, found[-1] @ net[-1].weights + net[-1].bias]


def cross_entropy(net: Net, x: Float[Array, "N D"], target: Float[Array, "N O"]) -> Float[Array, ""]:
    """Of the logistic outputs against targets in [0, 1]: summed over outputs, mean over examples."""
    logits = activations(net, x)[-1]
    return jnp.mean(jnp.sum(jax.nn.softplus(logits) - target * logits, axis=1))


def back_propagation(net: Net, x: Float[Array, "N D"], target: Float[Array, "N O"]) -> Net:
    """The gradient of `cross_entropy`, written out as Rumelhart, Hinton & Williams (1986) did."""
    *hidden, logits = activations(net, x)
    delta = (jax.nn.sigmoid(logits) - target) / len(x)  # of the loss by the logits
    gradient = []
    for layer, inputs in zip(reversed(net), reversed(hidden), strict=True):
        gradient.append(Layer(inputs.T @ delta, delta.sum(0)))
        delta = (delta @ layer.weights.T) * (1 - inputs**2)  # the slope of tanh; of no use below the first layer
    return tuple(reversed(gradient))


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
