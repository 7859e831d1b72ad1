"""EfficientNet-Lite (Tan & Le, EfficientNet, 2019; Liu, 2020): no squeezing, ReLU6, TensorFlow's padding."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.models.convolution import convolution

LITE0 = (
    # blocks, channels, stride, expansion, kernel
    (1, 16, 1, 1, 3),
    (2, 24, 2, 6, 3),
    (2, 40, 2, 6, 5),
    (3, 80, 2, 6, 3),
    (3, 112, 1, 6, 5),
    (4, 192, 2, 6, 5),
    (1, 320, 1, 6, 3),
)

MEAN, STD = 127 / 255, 128 / 255
"""Of pixels in 0..1, the preprocessing of its authors: (pixel - 127) / 128."""


class Unit(nn.Module):
    """Convolution without bias, batch normalisation, activation."""

    width: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: Callable[[Array], Array] = nn.relu6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B H/s W/s D"]:
        x = nn.Conv(
            self.width,
            (self.kernel, self.kernel),
            self.stride,
            feature_group_count=self.groups,
            use_bias=False,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            dtype=self.dtype,
            conv_general_dilated=convolution,
            name="conv",
        )(x)
        x = nn.BatchNorm(not train, momentum=0.99, epsilon=1e-3, name="norm")(x.astype(jnp.float32))
        return self.activation(x).astype(self.dtype)


class Inverted(nn.Module):
    """Widen, convolve each channel, narrow again (Sandler et al., 2018); added to the input where the shapes agree."""

    width: int
    kernel: int
    stride: int
    expansion: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B H/s W/s D"]:
        y, wide = x, x.shape[-1] * self.expansion
        if self.expansion > 1:
            y = Unit(wide, dtype=self.dtype, name="expand")(y, train=train)
        y = Unit(wide, self.kernel, self.stride, groups=wide, dtype=self.dtype, name="depthwise")(y, train=train)
        y = Unit(self.width, activation=lambda y: y, dtype=self.dtype, name="project")(y, train=train)
        return x + y if x.shape == y.shape else y


class Trunk(nn.Module):
    """Every layer's activations by name, in order: stem (stride 2), block0 to block15 (strides 2 to 32), top.

    The last blocks of the strides 4, 8, 16 and 32 are block2, block4, block10 and block15.
    """

    blocks: Sequence[tuple[int, int, int, int, int]] = LITE0
    dtype: Any = jnp.float32
    top: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B H W 3"], *, train: bool) -> dict[str, Float[Array, "B h w C"]]:
        x = Unit(32, 3, 2, dtype=self.dtype, name="stem")(x, train=train)
        found = {"stem": x}
        for count, width, stride, expansion, kernel in self.blocks:
            for i in range(count):
                name = f"block{len(found) - 1}"
                x = Inverted(width, kernel, stride if i == 0 else 1, expansion, self.dtype, name=name)(x, train=train)
                found[name] = x
        if not self.top:
            return found
        return found | {"top": Unit(1280, dtype=self.dtype, name="top")(x, train=train)}


class EfficientNetLite(nn.Module):
    """[B, H, W, 3] -> [B, classes]; 4,652,008 parameters with 1000 classes."""

    classes: int
    dropout: float = 0.2
    """On the features in front of the head."""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W 3"], *, train: bool) -> Float[Array, "B classes"]:
        x = Trunk(dtype=self.dtype, name="trunk")(x, train=train)["top"].mean((1, 2))  # [B, 1280]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.classes, dtype=jnp.float32, name="head")(x)
