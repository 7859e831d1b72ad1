"""Networks that restore photographs: they add to what they are given what is missing in it.

All take (image [B, H, W, 3] in 0..1, hint [B, H, W, 1]) of any sides and return an image of those sides. The hint says
what is known of the damage: the deviation of the noise, or where holes are.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.models.pyramid import Pyramid, conv, grown, padded

ZEROS = nn.initializers.zeros
"""Of the last layer: what is given is the best first guess."""


class PyramidRestorer(nn.Module):
    """A pyramid, whose finest level is spread to the image's pixels; 0.86 million parameters."""

    widths: Sequence[int] = (32, 64, 128)
    depths: Sequence[int] = (1, 1, 2)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "B H W 3"], hint: Float[Array, "B H W 1"], *, train: bool) -> Array:
        x = padded(jnp.concatenate([image - 0.5, hint], axis=-1), 2 ** len(self.widths))
        features = Pyramid(self.widths, self.depths, dtype=self.dtype, name="pyramid")(x, train=train)[0]
        missing = grown(conv(12, 3, self.dtype, "missing", kernel_init=ZEROS)(features))
        return image + missing[:, : image.shape[1], : image.shape[2]].astype(jnp.float32)
