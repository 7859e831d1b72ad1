"""Optimizer knobs and the optax transformation they stand for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree
from optax.contrib import MuonDimensionNumbers

from deeplearn.errors import ConfigError
from deeplearn.knobs import Amount, NotNegative, Positive, Rest, Within


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How parameters follow their gradients."""

    name: Literal["adamw", "adam", "sgd", "lion", "muon", "lamb", "adafactor"] = "adamw"
    """Update rule; `adam` and `sgd` add the decay to the gradient (L2), the others decouple it."""
    rate: NotNegative = 1e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "rsqrt", "constant", "drops"] = "cosine"
    """Shape of the rate after the warm-up: to zero at the last step, or 1/sqrt(step), flat, or flat with drops."""
    drops: tuple[Within, ...] = (1 / 3, 2 / 3, 8 / 9)
    """Shares of the run after which `drops` divides the rate by ten (Goyal et al., 2017: epochs 30, 60, 80 of 90)."""
    warmup: Amount = 0
    """Steps of linear warm-up from zero."""
    decay: NotNegative = 0.0
    """Weight decay of kernels and embeddings; biases, scales, positions and tokens are spared."""
    clip: Positive | None = 1.0
    """Largest global norm of the gradient; None leaves it as it is."""
    momentum: Rest = 0.9
    """Momentum of sgd and muon, first-moment decay (beta 1) of the others."""
    beta2: Rest | None = None
    """Second-moment decay of the adaptive rules; by default their papers': 0.999, and 0.99 for lion (its momentum)."""
    nesterov: bool = True
    """Look-ahead momentum for sgd and muon."""
    average: Rest | None = None
    """Decay of an exponential moving average of the parameters, which evaluation then uses (e.g. 0.999); after the last
    step the statistics of batch normalisation are measured anew for them."""


def rate_schedule(knobs: Optimizer, steps: int) -> Callable[[Int[Array, ""]], Array]:
    """step -> learning rate over a run of `steps` updates."""
    if knobs.warmup > steps:
        raise ConfigError(
            f"optimizer.warmup is {knobs.warmup}, longer than the run's {steps} steps; lower one or raise --steps."
        )
    rest = max(steps - 1 - knobs.warmup, 1)  # the last update is that of step `steps - 1`
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(knobs.rate, rest),
        "linear": lambda: optax.linear_schedule(knobs.rate, 0.0, rest),
        # Vaswani et al. (2017): continuous with the end of the warm-up.
        "rsqrt": lambda: lambda count: knobs.rate * jnp.sqrt(max(knobs.warmup, 1) / (count + max(knobs.warmup, 1.0))),
        "constant": lambda: optax.constant_schedule(knobs.rate),
        "drops": lambda: optax.piecewise_constant_schedule(
            knobs.rate, {round(share * steps) - knobs.warmup: 0.1 for share in knobs.drops}
        ),
    }[knobs.schedule]()
    if not knobs.warmup:
        return after
    # From 1/warmup of the peak, not from zero: a first update of zero would be a wasted step.
    start = optax.linear_schedule(knobs.rate / knobs.warmup, knobs.rate, max(knobs.warmup - 1, 1))
    return optax.join_schedules([start, after], [knobs.warmup])


WEIGHTS = ("kernel", "embedding", "recurrent")
"""Names of the leaves that are weights; all others are biases, scales, positions, tokens, centres and the like."""
ENDS = ("embed", "numbers", "head", "wide_head")
"""Modules at either end of a network, which Muon leaves to Adam as its author does."""
FANNED = ("qkv", "joint", "query", "key", "value")
"""Modules that map the first axis of their kernel to all others; everywhere else the last axis is the output."""
STACKED = ("network", "member")
"""Modules of `nn.vmap`, whose kernels have the copies on their first axis."""


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr(path, simple=True, separator="/").split("/"))


def decayed(params: PyTree) -> PyTree:
    """True for the leaves that weight decay applies to: kernels and embeddings, by name."""
    return jax.tree.map_with_path(lambda path, _: _names(path)[-1] in WEIGHTS, params)


