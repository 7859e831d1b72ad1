"""A small convolutional network for small images and short signals."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.errors import ConfigError
from deeplearn.models.convolution import convolution
from deeplearn.models.layers import Norm, Normalise, max_pool


class CNN(nn.Module):
    """Stages of convolution, normalisation, ReLU, halved between stages; global mean; linear head.

    Convolves over the axes between batch and channels: images [B, H, W, C] or signals [B, L, C] -> [B, classes].
    The pattern is VGG's (Simonyan & Zisserman, 2015) with batch normalisation and the global mean of Lin et al. (2014).
    """

    classes: int
    levels: int | None = None
    """Stages, each at half the resolution of the one before; by default as many as leave 4 pixels a side or more."""
    width: int = 64
    """Channels of the first stage; each later stage has twice as many."""
    depth: int = 2
    """Convolutions in each stage."""
    kernel: int = 3
    norm: Norm = "batch"
    dropout: float = 0.0
    """On the features in front of the head."""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B ... C"], *, train: bool) -> Float[Array, "B classes"]:
        space = tuple(range(1, x.ndim - 1))
        levels = max(int(math.log2(min(x.shape[1:-1]) / 4)) + 1, 1) if self.levels is None else self.levels
        if min(x.shape[1:-1]) < 2 ** (levels - 1):
            sides = "x".join(map(str, x.shape[1:-1]))
            raise ConfigError(f"{levels} levels would halve images of {sides} pixels to nothing: lower --model.levels.")
        for i in range(levels):
            if i > 0:
                x = max_pool(x)
            for j in range(self.depth):
                name = f"stage{i + 1}_conv{j + 1}"
                kernel, bias = (self.kernel,) * len(space), self.norm == "none"
                x = nn.Conv(
                    self.width * 2**i,
                    kernel,
                    use_bias=bias,
                    dtype=self.dtype,
                    conv_general_dilated=convolution,
                    name=name,
                )(x)
                x = nn.relu(Normalise(self.norm, dtype=self.dtype, name=f"{name}_norm")(x, train=train))
        x = x.mean(space)  # [B, C]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.classes, dtype=jnp.float32, name="head")(x)
