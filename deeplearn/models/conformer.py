"""The Conformer (Gulati et al., 2020, arXiv:2005.08100) with CTC's letters as output.

Letters: B rows, F frames, M mel bands, T = F / 4 steps, D width, H heads, V symbols of which 0 is the blank.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from deeplearn.models.layers import head_size
from deeplearn.models.remat import through

STRIDE = 4
"""Frames a step: two convolutions with stride 2."""
PAPER = {
    "small": dict(layers=16, width=144, heads=4, kernel=32),
    "medium": dict(layers=16, width=256, heads=4, kernel=32),
    "large": dict(layers=17, width=512, heads=8, kernel=32),
}
"""Table 1: encoders of 10.3, 30.7 and 118.8 million parameters, a decoder of one LSTM included."""


class Conformer(nn.Module):
    """Subsampling, then layers of two half feed-forward modules around attention and a convolution."""

    symbols: int
    layers: int = 16
    width: int = 144
    heads: int = 4
    kernel: int = 32
    dropout: float = 0.1
    remat: bool = False
    """Compute each layer again in the backward pass, to save memory."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B F M"], frames: Int[Array, "B"], *, train: bool
    ) -> tuple[Float[Array, "B T V"], Int[Array, "B"]]:
        """(logits, steps of each row); what lies behind a row's frames changes nothing."""
        heard = jnp.arange(x.shape[1])[None] < frames[:, None]
        x, steps = (x * heard[..., None].astype(x.dtype))[..., None], frames
        for _ in range(2):
            x = nn.relu(nn.Conv(self.width, (3, 3), (2, 2), [(1, 1), (1, 1)])(x))
            steps = -(-steps // 2)
            x *= (jnp.arange(x.shape[1])[None] < steps[:, None]).astype(x.dtype)[..., None, None]
        real = jnp.arange(x.shape[1])[None] < steps[:, None]
        x = nn.Dense(self.width)(x.reshape(*x.shape[:2], -1))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for _ in range(self.layers):
            layer = Layer(self.width, self.heads, self.kernel, self.dropout)
            x = through(layer, x, real, train=train, remat=self.remat)
        return nn.Dense(self.symbols)(x), steps


class Layer(nn.Module):
    """One Conformer block, figure 1."""

    width: int
    heads: int
    kernel: int
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], real: Bool[Array, "B T"], train: bool) -> Float[Array, "B T D"]:
        drop = lambda y: nn.Dropout(self.dropout, deterministic=not train)(y)  # noqa: E731

        def feed_forward(x: Array) -> Array:
            y = nn.swish(nn.Dense(4 * self.width)(nn.LayerNorm()(x)))
            return drop(nn.Dense(self.width)(drop(y)))

        def convolution(x: Array) -> Array:
            y = nn.glu(nn.Dense(2 * self.width)(nn.LayerNorm()(x))) * real[..., None].astype(x.dtype)
            y = nn.Conv(self.width, (self.kernel,), feature_group_count=self.width)(y)
            mask = jnp.broadcast_to(real[..., None], y.shape)
            y = nn.swish(nn.BatchNorm(use_running_average=not train, momentum=0.95)(y, mask=mask))
            return drop(nn.Dense(self.width)(y))

        x = x + 0.5 * feed_forward(x)
        x = x + drop(RelativeAttention(self.width, self.heads, self.dropout)(nn.LayerNorm()(x), real, train))
        x = x + convolution(x)
        x = x + 0.5 * feed_forward(x)
        return nn.LayerNorm()(x)


class RelativeAttention(nn.Module):
    """Self-attention whose scores know how far apart two steps are (Dai et al., 2019, Transformer-XL, section 3.3)."""

    width: int
    heads: int
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], real: Bool[Array, "B T"], train: bool) -> Float[Array, "B T D"]:
        count, size = x.shape[1], head_size(self.width, self.heads)
        query, key, value = jnp.moveaxis(nn.DenseGeneral((3, self.heads, size), name="joint")(x), 2, 0)
        bias = self.param("bias", nn.initializers.zeros, (2, self.heads, size))
        spread = lambda b: jnp.broadcast_to(b[None, None], query.shape)  # noqa: E731
        distance = np.arange(count - 1, -count, -1)[:, None]
        angle = distance / 10000 ** (np.arange(0, self.width, 2) / self.width)[None]
        table = np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
        far = nn.DenseGeneral((self.heads, size), use_bias=False, name="position")(jnp.asarray(table))  # [2T - 1, H, d]
        scores = jnp.einsum("bthd,bshd->bhts", query + spread(bias[0]), key)
        scores += shifted(jnp.einsum("bthd,rhd->bhtr", query + spread(bias[1]), far))
        weights = jax.nn.softmax(jnp.where(real[:, None, None], scores * size**-0.5, -1e9), axis=-1)
        weights = nn.Dropout(self.dropout, deterministic=not train)(weights)
        return nn.DenseGeneral(self.width, axis=(-2, -1), name="out")(jnp.einsum("bhts,bshd->bthd", weights, value))


def shifted(x: Float[Array, "B H T R"]) -> Float[Array, "B H T T"]:
    """Scores by distance (R = 2T - 1, from T - 1 down) to scores by place: row t, column s is distance t - s."""
    *lead, count, distances = x.shape
    x = jnp.pad(x, [(0, 0)] * (len(lead) + 1) + [(1, 0)]).reshape(*lead, distances + 1, count)
    return x[..., 1:, :].reshape(*lead, count, distances)[..., :count]
