"""A convolution for `nn.Conv` that takes the fastest form of the platform: docs/performance.md says what each is worth.

Letters: B rows, H and W sides, h and w those of the kernel, P and Q those of the result, I channels in, O channels out.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

FEW = 16
"""Channels: XLA's CPU convolution computes vectors of output channels, 16 floats with AVX-512, and starves below."""
MANY = 64
"""Channels from which Winograd's fewer products outweigh his sums: with 64 a tenth is gained, with 512 almost half."""
# Lavin & Gray, Fast algorithms for convolutional networks (2016), F(2x2, 3x3): result = A' [(G g G') * (B' d B)] A.
IMAGE = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)  # B'
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)  # G
RESULT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)  # A'

Grid = list[list[Array]]
"""Arrays by row and column of a tile."""


def convolution(
    x: Float[Array, "B ... I"],
    kernel: Float[Array, "... I O"],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]] | str,
    *,
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: lax.ConvDimensionNumbers,
    feature_group_count: int,
    precision: lax.PrecisionLike,
) -> Float[Array, "B ... O"]:
    """`lax.conv_general_dilated` as Flax calls it: `nn.Conv(..., conv_general_dilated=convolution)`.

    On a CPU, float32 images are convolved without stride by Winograd's algorithm where there are many channels, which
    takes 4 multiplications instead of 9 and agrees to about 1e-6, and as a product over shifted images where there are
    few. Neither has a forward-mode derivative. A kernel for each channel is a sum of shifted images there.
    """
    usual = partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        precision=precision,
    )
    if x.ndim != 4 or {*lhs_dilation, *rhs_dilation} != {1} or x.dtype != jnp.float32:
        return usual(x, kernel)
    sides, window = x.shape[1:3], kernel.shape[:2]
    pads = tuple(lax.padtype_to_pads(sides, window, strides, padding) if isinstance(padding, str) else padding)
    if 1 < feature_group_count == x.shape[3] == kernel.shape[3]:
        form = partial(_depthwise, strides=strides, padding=pads)
    elif {*strides, feature_group_count} != {1}:
        return usual(x, kernel)
    elif min(kernel.shape[2:]) < FEW:
        form = partial(_narrow, padding=pads)
    elif min(kernel.shape[2:]) >= MANY and window == (3, 3) and pads == ((1, 1),) * 2 and not any(s % 2 for s in sides):
        form = _winograd
    else:
        return usual(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=form, default=usual)


def _depthwise(x, kernel, strides, padding):
    """Shifted images, each times the weights of its place: ten times faster than XLA's grouped convolution."""
    height, width = kernel.shape[:2]
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    down, right = x.shape[1] - height + 1, x.shape[2] - width + 1  # where windows may begin

    def part(i, j):
        there = lax.slice(x, (0, i, j, 0), (x.shape[0], i + down, j + right, x.shape[3]), (1, *strides, 1))
        return there * kernel[i, j].reshape(1, 1, 1, -1)

    parts = [part(i, j) for i in range(height) for j in range(width)]
    return sum(parts[1:], parts[0])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _narrow(x, kernel, padding):
    return (_shifted if kernel.shape[3] < FEW else _usual)(x, kernel, padding)


def _narrow_forward(x, kernel, padding):
    return _narrow(x, kernel, padding), (x, kernel)


def _narrow_backward(padding, kept, d_y):
    x, kernel = kept
    if x.shape[3] < FEW:
        d_x = _shifted_back(d_y, kernel, padding, x.shape)
    else:
        (d_x,) = jax.vjp(lambda x: _usual(x, kernel, padding), x)[1](d_y)
    (d_kernel,) = jax.vjp(lambda kernel: _usual(x, kernel, padding), kernel)[1](d_y)
    return d_x, d_kernel


_narrow.defvjp(_narrow_forward, _narrow_backward)


def _usual(x, kernel, padding):
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _shifted(x, kernel, padding):
    """One product of the kernel and the image shifted to each of its places."""
    height, width, inputs, outputs = kernel.shape
    x = jnp.pad(jnp.moveaxis(x, -1, 0), [(0, 0), (0, 0), *padding])  # [I, B, H, W]
    size = (x.shape[2] - height + 1, x.shape[3] - width + 1)
    shifted = [x[:, :, i : i + size[0], j : j + size[1]] for i in range(height) for j in range(width)]
    y = kernel.reshape(-1, outputs).T @ jnp.stack(shifted).reshape(height * width * inputs, -1)  # [O, B P Q]
    return jnp.moveaxis(y.reshape(outputs, x.shape[1], *size), 0, -1)


