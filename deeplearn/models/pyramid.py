"""A pyramid of features: down to coarse and wide, back up to fine, every level with what the coarser ones saw.

The way down and up is that of U-Net (Ronneberger et al., 2015) and of feature pyramids (Lin et al., 2017). Resolution
is exchanged for channels and back by moving pixels (Shi et al., 2016), which loses none and costs no arithmetic.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.models.convolution import convolution
from deeplearn.models.efficientnet import LITE0, Trunk
from deeplearn.models.layers import Norm, Normalise

LASTS = ("block2", "block4", "block10")
"""The last blocks of the strides 4, 8 and 16 in an EfficientNet-Lite0."""


class Block(nn.Module):
    """x + f(x) with two 3x3 convolutions (He et al., 2016); normalised ones look at what is normalised and positive."""

    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"], *, train: bool) -> Float[Array, "B h w D"]:
        y = x if self.norm == "none" else nn.relu(Normalise(self.norm, dtype=self.dtype, name="norm1")(x, train=train))
        y = conv(x.shape[-1], 3, self.dtype, "conv1")(y)
        y = nn.relu(Normalise(self.norm, dtype=self.dtype, name="norm2")(y, train=train))
        return x + conv(x.shape[-1], 3, self.dtype, "conv2")(y)


class Pyramid(nn.Module):
    """[B, H, W, C] -> features of the levels from `finest` on; level i is [B, H / 2^(i+1), W / 2^(i+1), widths[i]].

    H and W are multiples of 2^levels: see `padded`.
    """

    widths: Sequence[int] = (32, 64, 128)
    """Channels of each level; the first has half of the image's sides, each later one half of those before."""
    depths: Sequence[int] = (1, 1, 2)
    """Blocks of each level on the way down; on the way up there is one."""
    finest: int = 0
    """The level at which the way up ends."""
    norm: Norm = "none"
    """None in restoration, where it would lose how bright and how contrasted the image is (Lim et al., 2017)."""
    dtype: Any = jnp.float32
    block: Callable[..., nn.Module] = Block
    """(norm, dtype, name=) -> a module that keeps the shape of its input."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> list[Float[Array, "B h w D"]]:
        levels = []
        for i, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            kernel = 3 if i == 0 else 1
            x = conv(width, kernel, self.dtype, f"down{i}")(shrunk(x))
            for j in range(depth):
                x = self.block(self.norm, self.dtype, name=f"down{i}_block{j}")(x, train=train)
            levels.append(x)
        return risen(levels, self.finest, partial(self.block, self.norm, self.dtype), train=train)


class TrainedPyramid(nn.Module):
    """What `Pyramid` gives from level 1 on, by a way down that was trained before and stays as it is.

    The trunk of an EfficientNet-Lite0 to the stride of 16 lies in the collection `fixed`, its statistics with it, which
    no optimizer changes; a convolution of one pixel brings the activations of each level to its width.
    """

    widths: Sequence[int] = (32, 64, 128)
    """Channels of the levels with a quarter, an eighth and a sixteenth of the image's sides."""
    finest: int = 0
    """The level of these at which the way up ends."""
    norm: Norm = "layer"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W 3"], *, train: bool) -> list[Float[Array, "B h w D"]]:
        trunk = Trunk(LITE0[:5], self.dtype, top=False, parent=None)
        start = lambda: trunk.init(self.make_rng("params"), x, train=False)  # noqa: E731
        seen = trunk.apply(self.variable("fixed", "trunk", start).value, x, train=False)
        levels = [
            conv(width, 1, self.dtype, f"side{i}")(seen[name])
            for i, (width, name) in enumerate(zip(self.widths, LASTS, strict=True))
        ]
        return risen(levels, self.finest, partial(Block, self.norm, self.dtype), train=train)


def risen(
    levels: list[Float[Array, "B h w D"]], finest: int, block: Callable[..., nn.Module], *, train: bool
) -> list[Float[Array, "B h w D"]]:
    """The levels from `finest` on, each with what the coarser ones saw; inside of a module, whose layers they become.

    Args:
        levels: the finest first, each with half of the sides of the one before.
        block: (name=) -> a module that keeps the shape of its input.
    """
    levels = list(levels)
    for i in reversed(range(finest, len(levels) - 1)):
        coarser = conv(4 * levels[i].shape[-1], 1, levels[i].dtype, f"up{i}")(levels[i + 1])
        levels[i] = block(name=f"up{i}_block")(levels[i] + grown(coarser), train=train)
    return levels[finest:]


def conv(width: int, kernel: int, dtype: Any, name: str, **init: Any) -> nn.Conv:
    """A convolution that keeps the sides of its input."""
    return nn.Conv(width, (kernel, kernel), dtype=dtype, conv_general_dilated=convolution, name=name, **init)


def shrunk(x: Float[Array, "B H W C"]) -> Float[Array, "B h w 4*C"]:
    """Half of each side: the four pixels of every 2x2 become channels."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return jnp.moveaxis(x, 2, 3).reshape(batch, height // 2, width // 2, 4 * channels)


def grown(x: Float[Array, "B h w 4*C"]) -> Float[Array, "B H W C"]:
    """Twice each side: the inverse of `shrunk`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, 2, 2, channels // 4)
    return jnp.moveaxis(x, 2, 3).reshape(batch, 2 * height, 2 * width, channels // 4)


def padded(x: Float[Array, "B H W C"], multiple: int) -> Float[Array, "B h w C"]:
    """The outermost row and column repeated below and to the right until both sides are multiples."""
    below, right = (-side % multiple for side in x.shape[1:3])
    return jnp.pad(x, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")
