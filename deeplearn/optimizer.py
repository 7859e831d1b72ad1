"""Optimizer knobs and the optax transformation they stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from deeplearn.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How parameters follow their gradients."""

    name: Literal["adamw", "adam", "sgd", "lion", "muon", "lamb", "adafactor"] = "adamw"
    """Update rule; `adam` and `sgd` add the decay to the gradient (L2), the others decouple it."""
    rate: float = 1e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "rsqrt", "constant"] = "cosine"
    """Shape of the rate after the warm-up: to zero at the last step, or 1/sqrt(step), or flat."""
    warmup: int = 0
    """Steps of linear warm-up from zero."""
    decay: float = 0.0
    """Weight decay; matrices and kernels only, biases and normalisation scales are spared."""
    clip: float | None = 1.0
    """Largest global norm of the gradient; None leaves it as it is."""
    momentum: float = 0.9
    """Momentum of sgd and muon, first-moment decay (beta 1) of the others."""
    beta2: float = 0.999
    """Second-moment decay of the adaptive rules."""
    nesterov: bool = True
    """Look-ahead momentum for sgd and muon."""
    average: float | None = None
    """Decay of an exponential moving average of the parameters, which evaluation then uses (e.g. 0.999)."""


def rate_schedule(knobs: Optimizer, steps: int) -> Callable[[Int[Array, ""]], Array]:
    """step -> learning rate over a run of `steps` updates."""
    if knobs.warmup > steps:
        raise ConfigError(
            f"optimizer.warmup is {knobs.warmup}, longer than the run's {steps} steps; lower one or raise --steps."
        )
    rest = max(steps - knobs.warmup, 1)
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(knobs.rate, rest),
        "linear": lambda: optax.linear_schedule(knobs.rate, 0.0, rest),
        # Vaswani et al. (2017): continuous with the end of the warm-up.
        "rsqrt": lambda: lambda count: knobs.rate * jnp.sqrt(max(knobs.warmup, 1) / (count + max(knobs.warmup, 1.0))),
        "constant": lambda: optax.constant_schedule(knobs.rate),
    }[knobs.schedule]()
    if not knobs.warmup:
        return after
    # From 1/warmup of the peak, not from zero: a first update of zero would be a wasted step.
    start = optax.linear_schedule(knobs.rate / knobs.warmup, knobs.rate, max(knobs.warmup - 1, 1))
    return optax.join_schedules([start, after], [knobs.warmup])


def decayed(params: PyTree) -> PyTree:
    """True for the leaves that weight decay applies to: those with at least two axes."""
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def make(knobs: Optimizer, steps: int) -> optax.GradientTransformation:
    """The optax chain of clipping, update rule, schedule and averaging.

    Raises:
        ConfigError: if the warm-up is longer than the run.
    """
    rate = rate_schedule(knobs, steps)
    b1, b2, decay = knobs.momentum, knobs.beta2, knobs.decay
    l2 = optax.add_decayed_weights(decay, decayed)
    rule = {
        "adamw": lambda: optax.adamw(rate, b1, b2, weight_decay=decay, mask=decayed),
        "adam": lambda: optax.chain(l2, optax.adam(rate, b1, b2)),
        "sgd": lambda: optax.chain(l2, optax.sgd(rate, b1 or None, knobs.nesterov and b1 > 0)),
        "lion": lambda: optax.lion(rate, b1, b2, weight_decay=decay, mask=decayed),
        "muon": lambda: optax.contrib.muon(
            rate, beta=b1, weight_decay=decay, weight_decay_mask=decayed, nesterov=knobs.nesterov
        ),
        "lamb": lambda: optax.lamb(rate, b1, b2, weight_decay=decay, mask=decayed),
        "adafactor": lambda: optax.adafactor(
            rate, momentum=b1 or None, weight_decay_rate=decay or None, weight_decay_mask=decayed
        ),
    }[knobs.name]()
    clip = optax.identity() if knobs.clip is None else optax.clip_by_global_norm(knobs.clip)
    averaging = optax.identity() if knobs.average is None else track_average(knobs.average)
    return optax.chain(clip, rule, averaging)


class AverageState(NamedTuple):
    """The running average, kept beside the optimizer's other state."""

    count: Int[Array, ""]
    average: PyTree


def track_average(decay: float) -> optax.GradientTransformation:
    """Keep an exponential moving average of the parameters; the updates pass through unchanged.

    The decay grows as min(decay, (1 + t) / (10 + t)), so that the first random parameters are soon forgotten
    (the rule of TensorFlow's ExponentialMovingAverage).
    """

    def init(params: PyTree) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.array, params))

    def update(updates: PyTree, state: AverageState, params: PyTree) -> tuple[PyTree, AverageState]:
        count = state.count + 1
        t = count.astype(jnp.float32)
        share = 1 - jnp.minimum(jnp.float32(decay), (1 + t) / (10 + t))
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: a + share.astype(a.dtype) * (p - a), state.average, new)
        return updates, AverageState(count, average)

    return optax.GradientTransformation(init, update)


def averaged(opt: PyTree, params: PyTree) -> PyTree:
    """The averaged parameters where the optimizer keeps them, else the parameters themselves."""
    states = [
        s for s in jax.tree.leaves(opt, is_leaf=lambda s: isinstance(s, AverageState)) if isinstance(s, AverageState)
    ]
    return states[0].average if states else params
