"""Residual networks (He, Zhang, Ren & Sun, Deep residual learning for image recognition, 2016), version 1.5."""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.models.convolution import convolution
from deeplearn.models.layers import Norm, Normalise, max_pool
from deeplearn.models.remat import through


class Block(nn.Module):
    """x + f(x): f is two 3x3 convolutions, or (bottleneck) 1x1, 3x3 and 1x1 with four times the channels at the end."""

    width: int
    stride: int
    bottleneck: bool
    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B H/s W/s D"]:
        # Kernel, stride and channels of f. The stride is in the 3x3 convolution: that is version 1.5, 0.5 % better.
        layers = [(3, self.stride, self.width), (3, 1, self.width)]
        if self.bottleneck:
            layers = [(1, 1, self.width), (3, self.stride, self.width), (1, 1, 4 * self.width)]
        y = x
        for i, (kernel, stride, width) in enumerate(layers, start=1):
            y = conv(width, kernel, stride, self.dtype, f"conv{i}")(y)
            last = i == len(layers)
            # A last scale of zero makes every block the identity at the start (Goyal et al., 2017).
            scale = nn.initializers.zeros if last else nn.initializers.ones
            y = Normalise(self.norm, scale_init=scale, dtype=self.dtype, name=f"norm{i}")(y, train=train)
            y = y if last else nn.relu(y)
        if x.shape != y.shape:
            x = conv(y.shape[-1], 1, self.stride, self.dtype, "shortcut")(x)
            x = Normalise(self.norm, dtype=self.dtype, name="shortcut_norm")(x, train=train)
        return nn.relu(x + y)


def conv(width: int, kernel: int, stride: int, dtype: Any, name: str) -> nn.Conv:
    """A convolution without bias, centred as in PyTorch: padding (kernel - 1) / 2 on both sides at any stride."""
    init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al., 2015
    size, padding = (kernel, kernel), (kernel - 1) // 2
    return nn.Conv(
        width,
        size,
        stride,
        padding,
        use_bias=False,
        kernel_init=init,
        dtype=dtype,
        conv_general_dilated=convolution,
        name=name,
    )


class ResNet(nn.Module):
    """[B, H, W, C] -> [B, classes].

    Parameters with 1000 classes: 11,689,512 (18 layers), 21,797,672 (34), 25,557,032 (50).
    """

    classes: int
    stages: Sequence[int] = (3, 4, 6, 3)
    """Blocks in each stage; (2, 2, 2, 2) for 18 layers, (3, 4, 6, 3) for 34, and for 50 with `bottleneck`."""
    bottleneck: bool = False
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """7x7 convolution of stride 2 and pooling, or for small images one 3x3 convolution."""
    width: int = 64
    """Channels of the first stage; each later stage has twice as many."""
    norm: Norm = "batch"
    dtype: Any = jnp.float32
    remat: bool = False
    """Compute each block again in the backward pass, to save memory."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B classes"]:
        kernel, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = conv(self.width, kernel, stride, self.dtype, "stem")(x)  # [B, H/2, W/2, width]
        x = nn.relu(Normalise(self.norm, dtype=self.dtype, name="stem_norm")(x, train=train))
        if self.stem == "imagenet":
            x = max_pool(x, window=3, padding=1)  # [B, H/4, W/4, width]
        for i, depth in enumerate(self.stages):
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                name = f"stage{i + 1}_block{j + 1}"
                block = Block(self.width * 2**i, stride, self.bottleneck, self.norm, self.dtype, name=name)
                x = through(block, x, train=train, remat=self.remat)
        x = x.mean((1, 2))  # [B, 512 or 2048]
        return nn.Dense(self.classes, dtype=jnp.float32, name="head")(x)
