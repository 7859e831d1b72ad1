"""Small pieces that several image models share."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Norm = Literal["batch", "group", "layer", "none"]
"""Which normalisation follows a convolution."""


class Normalise(nn.Module):
    """Batch (Ioffe & Szegedy, 2015), layer (Ba et al., 2016) or group normalisation (Wu & He, 2018), or nothing.

    Computed in float32, returned in `dtype`. Batch statistics are those of the global batch under jit, and of one
    device's share under shard_map and pmap; their running averages live in the collection `batch_stats`.
    """

    kind: Norm
    scale_init: Callable[..., Array] = nn.initializers.ones
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B ... C"], *, train: bool) -> Float[Array, "B ... C"]:
        # Cast here, because Flax leaves it to implicit promotion, which a strict environment forbids.
        y, scale_init = x.astype(jnp.float32), self.scale_init
        match self.kind:
            case "batch":
                y = nn.BatchNorm(not train, momentum=0.9, scale_init=scale_init, name="batch")(y)
            case "layer":
                y = nn.LayerNorm(scale_init=scale_init, name="layer")(y)
            case "group":  # 32 groups as in the paper, or as many of them as divide a narrow layer
                y = nn.GroupNorm(math.gcd(32, x.shape[-1]), scale_init=scale_init, name="group")(y)
        return y.astype(self.dtype)


def narrow_conv(
    x: Float[Array, "B H W I"],
    kernel: Float[Array, "h w I O"],
    strides: tuple[int, int],
    padding: Sequence[tuple[int, int]] | str,
    *,
    lhs_dilation: tuple[int, int],
    rhs_dilation: tuple[int, int],
    dimension_numbers: lax.ConvDimensionNumbers,
    feature_group_count: int,
    precision: Any,
) -> Float[Array, "B P Q O"]:
    """A convolution of few channels as one product over shifted images; `nn.Conv` takes it as `conv_general_dilated`.

    For the first layer on grey images: there XLA's own convolution takes a CPU two and a half times as long
    (docs/performance.md). Further in, where the gradient of the images is needed too, XLA's is the better one.

    Raises:
        ValueError: strides, dilation or groups, which nothing narrow here needs.
    """
    if {*strides, *lhs_dilation, *rhs_dilation, feature_group_count} != {1}:
        raise ValueError("narrow_conv has no strides, dilation or groups; leave conv_general_dilated out")
    height, width, inputs, outputs = kernel.shape
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    x = jnp.pad(jnp.moveaxis(x, -1, 0), [(0, 0), (0, 0), *padding])  # [I, B, H, W]
    size = (x.shape[2] - height + 1, x.shape[3] - width + 1)
    shifted = [x[:, :, i : i + size[0], j : j + size[1]] for i in range(height) for j in range(width)]
    shifted = jnp.stack(shifted).reshape(height * width * inputs, -1)  # [h w I, B P Q]
    y = jnp.matmul(kernel.reshape(-1, outputs).T, shifted, precision=precision)
    return jnp.moveaxis(y.reshape(outputs, x.shape[1], *size), 0, -1)


def max_pool(x: Float[Array, "B ... C"], window: int = 2, stride: int = 2, padding: int = 0) -> Float[Array, "B ... D"]:
    """`nn.max_pool` with the same window, stride and padding on every spatial axis; ties share the gradient.

    Maxima of shifted slices: on CPU the gradient is 5 to 20 times faster than the scatter of XLA's `reduce_window`.
    """
    spatial = range(1, x.ndim - 1)
    if padding:
        widths = [(padding, padding, 0) if axis in spatial else (0, 0, 0) for axis in range(x.ndim)]
        x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), widths)
    return _pool(x, jnp.maximum, window, stride)


def mean_pool(x: Float[Array, "B ... C"], window: int = 2) -> Float[Array, "B ... D"]:
    """`nn.avg_pool` without overlap; a remainder at the end of an axis is dropped."""
    return _pool(x, jnp.add, window, window) / window ** (x.ndim - 2)


def _pool(x: Array, combine: Callable[[Array, Array], Array], window: int, stride: int) -> Array:
    for axis in range(1, x.ndim - 1):
        last = (x.shape[axis] - window) // stride * stride  # where the last window begins
        parts = [lax.slice_in_dim(x, i, last + i + 1, stride, axis) for i in range(window)]
        x = functools.reduce(combine, parts)
    return x
