"""Networks that tell where objects are: maps of their centres, or a set of boxes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.methods.centres import EMPTY, Maps, cells
from deeplearn.models.layers import Norm, Normalise
from deeplearn.models.pyramid import Pyramid, TrainedPyramid, conv, padded


def below(
    image: Float[Array, "B H W 3"],
    width: int,
    depths: Sequence[int],
    finest: int,
    norm: Norm,
    trained: bool,
    dtype: Any,
    *,
    train: bool,
) -> list[Float[Array, "B h w D"]]:
    """Levels of strides 2^(finest+1) to 16 of the image, padded; inside of a module, whose layer `pyramid` they are."""
    widths = (width // 2, width, 2 * width, 4 * width)
    if trained:
        pyramid = TrainedPyramid(widths[1:], finest - 1, norm, dtype, name="pyramid")
    else:
        pyramid = Pyramid(widths, depths, finest, norm, dtype, name="pyramid")
    return pyramid(padded(image, 2 ** len(widths)), train=train)


class CentreDetector(nn.Module):
    """[B, H, W, 3] -> maps of cells of 4 x 4 pixels; an image of any sides is padded at its right and bottom."""

    classes: int
    width: int = 32
    """Channels at that resolution; half at twice of it, two and four times as many at the two coarser ones."""
    depths: Sequence[int] = (0, 1, 2, 1)
    norm: Norm = "layer"
    """By layer: what is averaged over a batch would not fit averaged weights."""
    trained: bool = False
    """The way down is a trunk that was trained before: see `TrainedPyramid`."""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "B H W 3"], *, train: bool) -> Maps:
        w = self.width
        x = below(image, w, self.depths, 1, self.norm, self.trained, self.dtype, train=train)[0]
        x = nn.relu(Normalise(self.norm, dtype=self.dtype, name="norm1")(x, train=train))
        x = conv(2 * w, 3, self.dtype, "mixed")(x)
        x = nn.relu(Normalise(self.norm, dtype=self.dtype, name="norm2")(x, train=train))
        heat = conv(self.classes, 1, self.dtype, "heat", bias_init=nn.initializers.constant(EMPTY))(x)
        boxes = conv(5, 1, self.dtype, "boxes")(x).astype(jnp.float32)
        # In cells: an object begins with sides of some 4 cells, which are 16 pixels.
        sides = 2 * jnp.exp(boxes[..., :4].clip(-4, 4))
        return Maps(heat.astype(jnp.float32), sides, boxes[..., 4])


class Guess(NamedTuple):
    """Predictions of one stage, as a set; boxes are (centre x, centre y, width, height) in shares of the sides."""

    logits: Float[Array, "B Q C"]
    box: Float[Array, "B Q 4"]


class SetDetector(nn.Module):
    """[B, H, W, 3] -> the guesses of all stages, the last one best: DETR (Carion et al., 2020) on a pyramid.

    The cells of 8 x 8 pixels each guess first, and the surest become the queries (Zhu et al., 2021, section 4.2); each
    layer of the decoder mends their boxes.
    """

    classes: int
    width: int = 32
    queries: int = 20
    layers: int = 3
    heads: int = 4
    depths: Sequence[int] = (0, 1, 2, 1)
    trained: bool = False
    """The way down is a trunk that was trained before: see `TrainedPyramid`."""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "B H W 3"], *, train: bool) -> list[Guess]:
        w = self.width
        levels = below(image, w, self.depths, 2, "layer", self.trained, self.dtype, train=train)
        batch, height, width, _ = levels[0].shape
        places = cells(height, width, 1).reshape(1, -1, 2) / jnp.array([[[width, height]]], jnp.float32)
        places = jnp.broadcast_to(places, (batch, height * width, 2))
        seen = conv(4 * w, 1, self.dtype, "tokens")(levels[0]).reshape(batch, height * width, 4 * w)
        anchor = jnp.concatenate([places, jnp.full_like(places, 0.2)], axis=-1)
        seen = self._block("encoder", seen + self._waves("place", anchor), seen, None)
        first = self._guess("first", seen, anchor)
        _, best = jax.lax.top_k(first.logits.max(-1), min(self.queries, height * width))
        take = lambda x: jnp.take_along_axis(x, best[..., None], axis=1)  # noqa: E731
        found, box, stages = take(seen), jax.lax.stop_gradient(take(first.box)), [first]
        keys = seen + self._waves("key", anchor)
        for layer in range(self.layers):
            asked = found + self._waves(f"query{layer}", box)
            found = self._block(f"decoder{layer}", asked, found, (keys, seen))
            stages.append(self._guess(f"guess{layer}", found, box))
            box = jax.lax.stop_gradient(stages[-1].box)
        return stages

    def _block(self, name: str, asked: Array, x: Array, memory: tuple[Array, Array] | None) -> Float[Array, "B N D"]:
        """Queries look at each other, then at the memory, where there is one; then a layer of their own."""
        look = lambda part, *inputs: nn.MultiHeadDotProductAttention(  # noqa: E731
            self.heads, dtype=self.dtype, name=f"{name}_{part}"
        )(*inputs)
        norm = lambda part, y: nn.LayerNorm(dtype=self.dtype, name=f"{name}_{part}_norm")(y)  # noqa: E731
        x = norm("own", x + look("own", asked, asked, x))
        if memory is not None:
            x = norm("cross", x + look("cross", asked, *memory))
        hidden = nn.relu(nn.Dense(2 * x.shape[-1], dtype=self.dtype, name=f"{name}_wide")(x))
        return norm("out", x + nn.Dense(x.shape[-1], dtype=self.dtype, name=f"{name}_narrow")(hidden))

    def _waves(self, name: str, box: Float[Array, "B N 4"]) -> Float[Array, "B N D"]:
        """Where and how large, as sines and cosines (Vaswani et al., 2017) that a layer mixes."""
        scale = 2 * jnp.pi * 2.0 ** jnp.arange(6, dtype=jnp.float32)
        angle = (box[..., None] * scale.reshape(1, 1, 1, -1)).reshape(*box.shape[:2], -1)
        waves = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
        return nn.Dense(4 * self.width, dtype=self.dtype, name=name)(waves)

    def _guess(self, name: str, x: Float[Array, "B N D"], box: Float[Array, "B N 4"]) -> Guess:
        """Classes, and the box moved from where it was."""
        logits = nn.Dense(self.classes, bias_init=nn.initializers.constant(EMPTY), name=f"{name}_class")(x)
        hidden = nn.relu(nn.Dense(x.shape[-1], name=f"{name}_hidden")(x))
        change = nn.Dense(4, kernel_init=nn.initializers.zeros, name=f"{name}_box")(hidden)
        inside = box.clip(1e-3, 1 - 1e-3)
        return Guess(logits, nn.sigmoid(jnp.log(inside) - jnp.log1p(-inside) + change))
