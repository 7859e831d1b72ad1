"""Multilayer perceptron (Rumelhart, Hinton & Williams, 1986)."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class MLP(nn.Module):
    """Dense layers over a flattened input: [B, ...] -> [B, classes]."""

    classes: int
    hidden: Sequence[int] = (256, 256)
    activation: Callable[[Array], Array] = nn.relu
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."], *, train: bool) -> Float[Array, "B classes"]:
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = self.activation(nn.Dense(width, dtype=self.dtype, name=f"dense{i + 1}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.classes, dtype=jnp.float32, name="head")(x)
