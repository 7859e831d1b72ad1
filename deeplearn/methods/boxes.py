"""Boxes: overlap, suppression of duplicates, matching of predictions to objects, and COCO's average precision.

A box is (left, top, right, bottom) in pixels from the image's upper left corner.
Letters: N and M boxes; D detections and G objects of one image; T overlaps, R recalls, K classes, A ranges of area.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

OVERLAPS = np.linspace(0.5, 0.95, 10)
"""[T] intersections over union from which a detection counts as right (Lin et al., 2014, as all that follows)."""
RECALLS = np.linspace(0, 1, 101)
"""[R] where precision is read."""
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
"""[A] smallest and largest area in square pixels."""
LIMITS = (1, 10, 100)
"""How many detections of an image and class count, the best first; precision takes the last."""


def area(box: Num[Array, "*N 4"]) -> Num[Array, "*N"]:
    """Square pixels; zero where a box is inside out."""
    return (box[..., 2] - box[..., 0]).clip(0) * (box[..., 3] - box[..., 1]).clip(0)


def intersection(a: Num[Array, "*N 4"], b: Num[Array, "*N 4"]) -> Num[Array, "*N"]:
    """Square pixels that both boxes of a pair cover; works on NumPy's arrays and on JAX's."""
    xp = a.__array_namespace__()
    low, high = xp.maximum(a[..., :2], b[..., :2]), xp.minimum(a[..., 2:], b[..., 2:])
    return (high - low).clip(0).prod(-1)


def iou(a: Num[Array, "N 4"], b: Num[Array, "M 4"]) -> Float[Array, "N M"]:
    """Intersection over union of all pairs; zero where both are empty."""
    both = intersection(a[:, None], b[None])
    union = area(a)[:, None] + area(b)[None] - both
    return both / union.clip(1e-12)


def giou(a: Float[Array, "*N 4"], b: Float[Array, "*N 4"]) -> Float[Array, "*N"]:
    """Generalised IoU of each pair, from -1 to 1 (Rezatofighi et al., 2019): has a gradient where boxes do not meet."""
    both = intersection(a, b)
    union = area(a) + area(b) - both
    low, high = jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])
    hull = (high - low).prod(-1)
    return both / union.clip(1e-6) - (hull - union) / hull.clip(1e-6)


def nms(box: Float[Array, "N 4"], label: Int[Array, "N"], limit: float) -> Bool[Array, "N"]:
    """Which boxes stay, of those sorted from best to worst: all that no better box of their class that stays covers.

    Args:
        limit: two boxes whose IoU is larger are the same object.
    """
    rivals = (iou(box, box) > limit) & (label[:, None] == label[None])  # [N, N]

    def decide(i: Array, stays: Bool[Array, "N"]) -> Bool[Array, "N"]:
        better = jnp.arange(len(box)) < i
        return stays.at[i].set(~(stays & better & rivals[i]).any())

    return jax.lax.fori_loop(0, len(box), decide, jnp.ones(len(box), bool))


def assignment(cost: Float[Array, "R C"], rows: Bool[Array, "R"]) -> Int[Array, "R"]:
    """The column of each row such that the sum of costs is smallest and no column is taken twice; R <= C.

    The Hungarian method with potentials, one shortest path for each row (Jonker & Volgenant, 1987), under jit and vmap;
    SciPy's `linear_sum_assignment` finds the same. Rows where `rows` is False take no column; theirs means nothing.
    """
    height, width = cost.shape
    nobody, start = height, width  # Of a free column; the column from which paths start.
    padded = jnp.pad(cost, ((0, 1), (0, 1)))

    def shortest(state: tuple) -> tuple:
        """Reach the free or taken column that is nearest to those reached."""
        owner, u, v, distance, before, reached, last = state
        reached = reached.at[last].set(True)
        row = owner[last]
        reduced = padded[row] - u[row] - v
        closer = ~reached & (reduced < distance)
        distance, before = jnp.where(closer, reduced, distance), jnp.where(closer, last, before)
        following = jnp.where(reached, jnp.inf, distance).argmin()
        step = distance[following]
        u = u.at[owner].add(jnp.where(reached, step, 0.0))
        v = v - jnp.where(reached, step, 0.0)
        return owner, u, v, jnp.where(reached, distance, distance - step), before, reached, following

    def taken(state: tuple) -> Bool[Array, ""]:
        owner, *_, last = state
        return owner[last] != nobody

    def hand_over(state: tuple) -> tuple:
        owner, before, last = state
        return owner.at[last].set(owner[before[last]]), before, before[last]

    def insert(row: Array, state: tuple) -> tuple:
        owner, u, v = state
        owner = owner.at[start].set(jnp.where(rows[row], row, nobody))
        # The starting column is never a goal: it is reached before the first search.
        far = jnp.full(width + 1, jnp.inf, cost.dtype)
        fresh = (far, jnp.full(width + 1, start), jnp.zeros(width + 1, bool), jnp.int32(start))
        owner, u, v, _, before, _, last = jax.lax.while_loop(taken, shortest, (owner, u, v, *fresh))
        owner, _, _ = jax.lax.while_loop(lambda s: s[2] != start, hand_over, (owner, before, last))
        return owner, u, v

    free = jnp.full(width + 1, nobody)
    owner, _, _ = jax.lax.fori_loop(
        0, height, insert, (free, jnp.zeros(height + 1, cost.dtype), jnp.zeros(width + 1, cost.dtype))
    )
    return jnp.zeros(height + 1, jnp.int32).at[owner[:width]].set(jnp.arange(width, dtype=jnp.int32))[:height]


class Found(NamedTuple):
    """What a detector says of one image."""

    box: Num[np.ndarray, "D 4"]
    score: Float[np.ndarray, "D"]
    label: Int[np.ndarray, "D"]


class Truth(NamedTuple):
    """The objects of one image."""

    box: Num[np.ndarray, "G 4"]
    label: Int[np.ndarray, "G"]
    crowd: Bool[np.ndarray, "G"]
    """Many objects under one box: detections inside are neither right nor wrong."""
    area: Num[np.ndarray, "G"]
    """Square pixels of the object, which may be fewer than its box's."""


