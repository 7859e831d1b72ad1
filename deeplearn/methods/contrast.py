"""Losses that pull together the codes of what is alike and push the rest of the batch away."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def supervised(
    codes: Float[Array, "N D"], label: Int[Array, "N"], mask: Float[Array, "N"], temperature: float
) -> Float[Array, "N"]:
    """Supervised contrast (Khosla et al., 2020, L_out): -log of how likely each of the same label is among all others.

    Args:
        codes: of length 1, several views of each example as rows of their own.
        label: with a label for each example of its own this is NT-Xent (SimCLR; Chen et al., 2020).
        mask: 0 where a row is padding.

    Returns:
        The loss of each row; 0 where nothing else is alike.
    """
    near = codes @ codes.T / temperature
    others = ~jnp.eye(len(codes), dtype=bool) & (mask > 0)[None]
    alike: Bool[Array, "N N"] = others & (label[:, None] == label[None])
    logs = jax.nn.log_softmax(jnp.where(others, near, -jnp.inf), axis=1)
    total = jnp.where(alike, logs, 0.0).sum(1)
    return -total / jnp.maximum(alike.sum(1), 1).astype(total.dtype)
