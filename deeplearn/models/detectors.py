"""Networks that tell where objects are: maps of their centres, or a set of boxes."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.methods.centres import EMPTY, Maps
from deeplearn.models.layers import Norm, Normalise
from deeplearn.models.pyramid import Pyramid, conv, padded


class CentreDetector(nn.Module):
    """[B, H, W, 3] -> maps of cells of 4 x 4 pixels; an image of any sides is padded at its right and bottom."""

    classes: int
    width: int = 32
    """Channels at that resolution; half at twice of it, two and four times as many at the two coarser ones."""
    depths: Sequence[int] = (0, 1, 2, 1)
    norm: Norm = "layer"
    """By layer: what is averaged over a batch would not fit averaged weights."""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "B H W 3"], *, train: bool) -> Maps:
        w = self.width
        x = padded(image, 2 ** len(self.depths))
        pyramid = Pyramid((w // 2, w, 2 * w, 4 * w), self.depths, 1, self.norm, self.dtype, name="pyramid")
        x = pyramid(x, train=train)[0]
        x = nn.relu(Normalise(self.norm, dtype=self.dtype, name="norm1")(x, train=train))
        x = conv(2 * w, 3, self.dtype, "mixed")(x)
        x = nn.relu(Normalise(self.norm, dtype=self.dtype, name="norm2")(x, train=train))
        heat = conv(self.classes, 1, self.dtype, "heat", bias_init=nn.initializers.constant(EMPTY))(x)
        boxes = conv(5, 1, self.dtype, "boxes")(x).astype(jnp.float32)
        # In cells: an object begins with sides of some 4 cells, which are 16 pixels.
        sides = 2 * jnp.exp(boxes[..., :4].clip(-4, 4))
        return Maps(heat.astype(jnp.float32), sides, boxes[..., 4])
