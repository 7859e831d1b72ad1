"""Which parts of a picture an answer rests on, and what a unit looks for: pure functions of `apply`, no hooks.

`logit(x)` maps pictures [B, H, W, C] to one number each [B]: the logit, not the probability, of what is explained.
Maps have the size of the picture; they are signed unless said otherwise.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

Logit = Callable[[Float[Array, "B H W C"]], Float[Array, "B"]]
Slope = Callable[[Float[Array, "B H W C"]], Float[Array, "B H W C"]]
Picture = Float[Array, "H W C"]
Map = Float[Array, "H W C"]


def gradient(logit: Logit, x: Picture) -> Map:
    """How the logit changes with every value (Simonyan et al., 2014)."""
    return jax.grad(lambda x: logit(x[None])[0])(x)


def slopes(logit: Logit) -> Slope:
    """The gradients of several pictures, each of its own logit."""
    return jax.grad(lambda x: logit(x).sum())


class Integrated(NamedTuple):
    """Integrated gradients, and how far their sum is from what it must be."""

    map: Map
    gap: Float[Array, ""]
    """|sum of the map - (logit of the picture - logit of the baseline)|."""


class _Piece(NamedTuple):
    """Of the line from the baseline (0) to the picture (1)."""

    start: float
    end: float
    map: Map
    gap: float
    """Sum of the map - (logit at the end - logit at the start)."""


def integrated_gradients(
    logit: Logit, slope: Slope, x: Picture, baseline: Picture, tolerance: float = 1e-3, most: int = 64, batch: int = 8
) -> Integrated:
    """Gradients along the line from the baseline, integrated (Sundararajan et al., 2017) by Gauss and Legendre in
    pieces, which are halved where they are worst until the gap is a small share of the difference of the logits.

    A network of rectifiers bends so often, and most near the baseline, that more steps of one rule need not help.

    Args:
        slope: `slopes(logit)`, best compiled.
        tolerance: share of the difference.
        most: pieces at the end, of `batch` / 2 gradients each.
    """
    nodes, weights = np.polynomial.legendre.leggauss(batch // 2)
    way = x - baseline

    def along(places: np.ndarray) -> Float[Array, "P H W C"]:
        return baseline[None] + places.astype(np.float32)[:, None, None, None] * way[None]

    def halves(start: float, end: float) -> list[_Piece]:
        half = (end - start) / 2
        ends = start + half * np.arange(3)
        slopes = slope(along(np.concatenate([own + half * (nodes + 1) / 2 for own in ends[:2]])))
        values = np.asarray(logit(along(ends)), np.float64)
        shares = (weights * half / 2).astype(np.float32)
        maps = [jnp.tensordot(shares, part, 1) * way for part in jnp.split(slopes, 2)]
        return [
            _Piece(ends[i], ends[i + 1], maps[i], float(maps[i].sum()) - (values[i + 1] - values[i])) for i in range(2)
        ]

    pieces = halves(0.0, 1.0)
    ends = np.asarray(logit(jnp.stack([x, baseline])), np.float64)
    while abs(sum(piece.gap for piece in pieces)) > tolerance * abs(ends[0] - ends[1]) and len(pieces) < most:
        worst = pieces.pop(int(np.argmax([abs(piece.gap) for piece in pieces])))
        pieces += halves(worst.start, worst.end)
    found = sum((piece.map for piece in pieces), jnp.zeros_like(x))
    return Integrated(found, jnp.abs(found.sum() - jnp.float32(ends[0] - ends[1])))


def smooth_gradient(slope: Slope, x: Picture, key: Array, deviation: float, samples: int = 16, batch: int = 8) -> Map:
    """Mean of the gradients of noisy copies (Smilkov et al., 2017)."""
    noise = deviation * jax.random.normal(key, (samples, *x.shape))
    parts = [slope(x[None] + noise[first : first + batch]) for first in range(0, samples, batch)]
    return jnp.concatenate(parts).mean(0)


def occlusion(
    logit: Logit, x: Picture, size: int, stride: int, value: float = 0.0, batch: int = 8
) -> Float[Array, "H W"]:
    """How much the logit loses where a square is covered (Zeiler & Fergus, 2014); squares that overlap are averaged."""
    height, width = x.shape[:2]
    tops, lefts = (sorted({*range(0, side - size + 1, stride), side - size}) for side in (height, width))
    places = [(top, left) for top in tops for left in lefts]
    covers = np.zeros((1 + len(places), height, width), bool)  # the first covers nothing
    for cover, (top, left) in zip(covers[1:], places, strict=True):
        cover[top : top + size, left : left + size] = True
    parts = [covers[first : first + batch] for first in range(0, len(covers), batch)]
    scores = jnp.concatenate([logit(jnp.where(part[..., None], jnp.float32(value), x[None])) for part in parts])
    covered = jnp.asarray(covers[1:], jnp.float32)
    return jnp.einsum("n,nhw->hw", scores[0] - scores[1:], covered) / covered.sum(0)


def perturbed(
    module: nn.Module, variables: PyTree, x: Float[Array, "B H W C"], layer: str, change: Float[Array, "B h w D"] | None
) -> tuple[PyTree, Float[Array, "B h w D"]]:
    """(outputs, activations of a layer) where `change` is added to what the module of that path returns.

    Args:
        layer: names of modules joined by /, such as trunk/block10.

    Raises:
        KeyError: there is no such module.
    """
    seen = []

    def watch(call, arguments, options, context):
        found = call(*arguments, **options)
        if "/".join(context.module.path) != layer or context.method_name != "__call__":
            return found
        found = found if change is None else found + change
        seen.append(found)
        return found

    with nn.intercept_methods(watch):
        outputs = module.apply(variables, x, train=False)
    if not seen:
        raise KeyError(layer)
    return outputs, seen[-1]


def layers(module: nn.Module, variables: PyTree, x: Float[Array, "B H W C"]) -> dict[str, tuple[int, ...]]:
    """The modules that return maps [B, h, w, D], in the order in which they are called: path -> shape."""
    found: dict[str, tuple[int, ...]] = {}

    def watch(call, arguments, options, context):
        output = call(*arguments, **options)
        if context.method_name == "__call__" and getattr(output, "ndim", 0) == 4:
            found["/".join(context.module.path)] = output.shape
        return output

    def run(x):
        with nn.intercept_methods(watch):
            return module.apply(variables, x, train=False)

    jax.eval_shape(run, x)
    return found


def grad_cam(
    module: nn.Module, variables: PyTree, x: Picture, layer: str, unit: Callable[[PyTree], Array]
) -> Float[Array, "h w"]:
    """Channels of a layer weighted by their mean gradient, positive part (Selvaraju et al., 2017).

    Args:
        unit: outputs for a batch of one -> the logit.
    """

    def answer(change):
        outputs, found = perturbed(module, variables, x[None], layer, change)
        return unit(outputs), found

    _, at = jax.eval_shape(lambda x: perturbed(module, variables, x, layer, None), x[None])
    slope, found = jax.grad(answer, has_aux=True)(jnp.zeros(at.shape, at.dtype))
    return jax.nn.relu((slope.mean((1, 2), keepdims=True) * found).sum(-1))[0]


def enlarged(small: Float[Array, "h w"], shape: tuple[int, int]) -> Float[Array, "H W"]:
    """A map of cells at the size of the picture, linear between the middles of the cells."""
    return jax.image.resize(small, shape, "linear")


class Curve(NamedTuple):
    """The logit while pixels go or come, from the most important on."""

    share: Float[np.ndarray, "S"]
    value: Float[np.ndarray, "S"]

    @property
    def area(self) -> float:
        return float(np.trapezoid(self.value, self.share))


def deletion(
    logit: Logit,
    x: Picture,
    baseline: Picture,
    order: Float[Array, "H W"],
    steps: int = 15,
    insert: bool = False,
    batch: int = 8,
) -> Curve:
    """Pixels replaced by the baseline in falling order of a map, or inserted into it (Petsiuk et al., 2018)."""
    rank = np.argsort(np.argsort(-np.ravel(order), kind="stable")).reshape(order.shape)
    share = np.linspace(0, 1, steps + 1)
    first, then = (baseline, x) if insert else (x, baseline)
    moved = [jnp.where(jnp.asarray(rank < s * order.size)[..., None], then, first) for s in share]
    parts = [logit(jnp.stack(moved[place : place + batch])) for place in range(0, len(moved), batch)]
    return Curve(share, np.concatenate([np.asarray(part) for part in parts]))


def cells(map: Float[Array, "H W"], side: int) -> Float[np.ndarray, "H W"]:
    """The map with each of side x side cells at its mean: an order of areas that can be seen, not of single pixels."""
    rows, columns = (np.arange(length) * side // length for length in map.shape)
    place = rows[:, None] * side + columns
    total, count = (np.bincount(place.ravel(), weights) for weights in (np.ravel(map), None))
    return (total / count)[place]


def in_quarter(map: Float[Array, "H W"], quarter: int) -> bool:
    """The pointing game (Zhang et al., 2018) on a grid of 2 x 2 pictures (Böhle et al., 2021), numbered by rows."""
    top, left = np.unravel_index(np.argmax(map), map.shape)
    return 2 * int(2 * top >= map.shape[0]) + int(2 * left >= map.shape[1]) == quarter


def in_boxes(map: Float[Array, "H W"], box: Float[np.ndarray, "K 4"]) -> bool:
    """The pointing game: whether the map's maximum lies in one of the boxes (left, top, right, bottom) in pixels."""
    top, left = np.unravel_index(np.argmax(map), map.shape)
    inside = (box[:, 0] <= left) & (left < box[:, 2]) & (box[:, 1] <= top) & (top < box[:, 3])
    return bool(inside.any())


