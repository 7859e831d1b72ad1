"""Networks that restore photographs: they add to what they are given what is missing in it.

All take (image [B, H, W, 3] in 0..1, hint [B, H, W, 1]) of any sides and return an image of those sides. The hint says
what is known of the damage: the deviation of the noise, or where holes are.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.models.layers import Norm, Normalise, head_size
from deeplearn.models.pyramid import Block, Pyramid, conv, grown, padded

Name = Literal["pyramid", "dncnn", "restormer"]
ZEROS = nn.initializers.zeros
"""Of the last layer: what is given is the best first guess."""


class PyramidRestorer(nn.Module):
    """A pyramid whose finest level is spread to the image's pixels; 865,644 parameters."""

    widths: Sequence[int] = (32, 64, 128)
    depths: Sequence[int] = (1, 1, 2)
    block: Callable[..., nn.Module] = Block
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "B H W 3"], hint: Float[Array, "B H W 1"], *, train: bool) -> Array:
        x = padded(jnp.concatenate([image - 0.5, hint], axis=-1), 2 ** len(self.widths))
        pyramid = Pyramid(self.widths, self.depths, dtype=self.dtype, block=self.block, name="pyramid")
        missing = grown(conv(12, 3, self.dtype, "missing", kernel_init=ZEROS)(pyramid(x, train=train)[0]))
        return image + missing[:, : image.shape[1], : image.shape[2]].astype(jnp.float32)


class DnCNN(nn.Module):
    """Zhang et al. (2017): convolutions at the image's resolution, normalised by the batch; 17 of 64 channels."""

    width: int = 64
    depth: int = 17
    norm: Norm = "batch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "B H W 3"], hint: Float[Array, "B H W 1"], *, train: bool) -> Array:
        x = jnp.concatenate([image - 0.5, hint], axis=-1)
        x = nn.relu(conv(self.width, 3, self.dtype, "conv1")(x))
        for i in range(2, self.depth):
            x = conv(self.width, 3, self.dtype, f"conv{i}")(x)
            x = nn.relu(Normalise(self.norm, dtype=self.dtype, name=f"norm{i}")(x, train=train))
        missing = conv(3, 3, self.dtype, f"conv{self.depth}", kernel_init=ZEROS)(x)
        return image + missing.astype(jnp.float32)


class Transformer(nn.Module):
    """Restormer's block (Zamir et al., 2022): channels attend to channels over the whole image, then a gated layer."""

    norm: Norm
    dtype: Any
    heads: int = 4

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"], *, train: bool) -> Float[Array, "B h w D"]:
        x = x + self._attention(Normalise("layer", dtype=self.dtype, name="norm1")(x, train=train))
        return x + self._gated(Normalise("layer", dtype=self.dtype, name="norm2")(x, train=train))

    def _attention(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        batch, height, width, channels = x.shape
        head_size(channels, self.heads)
        mixed = self._local(conv(3 * channels, 1, self.dtype, "three")(x), "three_local")
        q, k, v = jnp.split(mixed.reshape(batch, height * width, self.heads, -1), 3, axis=-1)  # [B, N, heads, D/heads]
        q, k = (t / jnp.linalg.norm(t, axis=1, keepdims=True).clip(1e-6) for t in (q, k))
        sharpness = self.param("sharpness", nn.initializers.ones, (1, self.heads, 1, 1))
        weight = nn.softmax(jnp.einsum("bnhi,bnhj->bhij", q, k) * sharpness)
        seen = jnp.einsum("bhij,bnhj->bnhi", weight, v).reshape(batch, height, width, channels)
        return conv(channels, 1, self.dtype, "attended")(seen)

    def _gated(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        channels = x.shape[-1]
        gate, value = jnp.split(self._local(conv(4 * channels, 1, self.dtype, "wider")(x), "wider_local"), 2, axis=-1)
        return conv(channels, 1, self.dtype, "narrower")(jax.nn.gelu(gate) * value)

    def _local(self, x: Float[Array, "B h w D"], name: str) -> Float[Array, "B h w D"]:
        """A 3x3 window of each channel by itself."""
        return nn.Conv(x.shape[-1], (3, 3), feature_group_count=x.shape[-1], dtype=self.dtype, name=name)(x)


def restorer(name: Name, width: int) -> nn.Module:
    """The network with that many channels at its finest level."""
    widths = (width, 2 * width, 4 * width)
    match name:
        case "pyramid":
            return PyramidRestorer(widths)
        case "restormer":
            return PyramidRestorer(widths, (2, 2, 3), Transformer)
        case "dncnn":
            return DnCNN(width)
