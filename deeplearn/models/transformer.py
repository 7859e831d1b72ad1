"""Encoder-decoder Transformer (Vaswani et al., 2017), before or after normalisation, over rows of packed sentences.

Letters: B rows, S source tokens, T target tokens, D width, H heads, V vocabulary, N hypotheses (rows while decoding),
L longest hypothesis.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from deeplearn.models import packing
from deeplearn.models.products import dense

Pair = tuple[Array, Array]  # keys and values, each [B, S, H, D / H]


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


def attend(query: Array, key: Array, value: Array, visible: Bool[Array, "B T S"]) -> tuple[Array, Array]:
    """Softmax attention: [B, T, H, d], [B, S, H, d] twice -> ([B, T, H, d], weights [B, H, T, S]).

    A query that may see nothing (padding) looks everywhere alike; its result is never read.
    """
    scores = jnp.einsum("bthd,bshd->bhts", query * query.shape[-1] ** -0.5, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(visible[:, None], scores, jnp.float32(-1e9)), axis=-1)
    return jnp.einsum("bhts,bshd->bthd", weights.astype(value.dtype), value), weights


def norm(dtype: Any) -> nn.LayerNorm:
    """Layer normalisation; like `layers.Normalise` it computes the mean before the variance."""
    return nn.LayerNorm(dtype=dtype, use_fast_variance=False)


class Attention(nn.Module):
    """Multi-head attention with one product for query, key and value together (self) or key and value (cross)."""

    heads: int
    width: int
    dtype: Any

    def setup(self):
        size = self.width // self.heads
        self.joint = nn.DenseGeneral((3, self.heads, size), dtype=self.dtype, dot_general=dense)
        self.out = nn.DenseGeneral(self.width, axis=(-2, -1), dtype=self.dtype, dot_general=dense)

    def split(self, x: Float[Array, "B T D"]) -> tuple[Array, Array, Array]:
        """Query, key and value, each [B, T, H, D / H]."""
        query, key, value = jnp.moveaxis(self.joint(x), 2, 0)
        return query, key, value

    def __call__(self, query, key, value, visible) -> tuple[Array, Array]:
        mixed, weights = attend(query, key, value, visible)
        return self.out(mixed), weights


class CrossAttention(nn.Module):
    """Multi-head attention from the target to the source."""

    heads: int
    width: int
    dtype: Any

    def setup(self):
        size = self.width // self.heads
        self.query = nn.DenseGeneral((self.heads, size), dtype=self.dtype, dot_general=dense)
        self.joint = nn.DenseGeneral((2, self.heads, size), dtype=self.dtype, dot_general=dense)
        self.out = nn.DenseGeneral(self.width, axis=(-2, -1), dtype=self.dtype, dot_general=dense)

    def remember(self, encoded: Float[Array, "B S D"]) -> Pair:
        key, value = jnp.moveaxis(self.joint(encoded), 2, 0)
        return key, value

    def __call__(self, x, memory: Pair, visible) -> tuple[Array, Array]:
        mixed, weights = attend(self.query(x), *memory, visible)
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

        With a cache (keys and values [N, L, H, d]), x is the one token at `position` and is written into it.
        """
        weights = None
        query, key, value = self.self_attention.split(self.before(0, x))
        if cache is not None:
            write = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, position, axis=1)  # noqa: E731
            key, value = cache = write(cache[0], key), write(cache[1], value)
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
            x, _, _ = layer(x, visible, train=train)
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
            x, weights, _ = layer(x, visible, remembered, memory_visible, train=train)
        return (self.decoder_norm(x) if self.prenorm else x), weights.mean(1)

    def __call__(self, source: Int[Array, "B S"], target: Int[Array, "B T"], train: bool = False):
        """Features [B, T, D] and the table [V, D]; their product are the logits of each token of `target`."""
        return self.decode(self.encode(source, train), target, train)[0], self.table

    def start(self, memory: Memory, length: int) -> tuple[Pair, ...]:
        """An empty cache for hypotheses of up to `length` tokens: keys and values [N, L, H, d] of every layer."""
        key = memory.layers[0][0]
        empty = jnp.zeros((key.shape[0], length, *key.shape[2:]), key.dtype)
        return tuple((empty, empty) for _ in range(self.layers))

    def step(self, memory: Memory, cache: tuple[Pair, ...], token: Int[Array, "N"], position: Int[Array, ""]):
        """One token further: (logits [N, V], attention [N, S], cache). Each row of the memory holds one sentence."""
        length = cache[0][0].shape[1]
        x = self.embed(token[:, None], jnp.broadcast_to(position, (token.shape[0], 1)), length, False)
        visible = jnp.broadcast_to(jnp.arange(length) <= position, (token.shape[0], 1, length))
        memory_visible = (memory.segment > 0)[:, None, :]
        written = []
        for layer, remembered, old in zip(self.decoder, memory.layers, cache, strict=True):
            x, weights, new = layer(x, visible, remembered, memory_visible, cache=old, position=position)
            written.append(new)
        x = self.decoder_norm(x) if self.prenorm else x
        logits = jnp.einsum("nd,vd->nv", x[:, 0], self.table.astype(self.dtype), preferred_element_type=jnp.float32)
        return logits, weights.mean(1)[:, 0], tuple(written)


BASE = dict(width=512, layers=6, heads=8, hidden=2048, dropout=0.1, prenorm=False)
"""Table 3 of the paper, which says 65 million parameters; its text, with 37,000 shared pieces, makes 63.1 million."""