def matrices(params: PyTree) -> PyTree:
    """Which axes of a leaf are the rows and the columns of a matrix to Muon, or None where it is none."""

    def axes(path: tuple[Any, ...], leaf: Array) -> MuonDimensionNumbers | None:
        *modules, name = _names(path)
        first = int(any(module in STACKED for module in modules))
        if name not in WEIGHTS or name == "embedding" or leaf.ndim < first + 2 or set(modules[-1:]) & set(ENDS):
            return None
        last = first + 1 if set(modules[-1:]) & set(FANNED) else leaf.ndim - 1  # the first axis of the output
        return MuonDimensionNumbers(tuple(range(first, last)), tuple(range(last, leaf.ndim)))

    return jax.tree.map_with_path(axes, params)


def make(knobs: Optimizer, steps: int) -> optax.GradientTransformation:
    """The optax chain of clipping, update rule, schedule and averaging.

    Raises:
        ConfigError: if the warm-up is longer than the run.
    """
    rate = rate_schedule(knobs, steps)
    b1, decay = knobs.momentum, knobs.decay
    b2 = knobs.beta2 if knobs.beta2 is not None else 0.99 if knobs.name == "lion" else 0.999
    l2 = optax.add_decayed_weights(decay, decayed)
    rule = {
        "adamw": lambda: optax.adamw(rate, b1, b2, weight_decay=decay, mask=decayed),
        "adam": lambda: optax.chain(l2, optax.adam(rate, b1, b2)),
        "sgd": lambda: optax.chain(l2, optax.sgd(rate, b1 or None, knobs.nesterov and b1 > 0)),
        "lion": lambda: optax.lion(rate, b1, b2, weight_decay=decay, mask=decayed),
        "muon": lambda: _muon(knobs, rate, b2),
        "lamb": lambda: optax.lamb(rate, b1, b2, weight_decay=decay, mask=decayed),
        # The rate at the end of the chain, since optax's own would not multiply the decay.
        "adafactor": lambda: optax.chain(
            optax.adafactor(None, momentum=b1 or None, weight_decay_rate=decay or None, weight_decay_mask=decayed),
            optax.scale_by_learning_rate(rate, flip_sign=False),
        ),
    }[knobs.name]()
    clip = optax.identity() if knobs.clip is None else optax.clip_by_global_norm(knobs.clip)
    averaging = optax.identity() if knobs.average is None else track_average(knobs.average)
    return optax.chain(clip, rule, averaging)


def of_each(parts: Mapping[str, Optimizer], steps: int) -> optax.GradientTransformation:
    """An optimizer for each part of the parameters, by its name at their top: the players of an adversarial game.

    Clipping, averages and decay are of each part by itself. Raises ConfigError as `make` does.
    """
    return optax.partition(
        {name: make(knobs, steps) for name, knobs in parts.items()}, lambda params: {name: name for name in params}
    )


def _muon(knobs: Optimizer, rate: Callable[[Array], Array], beta2: float) -> optax.GradientTransformation:
    """Muon (Jordan, 2024) on matrices, Adam on the rest, with one rate and one decay for both.

    Updates are scaled to the size that Adam's have, 0.2 an element (Liu et al., "Muon is scalable", 2025).
    """
    rule = optax.contrib.muon(
        1.0,
        beta=knobs.momentum,
        nesterov=knobs.nesterov,
        adam_b1=knobs.momentum,
        adam_b2=beta2,
        muon_weight_dimension_numbers=matrices,
        consistent_rms=0.2,
    )
    # Decay outside the rule, whose Adam would not spare biases; the updates are already negative.
    decay = optax.add_decayed_weights(-knobs.decay, decayed)
    return optax.chain(rule, decay, optax.scale_by_learning_rate(rate, flip_sign=False))


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
    """The averaged parameters where the optimizer, or one of several, keeps them, else the parameters themselves."""
    outside = lambda node: isinstance(node, optax.MaskedNode)  # noqa: E731  # of another optimizer's part
    for state in jax.tree.leaves(opt, is_leaf=lambda node: isinstance(node, AverageState)):
        if isinstance(state, AverageState):
            params = jax.tree.map(
                lambda mean, now: now if outside(mean) else mean, state.average, params, is_leaf=outside
            )
    return params
