"""Objects as points: a map of each class that peaks at objects' centres, and a box told at every place.

CenterNet (Zhou et al., 2019) with FCOS's distances to the four sides (Tian et al., 2019), and how well the box is
thought to fit (Jiang et al., 2018). A place is a cell of `stride` pixels a side.
Letters: B images, h and w cells, C classes, K objects (label -1 where there are fewer), D detections.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from deeplearn.methods.boxes import giou, nms

EMPTY = -4.6
"""Logit with which maps begin, 1 %: else the many empty places would drown the objects (Lin et al., 2017)."""
DOUBLES = 0.6
"""Two boxes of a class that overlap more are one object."""


class Maps(NamedTuple):
    """What a network says of every cell."""

    heat: Float[Array, "B h w C"]
    """Logits that an object of the class has its centre here."""
    sides: Float[Array, "B h w 4"]
    """Distances to the left, top, right and bottom of the box, in cells, positive."""
    fit: Float[Array, "B h w"]
    """Logit of the overlap of this box with the object's."""


class Targets(NamedTuple):
    """What it should say of one image."""

    heat: Float[Array, "h w C"]
    peak: Bool[Array, "h w C"]
    box: Float[Array, "h w 4"]
    weight: Float[Array, "h w"]
    """How near the centre of its object a cell is; zero beyond the cells next to it."""


def cells(height: int, width: int, stride: int) -> Float[Array, "h w 2"]:
    """The middles (x, y) of all cells in pixels."""
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    return (jnp.stack([x, y], axis=-1).astype(jnp.float32) + 0.5) * stride


def targets(box: Float[Array, "K 4"], label: Int[Array, "K"], maps: tuple[int, int, int], stride: int) -> Targets:
    """Bumps of a sixth of the object's sides around the cells that hold centres; `maps` is (h, w, C)."""
    height, width, classes = maps
    real, size = label >= 0, (box[:, 2:] - box[:, :2]) / stride
    middle = (box[:, :2] + box[:, 2:]) / (2 * stride)
    centre = jnp.clip(jnp.floor(middle), 0, jnp.array([[width - 1, height - 1]], jnp.float32)) + 0.5
    away = cells(height, width, 1)[None] - centre[:, None, None]  # [K, h, w, 2]
    spread = jnp.maximum(size / 6, 0.4)[:, None, None]
    bump = jnp.where(real[:, None, None], jnp.exp(-0.5 * ((away / spread) ** 2).sum(-1)), 0.0)
    own = (jax.nn.one_hot(label, classes) > 0)[:, None, None]  # [K, 1, 1, C]
    near = jnp.where(jnp.abs(away).max(-1) < 1.5, bump, 0.0)
    return Targets(
        heat=jnp.where(own, bump[..., None], 0.0).max(0),
        peak=(own & (jnp.abs(away).max(-1) < 0.5)[..., None]).any(0),
        box=box[near.argmax(0)],
        weight=near.max(0),
    )


def boxes_of(sides: Float[Array, "*B h w 4"], stride: int) -> Float[Array, "*B h w 4"]:
    """In pixels."""
    middle = cells(*sides.shape[-3:-1], stride)
    middle = jnp.expand_dims(middle, tuple(range(sides.ndim - 3)))
    return jnp.concatenate([middle - stride * sides[..., :2], middle + stride * sides[..., 2:]], axis=-1)


def loss(
    maps: Maps, box: Float[Array, "B K 4"], label: Int[Array, "B K"], crowd: Bool[Array, "B K"], stride: int
) -> Float[Array, "B"]:
    """Focal loss of the maps, generalised overlap of the boxes, and cross-entropy of how well they fit."""

    def one(heat: Array, sides: Array, fit: Array, box: Array, label: Array) -> Array:
        target = targets(box, label, heat.shape, stride)
        log_p, log_not = jax.nn.log_sigmoid(heat), jax.nn.log_sigmoid(-heat)
        p = jnp.exp(log_p)
        focal = -jnp.where(target.peak, (1 - p) ** 2 * log_p, (1 - target.heat) ** 4 * p**2 * log_not).sum()
        found = boxes_of(sides, stride)
        overlap = giou(found, target.box)
        # Of boxes that touch; whether they do is told by the distance itself.
        quality = optax.sigmoid_binary_cross_entropy(fit, jax.lax.stop_gradient(overlap.clip(0, 1)))
        share = target.weight / target.weight.sum().clip(1e-3)
        objects = jnp.maximum((label >= 0).sum(), 1).astype(jnp.float32)
        return focal / objects + (share * (2 * (1 - overlap) + quality)).sum()

    # What nobody is asked to find takes no part; its cells count as empty.
    return jax.vmap(one)(*maps, box, jnp.where(crowd, -1, label))


class Detections(NamedTuple):
    """The likeliest boxes of each image, the best first; doubles have a score of zero."""

    box: Float[Array, "B D 4"]
    score: Float[Array, "B D"]
    label: Int[Array, "B D"]


def detections(maps: Maps, stride: int, most: int) -> Detections:
    """The highest places of the maps that are highest among their neighbours."""

    def one(heat: Array, sides: Array, fit: Array) -> Detections:
        chance = jax.nn.sigmoid(heat)
        around = jnp.pad(chance, ((1, 1), (1, 1), (0, 0)))
        highest = jax.lax.reduce_window(around, -jnp.inf, jax.lax.max, (3, 3, 1), (1, 1, 1), "VALID")
        # The geometric mean of what it is and of how well the box fits.
        score = jnp.where(chance == highest, jnp.sqrt(chance * jax.nn.sigmoid(fit)[..., None]), 0.0)
        best, place = jax.lax.top_k(score.ravel(), min(most, score.size))
        box = boxes_of(sides, stride).reshape(-1, 4)[place // heat.shape[-1]]
        label = place % heat.shape[-1]
        return Detections(box, jnp.where(nms(box, label, DOUBLES), best, 0.0), label)

    return jax.vmap(one)(*maps)
