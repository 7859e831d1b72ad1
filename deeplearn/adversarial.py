"""Two networks that learn from each other: one makes, another tells what was made from what is real.

Goodfellow et al. (2014). Both learn in the same step from one loss: what judges the maker looks through a critic that
stands still, and what teaches the critic sees made things that stand still, so each parameter gets the gradient of its
own player alone, and everything that holds for a step (devices, microbatches, resuming) holds for both. The passes
through the critic that only differ in who learns are computed once. Each player has its optimizer: `optimizer.of_each`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from deeplearn.metrics import Mean, Metric
from deeplearn.task import Batch, Output, Task, Variables

MAKER, CRITIC = "maker", "critic"
"""Names of the players, at the top of the parameters."""
MATCHING = 2.0
"""Weight of the distance in the critic's features beside its scores (Kong et al., 2020)."""


class Heard(Protocol):
    """What a critic makes of things."""

    @property
    def score(self) -> Float[Array, "B N"]: ...

    @property
    def features(self) -> Sequence[Float[Array, "B ..."]]: ...


def adversarial(
    maker: nn.Module,
    critic: nn.Module,
    objective: Callable[[Any, Batch], tuple[Mean, Mapping[str, Metric]]],
    *,
    inputs: Callable[[Batch], tuple[Array, ...]],
    real: Callable[[Batch], Array],
    weight: float,
    augment: Callable[[Array, Batch], Batch] | None = None,
    predict: Callable[[Any, Batch], PyTree] | None = None,
) -> Task:
    """A maker and its critic, of Flax Linen, as a Task.

    Args:
        maker: called as `maker(*inputs(batch))`.
        critic: called with what was made or is real [B, ...]; says it as a list of `Heard`.
        objective: (what was made, batch) -> (loss, metrics): what the maker learns besides, and all that is evaluated;
            the loss is a mean over rows, as the critic's word is.
        inputs: which columns the maker sees.
        real: what it should have made.
        weight: of the critic's opinion in the maker's loss; 0: there is no critic.
        augment: (key, batch) -> batch, applied when training only; see `task.linen`.
        predict: (what was made, batch) -> predictions; that itself by default.
    """

    def init(key: Array, batch: Batch) -> Variables:
        ours, theirs = jax.random.split(key)
        params = {MAKER: maker.init(ours, *inputs(batch))["params"]}
        return {"params": params | ({CRITIC: critic.init(theirs, real(batch))["params"]} if weight else {})}

    def make(variables: Variables, batch: Batch) -> PyTree:
        return maker.apply({"params": variables["params"][MAKER]}, *inputs(batch))

    def judged(made: Array, batch: Batch, params: PyTree) -> dict[str, Float[Array, "B"]]:
        """By what teaches the maker, and what the critic."""
        say = lambda params, x: critic.apply({"params": params}, x)  # noqa: E731
        still = jax.lax.stop_gradient
        of_real = say(params, real(batch))
        fooled, matched = persuasion(say(still(params), made), still(of_real))
        return {"fooled": fooled, "matched": matched, "critic": hinge(of_real, say(params, still(made)))}

    def loss(variables: Variables, batch: Batch, key: Array, train: bool) -> Output:
        if train and augment is not None:
            batch = augment(key, batch)
        made = make(variables, batch)
        own, metrics = objective(made, batch)
        if not train or not weight:
            return Output(own, metrics, {})
        found = judged(made, batch, variables["params"][CRITIC])
        more = {name: Mean.of(each, batch["mask"]) for name, each in found.items()}
        game = weight * (more["fooled"].total + MATCHING * more["matched"].total) + more["critic"].total
        return Output(Mean(total=own.total + game, count=own.count), {**metrics, **more}, {})

    def predictions(variables: Variables, batch: Batch) -> PyTree:
        made = make(variables, batch)
        return made if predict is None else predict(made, batch)

    return Task(init=init, loss=loss, predict=predictions)


def hinge(of_real: Sequence[Heard], of_made: Sequence[Heard]) -> Float[Array, "B"]:
    """What teaches the critics: real things above 1, made ones below -1, none further (Lim & Ye, 2017)."""
    pairs = zip(of_real, of_made, strict=True)
    each = [nn.relu(1 - real.score).mean(1) + nn.relu(1 + made.score).mean(1) for real, made in pairs]
    return sum(each[1:], each[0]) / len(each)


def persuasion(of_made: Sequence[Heard], of_real: Sequence[Heard]) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """(how far what was made is from passing as real, how far it is from the real thing in the critics' features)."""
    fooled = [nn.relu(1 - made.score).mean(1) for made in of_made]
    gaps = [
        jnp.abs(ours - theirs).mean(tuple(range(1, ours.ndim)))
        for made, real in zip(of_made, of_real, strict=True)
        for ours, theirs in zip(made.features, real.features, strict=True)
    ]
    return sum(fooled[1:], fooled[0]) / len(fooled), sum(gaps[1:], gaps[0]) / len(gaps)