def _shifted_back(d_y, kernel, padding, shape):
    """The gradient of x of this shape in `_shifted`: one product, added up at the places of the shifts."""
    height, width, inputs, outputs = kernel.shape
    parts = kernel.reshape(-1, outputs) @ jnp.moveaxis(d_y, -1, 0).reshape(outputs, -1)  # [h w I, B P Q]
    parts = parts.reshape(height, width, inputs, *d_y.shape[:3])
    (top, bottom), (left, right) = padding
    total = jnp.zeros((inputs, shape[0], shape[1] + top + bottom, shape[2] + left + right), d_y.dtype)
    for i in range(height):
        for j in range(width):  # In place; as a sum of padded arrays XLA makes it anew in every fusion that reads it.
            there = (slice(None), slice(None), slice(i, i + d_y.shape[1]), slice(j, j + d_y.shape[2]))
            total = lax.dynamic_update_slice(total, total[there] + parts[i, j], (0, 0, i, j))
    return jnp.moveaxis(total[:, :, top : top + shape[1], left : left + shape[2]], 0, -1)


@jax.custom_vjp
def _winograd(x, kernel):
    return _products(_spread(x), _transform(KERNEL, _places(kernel)), x.shape)


def _winograd_forward(x, kernel):
    return _winograd(x, kernel), (x, kernel)


def _winograd_backward(kept, d_y):
    x, kernel = kept
    turned = _transform(KERNEL, [row[::-1] for row in _places(kernel)[::-1]])
    d_x = _products(_spread(d_y), [[k.T for k in row] for row in turned], d_y.shape)
    # Written out, since what is differentiated automatically gathers strided slices with scatters.
    d_result = _transform(RESULT.T, _tiles(d_y, 2))
    d_kernel = [
        [_rows(v).T @ _rows(d) for v, d in zip(*pair, strict=True)] for pair in zip(_spread(x), d_result, strict=True)
    ]
    return d_x, jnp.stack([jnp.stack(row) for row in _transform(KERNEL.T, d_kernel)])


_winograd.defvjp(_winograd_forward, _winograd_backward)


def _products(image: Grid, kernel: Grid, shape: Sequence[int]) -> Float[Array, "B H W O"]:
    """The result, from the transformed image (16 times [B, H/2, W/2, I]) and kernel (16 times [I, O])."""
    pairs = zip(image, kernel, strict=True)
    result = _transform(RESULT, [[v @ k for v, k in zip(*pair, strict=True)] for pair in pairs])
    return jnp.stack([jnp.stack(row, axis=3) for row in result], axis=2).reshape(*shape[:3], -1)


def _spread(x: Float[Array, "B H W I"]) -> Grid:
    """B' d B of all tiles d of 4x4 pixels that begin at every other pixel of the padded image."""
    return _transform(IMAGE, _tiles(jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), 4))


def _tiles(x: Float[Array, "B H W I"], size: int) -> Grid:
    """By place in the tile: that pixel of all tiles, which begin two pixels apart."""
    height, width = (side - size + 1 for side in x.shape[1:3])
    return [[x[:, i : i + height : 2, j : j + width : 2] for j in range(size)] for i in range(size)]


def _places(kernel: Float[Array, "h w I O"]) -> Grid:
    return [list(row) for row in kernel]


def _rows(x: Float[Array, "... C"]) -> Float[Array, "N C"]:
    return x.reshape(-1, x.shape[-1])


def _transform(matrix: np.ndarray, grid: Grid) -> Grid:
    """matrix @ grid @ matrix.T, spelled out in sums that XLA fuses with what makes their terms."""
    columns = [_combine(matrix, column) for column in zip(*grid, strict=True)]
    return [_combine(matrix, row) for row in zip(*columns, strict=True)]


def _combine(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """matrix @ parts."""
    terms = ([(factor, part) for factor, part in zip(row, parts, strict=True) if factor] for row in matrix)
    return [
        sum((part * factor if factor != 1 else part for factor, part in row[1:]), row[0][1] * row[0][0])
        for row in terms
    ]
