"""Detection as a set: every prediction takes at most one object, and every object one prediction.

DETR (Carion et al., 2020) with the focal loss of Deformable DETR (Zhu et al., 2021). Boxes are (centre x, centre y,
width, height) in shares of the picture's sides. Letters: B images, Q predictions, K objects, C classes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplearn.methods.boxes import assignment, giou
from deeplearn.methods.centres import Detections

CLASS, DISTANCE, OVERLAP = 2.0, 5.0, 2.0
"""Weights of the three parts of the cost and of the loss, those of the papers."""
ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al., 2017)."""


def corners(box: Float[Array, "*N 4"]) -> Float[Array, "*N 4"]:
    """(left, top, right, bottom) of (centre x, centre y, width, height)."""
    return jnp.concatenate([box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2], axis=-1)


def centred(box: Float[Array, "*N 4"]) -> Float[Array, "*N 4"]:
    """(centre x, centre y, width, height) of (left, top, right, bottom)."""
    return jnp.concatenate([(box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]], axis=-1)


def _focal(logit: Float[Array, "*N"], hit: bool) -> Float[Array, "*N"]:
    """What it costs to give this logit to a class that is, or is not, there."""
    sign = 1.0 if hit else -1.0
    share = ALPHA if hit else 1 - ALPHA
    return -share * jax.nn.sigmoid(-sign * logit) ** GAMMA * jax.nn.log_sigmoid(sign * logit)


def matching(
    logits: Float[Array, "Q C"], found: Float[Array, "Q 4"], label: Int[Array, "K"], box: Float[Array, "K 4"]
) -> Int[Array, "K"]:
    """The prediction of each object such that all are cheapest together; without a meaning where label is -1."""
    own = logits[:, jnp.maximum(label, 0)].T  # [K, Q]
    cost = CLASS * (_focal(own, True) - _focal(own, False))
    cost += DISTANCE * jnp.abs(box[:, None] - found[None]).sum(-1)
    pairs = jnp.broadcast_arrays(corners(box)[:, None], corners(found)[None])
    cost -= OVERLAP * giou(*pairs)
    return assignment(jax.lax.stop_gradient(cost), label >= 0)


def loss(
    logits: Float[Array, "B Q C"],
    found: Float[Array, "B Q 4"],
    label: Int[Array, "B K"],
    box: Float[Array, "B K 4"],
    crowd: Bool[Array, "B K"],
) -> Float[Array, "B"]:
    """Of each image, over its objects: classes by focal loss, boxes of the matched by distance and overlap."""

    def one(logits: Array, found: Array, label: Array, box: Array) -> Array:
        chosen, real = matching(logits, found, label, box), label >= 0
        there = jnp.zeros(logits.shape, bool).at[jnp.where(real, chosen, len(logits)), label].set(True, mode="drop")
        classes = jnp.where(there, _focal(logits, True), _focal(logits, False)).sum()
        distance = jnp.abs(found[chosen] - box).sum(-1)
        overlap = 1 - giou(corners(found[chosen]), corners(box))
        parts = jnp.where(real, DISTANCE * distance + OVERLAP * overlap, 0.0).sum()
        return (CLASS * classes + parts) / jnp.maximum(real.sum(), 1).astype(jnp.float32)

    return jax.vmap(one)(logits, found, jnp.where(crowd, -1, label), box)


def detections(
    logits: Float[Array, "B Q C"], found: Float[Array, "B Q 4"], sides: Float[Array, "1 1 4"], most: int
) -> Detections:
    """The surest pairs of a prediction and a class, in pixels of a picture of those (width, height) twice; a set needs
    no search for doubles."""
    score = jax.nn.sigmoid(logits).reshape(logits.shape[0], logits.shape[1] * logits.shape[2])
    best, place = jax.lax.top_k(score, min(most, score.shape[1]))
    box = jnp.take_along_axis(corners(found) * sides, (place // logits.shape[2])[..., None], axis=1)
    return Detections(box, best, place % logits.shape[2])
