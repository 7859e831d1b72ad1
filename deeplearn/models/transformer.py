"""Encoder-decoder Transformer (Vaswani et al., 2017), before or after normalisation, over rows of packed sentences.

Letters: B rows, S source tokens, T target tokens, D width, H heads, d features of a head, V vocabulary, K hypotheses of
a sentence (while decoding), L longest hypothesis.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplearn.models import packing
from deeplearn.models.layers import head_size
from deeplearn.models.products import dense
from deeplearn.models.remat import through

Pair = tuple[Array, Array]  # keys [B, H, d, S] and values [B, H, S, d]: products take them as they lie


class Memory(NamedTuple):
    """A source sentence as the decoder sees it."""

    layers: tuple[Pair, ...]
    """Keys and values of every decoder layer's attention."""
    segment: Int[Array, "B S"]
    """Sentence of each source token; 0 for padding."""


def sinusoids(length: int, width: int) -> np.ndarray:
    """Position table [length, width], section 3.5 of the paper: wavelengths from 2π to 10000 · 2π."""
    angle = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)[None, :]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def attend(
    query: Float[Array, "B H T d"], key: Float[Array, "B H d S"], value: Float[Array, "B H S d"], visible: Array
) -> tuple[Float[Array, "B T H d"], Float[Array, "B H T S"]]:
    """Softmax attention to what is `visible` [B, T, S]: the mixed values, and the weights.

    A query that may see nothing (padding) looks everywhere alike; its result is never read.
    """
    scores = jnp.matmul(query * query.shape[-1] ** -0.5, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(visible[:, None], scores, jnp.float32(-1e9)), axis=-1)
    return jnp.matmul(weights.astype(value.dtype), value).swapaxes(1, 2), weights


def _heads(joint: Float[Array, "B T N H d"]) -> list[Float[Array, "B H T d"]]:
    """The N products of one joint product, heads first."""
    return list(joint.transpose(2, 0, 3, 1, 4))


def norm(dtype: Any) -> nn.LayerNorm:
    """Layer normalisation; like `layers.Normalise` it computes the mean before the variance."""
    return nn.LayerNorm(dtype=dtype, use_fast_variance=False)


class Attention(nn.Module):
    """Multi-head attention with one product for query, key and value together (self) or key and value (cross)."""

    heads: int
    width: int
    dtype: Any

    def setup(self):
        size = head_size(self.width, self.heads)
        self.joint = nn.DenseGeneral((3, self.heads, size), dtype=self.dtype, dot_general=dense)
        self.out = nn.DenseGeneral(self.width, axis=(-2, -1), dtype=self.dtype, dot_general=dense)

    def split(self, x: Float[Array, "B T D"]) -> tuple[Array, Array, Array]:
        """Query [B, H, T, d], key [B, H, d, T] and value [B, H, T, d]."""
        query, key, value = _heads(self.joint(x))
        return query, key.mT, value

    def __call__(self, query, key, value, visible) -> tuple[Array, Array]:
        mixed, weights = attend(query, key, value, visible)
        return self.out(mixed), weights


class CrossAttention(nn.Module):
    """Multi-head attention from the target to the source."""

    heads: int
    width: int
    dtype: Any

    def setup(self):
        size = head_size(self.width, self.heads)
        self.query = nn.DenseGeneral((self.heads, size), dtype=self.dtype, dot_general=dense)
        self.joint = nn.DenseGeneral((2, self.heads, size), dtype=self.dtype, dot_general=dense)
        self.out = nn.DenseGeneral(self.width, axis=(-2, -1), dtype=self.dtype, dot_general=dense)

    def remember(self, encoded: Float[Array, "B S D"]) -> Pair:
        key, value = _heads(self.joint(encoded))
        return key.mT, value

    def __call__(self, x, memory: Pair, visible) -> tuple[Array, Array]:
        mixed, weights = attend(self.query(x).swapaxes(1, 2), *memory, visible)
        return self.out(mixed), weights


