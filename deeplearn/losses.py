"""Losses that optax lacks.

Letters: B rows, T tokens, D width, V vocabulary.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class CrossEntropy(NamedTuple):
    """What `linear_cross_entropy` measures."""

    total: Float[Array, ""]
    """Weighted sum of the smoothed cross-entropies; the only part that has a gradient."""
    nll: Float[Array, "B T"]
    """Negative log-likelihood of each label, in nats, without smoothing."""
    hit: Float[Array, "B T"]
    """1 where the label has the largest logit."""


def linear_cross_entropy(
    hidden: Float[Array, "B T D"],
    table: Float[Array, "V D"],
    labels: Int[Array, "B T"],
    weight: Float[Array, "B T"],
    *,
    smoothing: float = 0.0,
    chunk: int = 32,
) -> CrossEntropy:
    """Label-smoothed softmax cross-entropy of `logits = hidden @ table.T`, at most [B, chunk, V] of them at a time.

    Equal to `optax.softmax_cross_entropy` on `optax.smooth_labels`, gradients included. These are made while the logits
    of a chunk are at hand, so nothing is computed twice (the idea of Liger-Kernel's fused linear cross-entropy, Hsu et
    al., 2024). Chunks run along T, so that rows stay sharded over devices.

    Args:
        weight: 0 is padding; NaN or infinity under it does not count.
        smoothing: share of the probability spread evenly over all V labels (Szegedy et al., 2016).
        chunk: tokens a row at a time; T is padded up to a multiple of it.
    """
    length = hidden.shape[1]
    chunk = min(chunk, length)
    spare = -length % chunk
    pad = lambda x: jnp.pad(x, [(0, 0), (0, spare)] + [(0, 0)] * (x.ndim - 2))  # noqa: E731
    total, nll, hit = _chunked(pad(hidden), table, pad(labels), pad(weight), smoothing, chunk)
    return CrossEntropy(total, nll[:, :length], hit[:, :length])


def _chunks(x: Array, size: int) -> Array:
    """[B, T, ...] -> [T / size, B, size, ...]."""
    return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)


def _join(x: Array) -> Array:
    """[C, B, size, ...] -> [B, C * size, ...]."""
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])


def _measure(hidden, table, labels, weight, smoothing):
    """One chunk: (total, nll, hit), and what the gradient needs: logits and their log-partition."""
    logits = jnp.einsum("btd,vd->btv", hidden, table, preferred_element_type=jnp.float32)
    partition = jax.nn.logsumexp(logits, axis=-1)
    label = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    nll = partition - label
    smoothed = nll + jnp.float32(smoothing) * (label - logits.mean(-1))
    total = jnp.sum(jnp.where(weight > 0, smoothed * weight, jnp.float32(0)))
    hit = (label >= logits.max(-1)).astype(jnp.float32)
    return (total, nll, hit), (logits, partition)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _chunked(hidden, table, labels, weight, smoothing, chunk):
    def body(total, xs):
        (part, nll, hit), _ = _measure(xs[0], table, xs[1], xs[2], smoothing)
        return total + part, (nll, hit)

    xs = tuple(_chunks(x, chunk) for x in (hidden, labels, weight))
    total, (nll, hit) = jax.lax.scan(body, jnp.float32(0), xs)
    return total, _join(nll), _join(hit)


def _forward(hidden, table, labels, weight, smoothing, chunk):
    def body(carry, xs):
        total, d_table = carry
        x, label, w = xs
        (part, nll, hit), (logits, partition) = _measure(x, table, label, w, smoothing)
        target = jax.nn.one_hot(label, table.shape[0], dtype=jnp.float32) * jnp.float32(1 - smoothing)
        slope = jnp.exp(logits - partition[..., None]) - target - jnp.float32(smoothing / table.shape[0])
        slope = jnp.where((w > 0)[..., None], slope * w[..., None], jnp.float32(0)).astype(table.dtype)
        d_hidden = jnp.einsum("btv,vd->btd", slope, table).astype(x.dtype)
        x = jnp.where((w > 0)[..., None], x, jnp.zeros((), x.dtype))  # zero times NaN would be NaN
        # [D, V]: with V last, XLA on a CPU need not transpose the slope, the largest array here.
        d_table += jax.lax.dot_general(x, slope, (((0, 1), (0, 1)), ((), ())), preferred_element_type=jnp.float32)
        return (total + part, d_table), (nll, hit, d_hidden)

    xs = tuple(_chunks(x, chunk) for x in (hidden, labels, weight))
    start = (jnp.float32(0), jnp.zeros(table.shape[::-1], jnp.float32))
    (total, d_table), (nll, hit, d_hidden) = jax.lax.scan(body, start, xs)
    return (total, _join(nll), _join(hit)), (_join(d_hidden), d_table.T.astype(table.dtype))


def _backward(smoothing, chunk, kept, cotangents):
    d_hidden, d_table = kept
    scale = cotangents[0]
    return d_hidden * scale.astype(d_hidden.dtype), d_table * scale.astype(d_table.dtype), None, None


_chunked.defvjp(_forward, _backward)
