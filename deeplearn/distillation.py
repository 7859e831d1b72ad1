"""A network that learns from a slow copy of itself, without labels (DINO; Caron et al., 2021).

Each picture is seen twice. What the copy, an average of the network over its past steps, says of one view is what the
network has to say of the other: to which of many prototypes it is near. The copy's word is sharpened, or all prototypes
would stay equally near, and centred, or one of them would win them all; each keeps the other's collapse away (their
section 3.1). The copy and the centre are collections that no optimizer trains, so they are saved and resumed as batch
statistics are.
"""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from deeplearn.metrics import Mean
from deeplearn.task import Batch, Output, Task, Variables

SHARP = 0.04
"""Temperature of the copy's word, below that of the network's (their appendix D)."""
SLOW = 0.9
"""Share of the centre that stays in a step (their section 3.1)."""


def distilling(
    model: nn.Module,
    *,
    inputs: Callable[[Batch], tuple[Array, ...]],
    augment: Callable[[Array, Batch], Batch],
    code: int,
    prototypes: int,
    temperature: float,
    momentum: float,
) -> Task:
    """A Flax Linen model as a Task that predicts codes of length 1.

    Args:
        model: called as `model(*inputs(batch), train=...)`: codes [N, D].
        inputs: which columns the model sees; of a batch with a second view `other` both, as rows [2 B, ...].
        augment: (key, batch) -> batch with two views; see `data.augment.views`.
        code: numbers in a code.
        prototypes: directions that a code is compared with.
        temperature: of the network's cosines.
        momentum: share of the copy that stays in a step.
    """

    def init(key: Array, batch: Batch) -> Variables:
        ours, theirs = jax.random.split(key)
        fresh = model.init(ours, *inputs(batch), train=False)
        params = {"network": fresh["params"], "prototypes": jax.random.normal(theirs, (code, prototypes))}
        others = {name: part for name, part in fresh.items() if name != "params"}
        return {"params": params, **others, "teacher": params, "centre": jnp.zeros(prototypes)}

    def near(params: PyTree, others: Variables, batch: Batch) -> tuple[Float[Array, "N K"], Variables]:
        """Cosines with the prototypes, and the statistics that this look leaves behind."""
        known = {"params": params["network"], **others}
        codes, seen = model.apply(known, *inputs(batch), train=True, mutable=list(others))
        return unit(codes) @ unit(params["prototypes"], axis=0), seen

    def loss(variables: Variables, batch: Batch, key: Array, train: bool) -> Output:
        params, others, rest = _parts(variables)
        if not train:  # Nothing to say of pictures that are seen once.
            return Output(Mean(total=jnp.float32(0), count=jnp.float32(0)), {}, {**others, **rest})
        batch = augment(key, batch)
        mask = jnp.tile(batch["mask"], 2)
        ours, seen = near(params, others, batch)
        said, _ = near(rest["teacher"], others, batch)
        target = jax.lax.stop_gradient(jax.nn.softmax((said - rest["centre"][None]) / SHARP))
        crossed = jnp.roll(target, len(target) // 2, axis=0)  # the word on the other view
        each = -(crossed * jax.nn.log_softmax(ours / temperature)).sum(1)
        unsure = -(target * jnp.log(jnp.maximum(target, 1e-30))).sum(1)
        middle = (said * mask[:, None]).sum(0) / jnp.maximum(mask.sum(), 1)
        moved = {
            "teacher": _drift(rest["teacher"], params, momentum),
            "centre": _drift(rest["centre"], middle, SLOW),
        }
        extra = {**seen, **jax.lax.stop_gradient(moved)}
        return Output(Mean.of(each, mask), {"entropy": Mean.of(unsure, mask)}, extra)

    def statistics(variables: Variables, batch: Batch) -> PyTree:
        params, others, _ = _parts(variables)
        return near(params, others, batch)[1]

    def predict(variables: Variables, batch: Batch) -> Float[Array, "B D"]:
        params, others, _ = _parts(variables)
        return unit(model.apply({"params": params["network"], **others}, *inputs(batch), train=False))

    return Task(init=init, loss=loss, predict=predict, statistics=statistics, couples=True)


def unit(x: Float[Array, "*any"], axis: int = 1) -> Float[Array, "*any"]:
    """Of length 1 along an axis."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=axis, keepdims=True), 1e-6)


def _parts(variables: Variables) -> tuple[PyTree, Variables, Mapping[str, PyTree]]:
    """(what is trained, the model's own collections, copy and centre)."""
    rest = {name: variables[name] for name in ("teacher", "centre")}
    return variables["params"], {k: v for k, v in variables.items() if k not in ("params", *rest)}, rest


def _drift(before: PyTree, now: PyTree, stays: float) -> PyTree:
    return jax.tree.map(lambda a, b: stays * a + (1 - stays) * b, before, now)
