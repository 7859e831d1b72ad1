"""Codes of faces that keep people apart: a small residual network, and softmax with a margin between the classes."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplearn.models.layers import Normalise
from deeplearn.models.resnet import Block, conv

Kind = Literal["softmax", "cosface", "arcface", "adaface"]


class Embedder(nn.Module):
    """[B, H, W, C] -> codes [B, code]; the place in the picture counts, since faces are aligned.

    Four stages of residual blocks down to an eighth of the resolution; then, as for ArcFace (Deng et al., 2019),
    dropout, a dense layer over the flattened map and batch normalisation instead of a global mean.
    """

    width: int = 32
    code: int = 128
    dropout: float = 0.4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B code"]:
        x = conv(self.width, 3, 2, self.dtype, "stem")(x)
        x = nn.relu(Normalise("batch", dtype=self.dtype, name="stem_norm")(x, train=train))
        for i in range(3):
            x = Block(self.width * 2**i, 1 if i == 0 else 2, False, "batch", self.dtype, name=f"block{i + 1}")(
                x, train=train
            )
        x = conv(2 * self.width, 1, 1, self.dtype, "narrow")(x)
        x = nn.relu(Normalise("batch", dtype=self.dtype, name="narrow_norm")(x, train=train))
        x = nn.Dropout(self.dropout, deterministic=not train)(x.reshape(x.shape[0], -1))
        x = nn.Dense(self.code, use_bias=False, dtype=self.dtype, name="head")(x)
        return Normalise("batch", name="head_norm")(x, train=train)


class Coded(NamedTuple):
    """What the network says of a batch."""

    code: Float[Array, "B D"]
    """Of length 1."""
    logits: Float[Array, "B K"]
    """Of the people it learns from; with the margin while it is training."""


class Margin(nn.Module):
    """Logits of codes: scaled cosines with learnt directions, where the own class has to win by a margin.

    CosFace (Wang et al., 2018) subtracts it from the cosine, ArcFace (Deng et al., 2019) adds it to the angle, AdaFace
    (Kim et al., 2022) does both by how long a code is, since that says how good the picture is. Scale and margin grow
    while the first `warmup` examples pass: with few people they else lead to NaN, or to one code for all.
    """

    classes: int
    kind: Kind
    margin: float
    scale: float
    warmup: int
    """Examples after which scale and margin are whole; the margin begins to grow after a fifth of them."""
    begin: float = 8.0
    """Scale at the start."""

    @nn.compact
    def __call__(self, code: Float[Array, "B D"], label: Int[Array, "B"], *, train: bool) -> Coded:
        seen = self.variable("warmup", "seen", lambda: jnp.zeros((), jnp.float32))
        norm = jnp.linalg.norm(code, axis=1, keepdims=True)
        code = code / jnp.maximum(norm, 1e-6)
        centres = self.param("centres", nn.initializers.normal(0.05), (code.shape[1], self.classes))
        cosine = code @ (centres / jnp.linalg.norm(centres, axis=0, keepdims=True))
        if not train:
            return Coded(code, self.scale * cosine)
        done = jnp.minimum(seen.value / max(self.warmup, 1), 1.0)
        margin = self.margin * jnp.clip((done - 0.2) / 0.8, 0.0, 1.0)
        quality = self._quality(norm)
        seen.value = seen.value + len(code)
        own = jax.nn.one_hot(label, self.classes, dtype=jnp.bool_)
        scale = self.begin + (self.scale - self.begin) * done
        return Coded(code, scale * jnp.where(own, self._harder(cosine, margin, quality), cosine))

    def _harder(self, cosine: Array, margin: Array, quality: Array) -> Array:
        match self.kind:
            case "cosface":
                return cosine - margin
            case "arcface":
                return _turned(cosine, margin)
            case "adaface":  # equations 7 to 9 of the paper
                return _turned(cosine, -margin * quality) - (margin * quality + margin)
        return cosine

    def _quality(self, norm: Float[Array, "B 1"]) -> Float[Array, "B 1"]:
        """The length of a code in a third of the deviations from the mean of recent batches, within -1..1."""
        if self.kind != "adaface":
            return jnp.zeros_like(norm)
        norm = jax.lax.stop_gradient(norm)
        mean = self.variable("warmup", "mean", lambda: jnp.full((), 20.0, jnp.float32))
        deviation = self.variable("warmup", "deviation", lambda: jnp.full((), 100.0, jnp.float32))
        mean.value = 0.99 * mean.value + 0.01 * norm.mean()
        deviation.value = 0.99 * deviation.value + 0.01 * norm.std()
        return jnp.clip((norm - mean.value) / (deviation.value + 1e-3) * 0.333, -1.0, 1.0)


def _turned(cosine: Array, angle: Array) -> Array:
    """cos(acos(cosine) + angle), kept from rising again where the sum leaves 0..pi."""
    # Clipped, since the derivative of acos is infinite at both ends.
    total = jnp.arccos(jnp.clip(cosine, -1 + 1e-6, 1 - 1e-6)) + angle
    beyond = cosine - jnp.abs(angle) * jnp.sin(jnp.abs(angle))  # a line, as ArcFace's authors continue it
    return jnp.where(total < jnp.pi, jnp.cos(jnp.maximum(total, 0.0)), beyond)


class Verifier(nn.Module):
    """An embedder and its margin: (images [B, H, W, C], people [B]) -> `Coded`."""

    embedder: Embedder
    head: Margin

    def __call__(self, x: Float[Array, "B H W C"], label: Int[Array, "B"], *, train: bool) -> Coded:
        return self.head(self.embedder(x, train=train), label, train=train)
