"""MLP-Mixer (Tolstikhin et al., MLP-Mixer: an all-MLP architecture for vision, 2021)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.models.layers import Normalise
from deeplearn.models.remat import through
from deeplearn.models.vit import patches


class Mixer(nn.Module):
    """[B, H, W, C] -> [B, classes]; sides must be multiples of `patch` (ValueError).

    Parameters at 224x224 with 1000 classes: S/16 (512, 8, 256, 2048) 18,528,264; B/16 (768, 12, 384, 3072) 59,880,472;
    in brackets width, depth, token_width, channel_width (the paper's table 1).
    """

    classes: int
    width: int = 512
    depth: int = 8
    token_width: int = 256
    channel_width: int = 2048
    patch: int = 16
    dtype: Any = jnp.float32
    remat: bool = False
    """Compute each block again in the backward pass, to save memory."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B classes"]:
        x = nn.Dense(self.width, dtype=self.dtype, name="embed")(patches(x, self.patch))  # [B, T, D]
        for i in range(self.depth):
            block = MixerBlock(self.token_width, self.channel_width, self.dtype, name=f"block{i + 1}")
            x = through(block, x, train=train, remat=self.remat)
        x = Normalise("layer", dtype=self.dtype, name="norm")(x, train=train).mean(1)  # [B, D]
        return nn.Dense(self.classes, kernel_init=nn.initializers.zeros, dtype=jnp.float32, name="head")(x)


class MixerBlock(nn.Module):
    """One perceptron across the patches, one across the channels: [B, T, D] -> [B, T, D]."""

    token_width: int
    channel_width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], *, train: bool) -> Float[Array, "B T D"]:
        y = Normalise("layer", dtype=self.dtype, name="token_norm")(x, train=train).swapaxes(1, 2)  # [B, D, T]
        y = nn.gelu(nn.Dense(self.token_width, dtype=self.dtype, name="token_up")(y))
        y = nn.Dense(x.shape[1], dtype=self.dtype, name="token_down")(y)
        x = x + y.swapaxes(1, 2)
        y = Normalise("layer", dtype=self.dtype, name="channel_norm")(x, train=train)
        y = nn.gelu(nn.Dense(self.channel_width, dtype=self.dtype, name="channel_up")(y))
        return x + nn.Dense(x.shape[2], dtype=self.dtype, name="channel_down")(y)
