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
Picture = Float[Array, "H W C"]
Map = Float[Array, "H W C"]


def gradient(logit: Logit, x: Picture) -> Map:
    """How the logit changes with every value (Simonyan et al., 2014)."""
    return jax.grad(lambda x: logit(x[None])[0])(x)


class Integrated(NamedTuple):
    """Integrated gradients, and how far their sum is from what it must be."""

    map: Map
    gap: Float[Array, ""]
    """|sum of the map - (logit of the picture - logit of the baseline)|."""


def integrated_gradients(logit: Logit, x: Picture, baseline: Picture, steps: int = 50, batch: int = 10) -> Integrated:
    """Gradients along the line from the baseline, integrated by Gauss and Legendre (Sundararajan et al., 2017)."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    places = jnp.asarray((nodes + 1) / 2, jnp.float32).reshape(-1, min(batch, steps))
    weights = jnp.asarray(weights / 2, jnp.float32).reshape(places.shape)
    slopes = jax.vmap(lambda place: gradient(logit, baseline + place * (x - baseline)))
    total, _ = jax.lax.scan(
        lambda sum, part: (sum + jnp.tensordot(part[1], slopes(part[0]), 1), None), jnp.zeros_like(x), (places, weights)
    )
    found = total * (x - baseline)
    ends = logit(jnp.stack([x, baseline]))
    return Integrated(found, jnp.abs(found.sum() - (ends[0] - ends[1])))


def smooth_gradient(logit: Logit, x: Picture, key: Array, deviation: float, samples: int = 16) -> Map:
    """Mean of the gradients of noisy copies (Smilkov et al., 2017)."""
    keys = jax.random.split(key, samples)
    noisy = jax.lax.map(lambda key: gradient(logit, x + deviation * jax.random.normal(key, x.shape)), keys)
    return noisy.mean(0)


def occlusion(
    logit: Logit, x: Picture, size: int, stride: int, value: float = 0.0, batch: int = 32
) -> Float[Array, "H W"]:
    """How much the logit loses where a square is covered (Zeiler & Fergus, 2014); squares that overlap are averaged."""
    height, width = x.shape[:2]
    tops, lefts = (sorted({*range(0, side - size + 1, stride), side - size}) for side in (height, width))
    places = [(top, left) for top in tops for left in lefts]
    covers = np.zeros((len(places), height, width), bool)
    for cover, (top, left) in zip(covers, places, strict=True):
        cover[top : top + size, left : left + size] = True
    program = jax.jit(lambda some: logit(jnp.where(some[..., None], jnp.float32(value), x[None])))
    pad = -len(covers) % min(batch, len(covers))
    parts = np.concatenate([covers, covers[:pad]]).reshape(-1, min(batch, len(covers)), height, width)
    scores = jnp.concatenate([program(jnp.asarray(part)) for part in parts])[: len(covers)]
    covered = jnp.asarray(covers, jnp.float32)
    return jnp.einsum("n,nhw->hw", logit(x[None])[0] - scores, covered) / covered.sum(0)


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
    logit: Logit, x: Picture, baseline: Picture, order: Float[Array, "H W"], steps: int = 20, insert: bool = False
) -> Curve:
    """Pixels replaced by the baseline in falling order of a map, or inserted into it (Petsiuk et al., 2018)."""
    rank = np.argsort(np.argsort(-np.ravel(order), kind="stable")).reshape(order.shape)
    share = np.linspace(0, 1, steps + 1)
    first, then = (baseline, x) if insert else (x, baseline)
    moved = [jnp.where(jnp.asarray(rank < s * order.size)[..., None], then, first) for s in share]
    program = jax.jit(logit)
    return Curve(share, np.array([float(program(picture[None])[0]) for picture in moved]))


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