class Layer(nn.Module):
    """One layer of the encoder, or (`cross`) of the decoder."""

    width: int
    heads: int
    hidden: int
    dropout: float
    prenorm: bool
    cross: bool
    dtype: Any

    def setup(self):
        self.self_attention = Attention(self.heads, self.width, self.dtype)
        self.norms = [norm(self.dtype) for _ in range(3 if self.cross else 2)]
        if self.cross:
            self.cross_attention = CrossAttention(self.heads, self.width, self.dtype)
        self.wide = nn.Dense(self.hidden, dtype=self.dtype, dot_general=dense)
        self.narrow = nn.Dense(self.width, dtype=self.dtype, dot_general=dense)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, x, visible, memory=None, memory_visible=None, cache=None, position=None, train=False):
        """x [B, T, D] -> (x, cross-attention weights [B, H, T, S] or None, cache).

        With a cache (keys [B, H, d, L * K], values [B, H, L * K, d]) x are K hypotheses' tokens, written at `position`.
        """
        weights = None
        query, key, value = self.self_attention.split(self.before(0, x))
        if cache is not None:
            write = jax.lax.dynamic_update_slice_in_dim
            key, value = cache = write(cache[0], key, position, axis=3), write(cache[1], value, position, axis=2)
        x = self.after(0, x, self.self_attention(query, key, value, visible)[0], train)
        if self.cross:
            mixed, weights = self.cross_attention(self.before(1, x), memory, memory_visible)
            x = self.after(1, x, mixed, train)
        y = self.narrow(nn.relu(self.wide(self.before(-1, x))))
        return self.after(-1, x, y, train), weights, cache

    def before(self, n: int, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """What the n-th sublayer reads."""
        return self.norms[n](x) if self.prenorm else x

    def after(self, n: int, x: Float[Array, "B T D"], y: Float[Array, "B T D"], train: bool) -> Float[Array, "B T D"]:
        """The residual sum of a sublayer's input x and output y."""
        x = x + self.drop(y, deterministic=not train)
        return x if self.prenorm else self.norms[n](x)


class Transformer(nn.Module):
    """Translates token rows; one embedding table serves source, target and output (Press & Wolf, 2017)."""

    vocabulary: int
    """Pieces of the shared vocabulary."""
    width: int = 256
    """Features of a token between layers."""
    layers: int = 3
    """Layers of the encoder, and of the decoder."""
    heads: int = 4
    """Attention heads; divides the width."""
    hidden: int = 1024
    """Features inside the feed-forward sublayer."""
    dropout: float = 0.1
    """Share of features dropped after every sublayer and after the embedding."""
    prenorm: bool = True
    """Normalise before each sublayer (Xiong et al., 2020: trains without care); False: after, as in the paper."""
    dtype: Any = jnp.float32
    """Type of activations and products; parameters stay float32."""
    remat: bool = False
    """Compute each layer again in the backward pass, to save memory."""

    def setup(self):
        scale = nn.initializers.normal(self.width**-0.5)  # embeddings of length 1; multiplied by sqrt(D) when read
        self.table = self.param("embedding", scale, (self.vocabulary, self.width), jnp.float32)
        common = (self.width, self.heads, self.hidden, self.dropout, self.prenorm)
        self.encoder = [Layer(*common, cross=False, dtype=self.dtype) for _ in range(self.layers)]
        self.decoder = [Layer(*common, cross=True, dtype=self.dtype) for _ in range(self.layers)]
        self.drop = nn.Dropout(self.dropout)
        if self.prenorm:
            self.encoder_norm, self.decoder_norm = norm(self.dtype), norm(self.dtype)

    def embed(self, tokens: Int[Array, "B T"], position: Int[Array, "B T"], longest: int, train: bool):
        """Scaled embeddings plus sinusoids: [B, T, D]."""
        places = jnp.asarray(sinusoids(longest, self.width))
        x = self.table[tokens] * jnp.float32(self.width**0.5) + places[position]
        return self.drop(x.astype(self.dtype), deterministic=not train)

    def encode(self, source: Int[Array, "B S"], train: bool = False) -> Memory:
        segment = packing.segments(source)
        x = self.embed(source, packing.positions(segment), source.shape[1], train)
        visible = packing.same(segment, segment)
        for layer in self.encoder:
            x, _, _ = through(layer, x, visible, train=train, remat=self.remat)
        x = self.encoder_norm(x) if self.prenorm else x
        return Memory(tuple(layer.cross_attention.remember(x) for layer in self.decoder), segment)

    def decode(self, memory: Memory, target: Int[Array, "B T"], train: bool = False) -> tuple[Array, Array]:
        """Features [B, T, D] that predict each token of `target` from those before, and the last layer's attention."""
        segment = packing.segments(target)
        length = target.shape[1]
        x = self.embed(packing.shifted(target), packing.positions(segment), length, train)
        visible = packing.same(segment, segment) & jnp.tri(length, dtype=bool)[None]
        memory_visible = packing.same(segment, memory.segment)
        for layer, remembered in zip(self.decoder, memory.layers, strict=True):
            inputs = x, visible, remembered, memory_visible
            x, weights, _ = through(layer, *inputs, train=train, remat=self.remat)
        return (self.decoder_norm(x) if self.prenorm else x), weights.mean(1)

    def __call__(self, source: Int[Array, "B S"], target: Int[Array, "B T"], train: bool = False):
        """Features [B, T, D] and the table [V, D]; their product are the logits of each token of `target`."""
        return self.decode(self.encode(source, train), target, train)[0], self.table

    def start(self, memory: Memory, beams: int, length: int) -> tuple[Pair, ...]:
        """An empty cache for `beams` hypotheses of up to `length` tokens: keys and values of every layer."""
        batch, heads, size, _ = memory.layers[0][0].shape
        places = length * beams
        keys, values = (jnp.zeros((batch, heads, *shape), self.dtype) for shape in ((size, places), (places, size)))
        return tuple((keys, values) for _ in range(self.layers))

    def step(
        self,
        memory: Memory,
        cache: tuple[Pair, ...],
        token: Int[Array, "B K"],
        ancestors: Int[Array, "B K L"],
        position: Int[Array, ""],
    ) -> tuple[Array, Array, tuple[Pair, ...]]:
        """One token further, as `decode.Model` says: (logits [B, K, V], attention [B, K, S], cache)."""
        beams, length = ancestors.shape[1:]
        x = self.embed(token, jnp.broadcast_to(position, token.shape), length, False)
        past = (jnp.arange(length) <= position)[None, None, :, None]
        own = ancestors[..., None] == jnp.arange(beams)[None, None, None, :]
        visible = (own & past).reshape(*token.shape, length * beams)
        memory_visible = (memory.segment > 0)[:, None, :]
        written = []
        for layer, remembered, old in zip(self.decoder, memory.layers, cache, strict=True):
            x, weights, new = layer(x, visible, remembered, memory_visible, cache=old, position=position * beams)
            written.append(new)
        x = self.decoder_norm(x) if self.prenorm else x
        logits = jnp.einsum("bkd,vd->bkv", x, self.table.astype(self.dtype), preferred_element_type=jnp.float32)
        return logits, weights.mean(1), tuple(written)


BASE = dict(width=512, layers=6, heads=8, hidden=2048, dropout=0.1, prenorm=False)
"""Table 3 of the paper, which says 65 million parameters; its text, with 37,000 shared pieces, makes 63.1 million."""
