"""A picture looked at in several sizes, and what was found in each made one.

Letters: B images, D detections of one view, M of all.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplearn.methods.boxes import iou, nms
from deeplearn.methods.centres import Detections

SAME = 0.5
"""Two boxes of a class, of whatever views, that overlap more are one object."""


def in_sizes(
    find: Callable[[Array], Detections], image: Float[Array, "B H W C"], sizes: Sequence[float], most: int
) -> Detections:
    """What is found in images of 0..255, enlarged (or shrunk) by each of `sizes`, in the pixels of `image`."""
    height, width = image.shape[1:3]
    found = []
    for size in sizes:
        sides = round(height * size), round(width * size)
        view = jax.image.resize(image, (image.shape[0], *sides, image.shape[3]), "bicubic").clip(0, 255)
        own = find(image if sides == (height, width) else view)
        back = jnp.array([width / sides[1], height / sides[0]] * 2, jnp.float32)
        found.append(own._replace(box=own.box * back.reshape(1, 1, 4)))
    return fused(found, most)


def fused(views: Sequence[Detections], most: int) -> Detections:
    """The likeliest objects: means of boxes, weighted by scores, and of scores, zero where a view has none.

    Weighted boxes fusion (Solovyev, Wang and Gabruseva, 2021), in which an object is what overlaps with its surest box.
    """
    of_view = jnp.concatenate([jnp.full(own.score.shape[1], number) for number, own in enumerate(views)])  # [M]
    box, score, label = (jnp.concatenate(parts, axis=1) for parts in zip(*views, strict=True))

    def one(box: Float[Array, "M 4"], score: Float[Array, "M"], label: Int[Array, "M"]) -> Detections:
        order = jnp.argsort(-score, stable=True)
        box, score, label, view = box[order], score[order], label[order], of_view[order]
        surest = nms(box, label, SAME)
        mine = _members(surest, box, label)
        weights, boxes = jnp.zeros(len(box)), jnp.zeros_like(box)
        for number in range(len(views)):
            here = mine & (view == number)[None]  # sorted, so the first is the surest
            first = here.argmax(1)
            weight = jnp.where(here.any(1), score[first], 0.0)
            weights, boxes = weights + weight, boxes + weight[:, None] * box[first]
        mean = boxes / jnp.maximum(weights, 1e-9)[:, None]
        best, place = jax.lax.top_k(jnp.where(surest, weights / len(views), 0.0), min(most, len(box)))
        return Detections(mean[place], best, label[place])

    return jax.vmap(one)(box, score, label)


def _members(surest: Bool[Array, "M"], box: Float[Array, "M 4"], label: Int[Array, "M"]) -> Bool[Array, "M M"]:
    """Which boxes [., M] belong to each of the surest [M, .]: each to the first that it overlaps with, or is."""
    near = (iou(box, box) > SAME) & (label[:, None] == label[None]) | jnp.eye(len(box), dtype=bool)
    near &= surest[:, None]
    return near & (near.argmax(0)[None] == jnp.arange(len(box))[:, None])