class Curves(NamedTuple):
    """Precision and recall of every class; NaN for ranges of area that none of its objects is in."""

    precision: Float[np.ndarray, "T R K A"]
    recall: Float[np.ndarray, "T K A L"]
    """After all of the L = 1, 10 or 100 best detections of each image."""
    classes: Int[np.ndarray, "K"]


def coco(found: Sequence[Found], truth: Sequence[Truth]) -> dict[str, float]:
    """pycocotools' numbers: ap, ap50, ap75, ap_small, ..., ar1, ar10, ar100, ar_small, ...; absent sizes left out."""
    precision, recall, _ = curves(found, truth)
    values = {"ap": precision[..., 0], "ap50": precision[0, ..., 0], "ap75": precision[5, ..., 0]}
    values |= {f"ap_{name}": precision[..., a] for a, name in enumerate(AREAS) if a}
    values |= {f"ar{limit}": recall[:, :, 0, m] for m, limit in enumerate(LIMITS)}
    values |= {f"ar_{name}": recall[:, :, a, -1] for a, name in enumerate(AREAS) if a}
    return {name: float(np.nanmean(value)) for name, value in values.items() if not np.isnan(value).all()}


def curves(found: Sequence[Found], truth: Sequence[Truth]) -> Curves:
    """Precision at every recall, and the recall that is reached, of each class that has objects; images in order."""
    classes = np.unique(np.concatenate([image.label for image in truth]))
    precision = np.full((len(OVERLAPS), len(RECALLS), len(classes), len(AREAS)), np.nan)
    recall = np.full((len(OVERLAPS), len(classes), len(AREAS), len(LIMITS)), np.nan)
    for k, label in enumerate(classes):
        matches = [_matched(f, t, label) for f, t in zip(found, truth, strict=True)]
        score, rank, hit, ignored = (np.concatenate(parts, axis=-1) for parts in zip(*matches, strict=True))
        order = np.argsort(-score, kind="stable")
        for a, bounds in enumerate(AREAS.values()):
            objects = sum(int((~_outside(t, bounds)[t.label == label]).sum()) for t in truth)
            for m, limit in enumerate(LIMITS if objects else ()):
                kept = order[rank[order] < limit]
                right, wrong = hit[a][:, kept] & ~ignored[a][:, kept], ~hit[a][:, kept] & ~ignored[a][:, kept]
                reached, sure = _curve(right, wrong, objects)
                recall[:, k, a, m] = reached[:, -1] if len(kept) else 0.0
            if objects:  # Of the last limit.
                precision[:, :, k, a] = [_read(r, p) for r, p in zip(reached, sure, strict=True)]
    return Curves(precision, recall, classes)


