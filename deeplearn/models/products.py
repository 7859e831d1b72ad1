"""The product of a dense layer, with the gradient of its weights in the order that XLA's CPU backend is fastest at."""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def dense(
    x: Float[Array, "..."],
    kernel: Float[Array, "..."],
    dimension_numbers: lax.DotDimensionNumbers,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "..."]:
    """[*rows, *inputs], [*inputs, *outputs] -> [*rows, *outputs].

    `lax.dot_general` as `nn.Dense` and `nn.DenseGeneral` call it, which take it as `dot_general`.

    Raises:
        ValueError: the axes are not the last of x and the first of the kernel, in order, as a layer's are.
    """
    (last, first), batched = dimension_numbers
    axes = len(first)
    if (*last, *first) != (*range(x.ndim - axes, x.ndim), *range(axes)) or any(batched):
        raise ValueError(f"a layer's product is over the last axes of x and the first of the kernel, not {last, first}")
    return _product(x, kernel, axes, precision)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _product(x, kernel, axes, precision):
    return jnp.tensordot(x, kernel, axes, precision=precision)


def _forward(x, kernel, axes, precision):
    return _product(x, kernel, axes, precision), (x, kernel)


def _backward(axes, precision, kept, d_y):
    x, kernel = kept
    rows = x.ndim - axes
    outputs = (tuple(range(rows, d_y.ndim)), tuple(range(axes, kernel.ndim)))
    d_x = jnp.tensordot(d_y, kernel, outputs, precision=precision)
    return d_x, weights(x, d_y, rows, precision)


_product.defvjp(_forward, _backward)


def weights(
    x: Float[Array, "..."], d_y: Float[Array, "..."], rows: int, precision: lax.PrecisionLike = None
) -> Float[Array, "..."]:
    """[*rows, *inputs], [*rows, *outputs] -> [*inputs, *outputs].

    The gradient of a dense layer's weights, summed over so many first axes, the rows.

    Its longer side is computed as the last: Eigen takes 10 ms for 256 x 1024 over 2048 rows and 16 ms for 1024 x 256.
    """
    axes = tuple(range(rows))
    inputs = x.ndim - rows
    if prod(x.shape[rows:]) <= prod(d_y.shape[rows:]):
        return lax.dot_general(x, d_y, ((axes, axes), ((), ())), precision=precision)
    turned = lax.dot_general(d_y, x, ((axes, axes), ((), ())), precision=precision)
    turned = lax.optimization_barrier(turned)  # or XLA swaps them back to spare the transposition
    return jnp.moveaxis(turned, range(-inputs, 0), range(inputs))
