"""AlexNet (Krizhevsky, Sutskever & Hinton, ImageNet classification with deep convolutional neural networks, 2012)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.models.layers import max_pool, refuse_smaller


class AlexNet(nn.Module):
    """The single tower of "One weird trick" (Krizhevsky, 2014), as in torchvision: [B, 224, 224, 3] -> [B, classes].

    61,100,840 parameters with 1000 classes. The paper of 2012 splits 96-256-384-384-256 channels over two GPUs
    (60,965,224 parameters) and normalises local responses, which Simonyan & Zisserman (2015) found not to help.
    """

    classes: int
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B classes"]:
        """At least 63 pixels a side (ConfigError): below, nothing is left for the third pooling."""
        refuse_smaller(x, 63, "AlexNet")
        x = nn.relu(nn.Conv(64, (11, 11), strides=4, padding=2, dtype=self.dtype, name="conv1")(x))  # [B, 55, 55, 64]
        x = max_pool(x, window=3)  # [B, 27, 27, 64]; overlapping windows, section 3.4
        x = nn.relu(nn.Conv(192, (5, 5), dtype=self.dtype, name="conv2")(x))
        x = max_pool(x, window=3)  # [B, 13, 13, 192]
        x = nn.relu(nn.Conv(384, (3, 3), dtype=self.dtype, name="conv3")(x))
        x = nn.relu(nn.Conv(256, (3, 3), dtype=self.dtype, name="conv4")(x))
        x = nn.relu(nn.Conv(256, (3, 3), dtype=self.dtype, name="conv5")(x))
        x = max_pool(x, window=3)  # [B, 6, 6, 256]
        x = x.reshape(x.shape[0], -1)
        for name in ("dense6", "dense7"):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = nn.relu(nn.Dense(4096, dtype=self.dtype, name=name)(x))
        return nn.Dense(self.classes, dtype=jnp.float32, name="head")(x)