def maximised(
    score: Callable[[Float[Array, "1 H W C"]], Array],
    shape: tuple[int, int, int],
    key: Array,
    steps: int = 128,
    rate: float = 0.05,
    jitter: int = 8,
) -> Float[Array, "H W C"]:
    """A picture in 0..1 that a unit answers to most: Adam on a Fourier spectrum, moved at random (Olah et al., 2017).

    Every frequency is scaled by its wavelength, as in photographs, so that no step draws noise.
    """
    import optax

    height, width, channels = shape
    rows, columns = jnp.fft.fftfreq(height)[:, None], jnp.fft.rfftfreq(width)[None]
    scale = 1 / jnp.maximum(jnp.sqrt(rows**2 + columns**2), 1 / max(height, width))
    start, key = jax.random.split(key)
    spectrum = 0.01 * jax.random.normal(start, (2, channels, *scale.shape))

    def drawn(spectrum: Array) -> Array:
        wave = jax.lax.complex(*(spectrum * scale[None, None]))
        picture = jnp.fft.irfft2(wave, (height, width)) * jnp.sqrt(jnp.float32(height * width)) / 4
        return jax.nn.sigmoid(jnp.moveaxis(picture, 0, -1))

    optimizer = optax.adam(rate)

    def step(carry, key):
        spectrum, state = carry

        def loss(spectrum):
            move = jax.random.randint(key, (2,), -jitter, jitter + 1)
            return -score(jnp.roll(drawn(spectrum), move, (0, 1))[None]).sum()

        updates, state = optimizer.update(jax.grad(loss)(spectrum), state)
        return (optax.apply_updates(spectrum, updates), state), None

    with jax.numpy_dtype_promotion("standard"):  # optax itself multiplies floats by step counts
        (spectrum, _), _ = jax.lax.scan(step, (spectrum, optimizer.init(spectrum)), jax.random.split(key, steps))
    return drawn(spectrum)
