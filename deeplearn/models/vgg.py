"""VGG (Simonyan & Zisserman, Very deep convolutional networks for large-scale image recognition, 2015)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.models.convolution import convolution
from deeplearn.models.layers import Norm, Normalise, max_pool


class VGG(nn.Module):
    """[B, 224, 224, 3] -> [B, classes]; 132,863,336 (A) and 138,357,544 (D) parameters with 1000 classes.

    A side shrinks to ceil(side / 32), so that any image fits; the first dense layer's size depends on it.
    """

    classes: int
    stages: Sequence[int] = (2, 2, 3, 3, 3)
    """Convolutions in each stage: (1, 1, 2, 2, 2) is configuration A with 11 layers, (2, 2, 3, 3, 3) D with 16."""
    norm: Norm = "none"
    """The paper has none; "batch" trains far more easily."""
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B classes"]:
        for i, depth in enumerate(self.stages):
            for j in range(depth):
                name = f"stage{i + 1}_conv{j + 1}"
                # With its bias even under batch normalisation, as the published models have it.
                x = nn.Conv(min(64 * 2**i, 512), (3, 3), dtype=self.dtype, conv_general_dilated=convolution, name=name)(
                    x
                )
                x = nn.relu(Normalise(self.norm, dtype=self.dtype, name=f"{name}_norm")(x, train=train))
            odd = [side % 2 for side in x.shape[1:3]]
            x = jnp.pad(x, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)))  # zero never wins after a ReLU
            x = max_pool(x)
        x = x.reshape(x.shape[0], -1)  # [B, 7 * 7 * 512]
        for name in ("dense1", "dense2"):
            x = nn.relu(nn.Dense(4096, dtype=self.dtype, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.classes, dtype=jnp.float32, name="head")(x)
