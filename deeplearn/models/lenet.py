"""LeNet-5 (LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition, 1998)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.models.convolution import convolution
from deeplearn.models.layers import mean_pool, refuse_smaller


class LeNet(nn.Module):
    """Figure 2 of the paper: [B, 28, 28, 1] -> [B, classes]; 61,706 parameters with 10 classes.

    Two simplifications that everybody makes: C3 sees all six maps of S2 instead of a table of subsets, and the output
    is linear instead of radial basis functions. `activation=nn.relu, pool=max_pool` is the modern variant.
    """

    classes: int
    activation: Callable[[Array], Array] = nn.tanh
    pool: Callable[[Array], Array] = mean_pool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B classes"]:
        """At least 12 pixels a side (ConfigError): below, nothing is left for the second pooling."""
        refuse_smaller(x, 12, "LeNet")
        # Padded by 2 on each side, 28 pixels are the paper's 32.
        x = nn.Conv(6, (5, 5), padding=2, dtype=self.dtype, conv_general_dilated=convolution, name="c1")(x)
        x = self.pool(self.activation(x))  # [B, 14, 14, 6]
        x = nn.Conv(16, (5, 5), padding="VALID", dtype=self.dtype, conv_general_dilated=convolution, name="c3")(x)
        x = self.pool(self.activation(x))  # [B, 5, 5, 16]
        x = x.reshape(x.shape[0], -1)
        x = self.activation(nn.Dense(120, dtype=self.dtype, name="c5")(x))
        x = self.activation(nn.Dense(84, dtype=self.dtype, name="f6")(x))
        return nn.Dense(self.classes, dtype=jnp.float32, name="head")(x)
