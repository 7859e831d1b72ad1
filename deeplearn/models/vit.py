"""Vision Transformer (Dosovitskiy et al., An image is worth 16x16 words, 2021)."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplearn.errors import ConfigError
from deeplearn.models.layers import Normalise, head_size
from deeplearn.models.remat import through


class ViT(nn.Module):
    """[B, H, W, C] -> [B, classes]; sides must be multiples of `patch` (ValueError).

    Parameters at 224x224 with 1000 classes and a class token: Ti/16 (192, 12, 3) 5,717,416; S/16 (384, 12, 6)
    22,050,664; B/16 (768, 12, 12) 86,567,656; in brackets width, depth, heads. Learned positions: one image size.
    With pool="mean", position="sincos2d" and rep_size=width it is the plain one of Beyer et al. (2022); kernels start
    as LeCun's (theirs: Glorot's, which are smaller in the perceptrons).
    """

    classes: int
    width: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 16
    pool: Literal["token", "mean"] = "token"
    """Read the class off an extra token, or off the mean of the patches."""
    position: Literal["learned", "sincos2d"] = "learned"
    """A table that is trained, or waves of the row and of the column."""
    rep_size: int | None = None
    """Units of a layer with tanh in front of the head; None is none."""
    dropout: float = 0.0
    dtype: Any = jnp.float32
    remat: bool = False
    """Compute each block again in the backward pass, to save memory."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B classes"]:
        height, width = (side // self.patch for side in x.shape[1:3])
        x = nn.Dense(self.width, dtype=self.dtype, name="embed")(patches(x, self.patch))  # [B, T, D]
        if self.position == "sincos2d":
            x = x + jnp.asarray(waves(height, width, self.width), self.dtype)[None]
        if self.pool == "token":
            token = self.param("token", nn.initializers.zeros, (1, 1, self.width)).astype(self.dtype)
            x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], axis=1)  # [B, 1 + T, D]
        if self.position == "learned":
            table = self.param("position", nn.initializers.normal(0.02), (1, *x.shape[1:]))  # 0.02 as in BERT
            x = x + table.astype(self.dtype)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for i in range(self.depth):
            block = EncoderBlock(self.heads, self.dropout, self.dtype, name=f"block{i + 1}")
            x = through(block, x, train=train, remat=self.remat)
        x = Normalise("layer", dtype=self.dtype, name="norm")(x, train=train)
        x = x[:, 0] if self.pool == "token" else x.mean(1)  # [B, D]
        if self.rep_size:
            x = nn.tanh(nn.Dense(self.rep_size, dtype=self.dtype, name="representation")(x))
        return nn.Dense(self.classes, kernel_init=nn.initializers.zeros, dtype=jnp.float32, name="head")(x)


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron, each normalised in front and added to its input: [B, T, D] -> [B, T, D]."""

    heads: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], *, train: bool) -> Float[Array, "B T D"]:
        width, head = x.shape[-1], head_size(x.shape[-1], self.heads)
        y = Normalise("layer", dtype=self.dtype, name="attention_norm")(x, train=train)
        # One product for the three; its columns are split by head, so that they shard over heads.
        qkv = nn.DenseGeneral((self.heads, 3 * head), dtype=self.dtype, name="qkv")(y)  # [B, T, heads, 3 * head]
        with jax.numpy_dtype_promotion("standard"):  # JAX's own attention promotes bfloat16 scores to float32
            y = jax.nn.dot_product_attention(*jnp.split(qkv, 3, axis=-1))  # [B, T, heads, head]
        y = nn.DenseGeneral(width, axis=(-2, -1), dtype=self.dtype, name="out")(y)
        x = x + nn.Dropout(self.dropout, deterministic=not train)(y)
        y = Normalise("layer", dtype=self.dtype, name="mlp_norm")(x, train=train)
        y = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="mlp_up")(y))
        y = nn.Dense(width, dtype=self.dtype, name="mlp_down")(y)
        return x + nn.Dropout(self.dropout, deterministic=not train)(y)


def patches(x: Float[Array, "B H W C"], size: int) -> Float[Array, "B T P"]:
    """Cut into squares, row by row: T = (H / size)(W / size), P = size * size * C.

    With a dense layer behind it this is the paper's convolution of stride `size`. Raises ConfigError where squares of
    this size do not fill the image.
    """
    batch, height, width, channels = x.shape
    if height % size or width % size:
        raise ConfigError(
            f"images of {height}x{width} pixels cannot be cut into patches of {size}: change --model.patch."
        )
    x = x.reshape(batch, height // size, size, width // size, size, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, (height // size) * (width // size), size * size * channels)


def waves(height: int, width: int, features: int) -> np.ndarray:
    """Positions [T, D] of the patches, row by row: sines and cosines of the column, then of the row.

    Their wavelengths go from 2 pi to 10000 * 2 pi (Chen et al., MoCo v3, 2021, as Beyer et al. have them).

    Raises:
        ConfigError: the features are not a multiple of four.
    """
    if features % 4:
        raise ConfigError(f"sincos2d positions need a width that is a multiple of 4, not {features}: --model.width.")
    row, column = (place.reshape(-1, 1) for place in np.mgrid[:height, :width])
    rates = 10000.0 ** -np.linspace(0, 1, features // 4)
    angles = column * rates, row * rates
    return np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1).astype(np.float32)