def _outside(boxes: Truth, bounds: tuple[float, float]) -> Bool[np.ndarray, "G"]:
    """What does not count: crowds, and objects of another size."""
    return boxes.crowd | (boxes.area < bounds[0]) | (boxes.area > bounds[1])


def _matched(found: Found, truth: Truth, label: int) -> tuple[Shaped[np.ndarray, "... D"], ...]:
    """Score and rank [D] of the detections of one class in one image, and whether each is a hit, or ignored [A, T, D].

    The best detection chooses first: the object it overlaps most, of those that count before those that do not.
    """
    order = np.argsort(-found.score[found.label == label], kind="stable")[: LIMITS[-1]]
    box, score = (part[found.label == label][order].astype(np.float64) for part in found[:2])
    own = Truth(*(part[truth.label == label] for part in truth))
    covered = intersection(box[:, None], own.box[None].astype(np.float64))
    union = area(box)[:, None] + np.where(own.crowd, 0, area(own.box.astype(np.float64)) - covered)
    overlap = covered / union.clip(1e-12)  # [D, G]; of a crowd the share of the detection that lies inside
    outside = np.stack([_outside(own, bounds) for bounds in AREAS.values()])[:, None]  # [A, 1, G]
    shape = (len(AREAS), len(OVERLAPS))
    free, hit, ignored = np.ones((*shape, len(own.box)), bool), np.zeros((*shape, len(box)), bool), []
    for d in range(len(box)):
        fits = (overlap[d] >= np.minimum(OVERLAPS, 1 - 1e-10)[:, None]) & (free | own.crowd)
        value = np.where(fits, overlap[d] + 2 * ~outside, -1)  # Those that count come first.
        # Of equals the last, as in the reference implementation.
        best = len(own.box) - 1 - value[..., ::-1].argmax(-1) if len(own.box) else np.zeros(shape, int)
        hit[..., d] = fits.any(-1)
        chosen = (np.arange(len(own.box)) == best[..., None]) & hit[..., d, None]
        free &= ~chosen
        size = (box[d, 2:] - box[d, :2]).prod()  # Below zero for a box inside out, which the reference ignores.
        strange = np.array([size < low or size > high for low, high in AREAS.values()])[:, None]
        ignored.append(np.where(hit[..., d], (chosen & outside).any(-1), strange))
    ignored = np.stack(ignored, axis=-1) if ignored else np.zeros((*shape, 0), bool)
    return score, np.arange(len(box)), hit, ignored


def _curve(
    right: Bool[np.ndarray, "T D"], wrong: Bool[np.ndarray, "T D"], objects: int
) -> tuple[Float[np.ndarray, "T D"], Float[np.ndarray, "T D"]]:
    """(recall, precision) after each detection, where precision is the best of any recall from there on."""
    hits, misses = right.cumsum(1), wrong.cumsum(1)
    precision = hits / (hits + misses + np.spacing(1))
    return hits / objects, np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def _read(recall: Float[np.ndarray, "D"], precision: Float[np.ndarray, "D"]) -> Float[np.ndarray, "R"]:
    """Precision at `RECALLS`; zero where it is never reached."""
    return np.append(precision, 0.0)[np.searchsorted(recall, RECALLS)]


def threshold(found: Sequence[Found], truth: Sequence[Truth]) -> float:
    """The score from which detections are worth showing: where F1, at half an overlap and over all classes, is best."""
    matches = [
        [part[..., 0, 0, :] if part.ndim == 3 else part for part in _matched(f, t, label)]
        for f, t in zip(found, truth, strict=True)
        for label in np.unique(np.concatenate([f.label, t.label]))
    ]
    if not matches:
        return 0.5  # Nothing was found and nothing was there.
    score, _, hit, ignored = (np.concatenate(parts) for parts in zip(*matches, strict=True))
    order = np.argsort(-score[~ignored], kind="stable")
    score, right = score[~ignored][order], hit[~ignored][order].cumsum()
    objects = sum(int((~t.crowd).sum()) for t in truth)
    f1 = 2 * right / (np.arange(len(right)) + 1 + objects)
    return float(score[f1.argmax()]) if len(f1) else 0.5
