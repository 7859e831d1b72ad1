"""Networks for tables: a perceptron or an ensemble of them that share weights (TabM), and the FT-Transformer.

All take `number` [B, F] and `category` [B, C] as `deeplearn.data.tabular` encodes them, and return [B, K, outputs]: K
predictions by the members of an ensemble, each trained on its own loss; their mean is the prediction.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplearn.models.layers import Normalise
from deeplearn.models.remat import through
from deeplearn.models.vit import EncoderBlock

ONE_HOT = 6
"""Categories of up to this many positions enter the perceptron one-hot; an embedding would not be smaller."""


def piecewise_linear(x: Float[Array, "B F"], edges: tuple[tuple[float, ...], ...]) -> Float[Array, "B F T"]:
    """How far each number has come through each of its bins: 0 below it, 1 above, linear inside.

    Gorishniy et al., "On embeddings for numerical features in tabular deep learning" (2022), equation 1, except that
    a number beyond all bins counts as the nearest end: what training has not seen is not extrapolated. Numbers with
    fewer bins than the largest count T have zeros in the others.
    """
    bins = max(len(e) for e in edges) - 1
    start, width, real = np.zeros((3, len(edges), bins), np.float32)
    for i, e in enumerate(edges):
        start[i, : len(e) - 1], width[i, : len(e) - 1], real[i, : len(e) - 1] = e[:-1], np.diff(e), 1.0
    progress = (x[..., None] - start[None]) / np.where(width > 0, width, np.float32(1))[None]
    return jnp.clip(progress, 0, 1) * real[None]


class NumberEmbedding(nn.Module):
    """A linear layer of its own for each number's piecewise-linear encoding: [B, F] -> [B, F, D]."""

    edges: tuple[tuple[float, ...], ...]
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "B F"]) -> Float[Array, "B F D"]:
        encoded = piecewise_linear(x, self.edges)
        count, bins = encoded.shape[1:]
        # A number lies amid its bins, so about half of them are 1: variance 2 / bins keeps its embedding at 1.
        spread = nn.initializers.normal(np.sqrt(2 / bins))
        kernel = self.param("kernel", spread, (count, bins, self.width))
        bias = self.param("bias", nn.initializers.zeros, (count, self.width))
        return jnp.einsum("bft,ftd->bfd", encoded, kernel) + bias[None]


class SharedDense(nn.Module):
    """K linear maps with one matrix and scales and biases of their own (BatchEnsemble, Wen et al., 2020).

    [B, K, I] -> [B, K, O]. `scatter` starts the input scales as random signs, which is what makes the members differ.
    """

    features: int
    scatter: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B K I"]) -> Float[Array, "B K O"]:
        members, ones = x.shape[1], nn.initializers.ones
        start = (lambda key, shape: jax.random.rademacher(key, shape, jnp.float32)) if self.scatter else ones
        if members > 1:
            x = x * self.param("input_scale", start, (members, x.shape[-1]))[None]
        x = nn.Dense(self.features, use_bias=False, name="shared")(x)
        if members > 1:
            x = x * self.param("output_scale", ones, (members, self.features))[None]
        return x + self.param("bias", nn.initializers.zeros, (members, self.features))[None]


class Heads(nn.Module):
    """K linear maps that share nothing: [B, K, I] -> [B, K, O]."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "B K I"]) -> Float[Array, "B K O"]:
        start = nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)
        kernel = self.param("kernel", start, (*x.shape[1:], self.features))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[1], self.features))
        return jnp.einsum("bki,kio->bko", x, kernel) + bias[None]


class TabM(nn.Module):
    """A perceptron on embedded columns; with several members Gorishniy et al.'s "TabM" (2024), which uses 32.

    It departs from theirs in how numbers are embedded (their version A, with a ReLU; theirs is B, a line and bends that
    start at zero), in the first scales (a sign for each input; theirs a normal number for each column), in biases that
    start at zero (theirs at random, alike for all members), and in embeddings of large categories (theirs: one-hot).
    On two windows of time inside the hotels' training part both are as good: MAE 12.5 and 10.7 against 12.5 and 10.9.

    number [B, F], category [B, C] -> [B, members, outputs].
    """

    edges: tuple[tuple[float, ...], ...]
    """Bin edges of each number."""
    cardinalities: tuple[int, ...]
    """Number of positions of each category."""
    outputs: int = 1
    members: int = 8
    """1 is the plain perceptron."""
    width: int = 128
    depth: int = 2
    embedding: int = 8
    """Width of the embedding of each number and each large category."""
    dropout: float = 0.1
    wide: bool = False
    """Add what a linear model of the same columns says (Cheng et al., "Wide & deep learning", 2016)."""

    @nn.compact
    def __call__(
        self, number: Float[Array, "B F"], category: Int[Array, "B C"], *, train: bool
    ) -> Float[Array, "B K outputs"]:
        parts = []
        if self.edges:
            embedded = nn.relu(NumberEmbedding(self.edges, self.embedding, name="numbers")(number))
            parts = [embedded.reshape(number.shape[0], -1)]
        for i, size in enumerate(self.cardinalities):
            if size <= ONE_HOT:
                parts.append(jax.nn.one_hot(category[:, i], size, dtype=jnp.float32))
            else:
                parts.append(nn.Embed(size, self.embedding, name=f"category{i}")(category[:, i]))
        x = jnp.concatenate(parts, axis=-1)  # [B, I]
        x = jnp.repeat(x[:, None], self.members, axis=1)  # [B, K, I]
        for i in range(self.depth):
            x = nn.relu(SharedDense(self.width, scatter=i == 0, name=f"layer{i}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = Heads(self.outputs, name="head")(x)
        if self.wide:
            plain = [jax.nn.one_hot(category[:, i], size) for i, size in enumerate(self.cardinalities)]
            if self.edges:
                plain.append(piecewise_linear(number, self.edges).reshape(number.shape[0], -1))
            linear = nn.Dense(self.outputs, kernel_init=nn.initializers.zeros, use_bias=False, name="wide_head")
            x = x + linear(jnp.concatenate(plain, axis=-1))[:, None]
        return x


class Independent(nn.Module):
    """Several networks that share nothing but the batches they learn from (Lakshminarayanan et al., 2017).

    number [B, F], category [B, C] -> [B, count * K, outputs], the members of all networks.
    """

    network: nn.Module
    """What each of them is."""
    count: int

    @nn.compact
    def __call__(
        self, number: Float[Array, "B F"], category: Int[Array, "B C"], *, train: bool
    ) -> Float[Array, "B K outputs"]:
        each = nn.vmap(
            lambda network, *columns: network(*columns, train=train),
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(None, None),
            out_axes=1,
            axis_size=self.count,
        )
        found = each(self.network, number, category)  # [B, E, K, outputs]
        return found.reshape(number.shape[0], -1, found.shape[-1])


class FTTransformer(nn.Module):
    """Every column a token, attention among them, the answer read off one more token.

    Gorishniy et al., "Revisiting deep learning models for tabular data" (2021), with piecewise-linear numbers and the
    block of the Vision Transformer: its perceptron is four times as wide as a token, with GELU (theirs 4/3, ReGLU),
    one dropout follows attention and perceptron (theirs has three), and what the first attention reads is normalised
    too. number [B, F], category [B, C] -> [B, 1, outputs].
    """

    edges: tuple[tuple[float, ...], ...]
    cardinalities: tuple[int, ...]
    outputs: int = 1
    width: int = 64
    depth: int = 3
    heads: int = 8
    dropout: float = 0.1
    remat: bool = False
    """Compute each block again in the backward pass, to save memory."""

    @nn.compact
    def __call__(
        self, number: Float[Array, "B F"], category: Int[Array, "B C"], *, train: bool
    ) -> Float[Array, "B 1 outputs"]:
        start = nn.initializers.normal(1 / np.sqrt(self.width))
        token = self.param("token", start, (1, 1, self.width))
        tokens = [jnp.broadcast_to(token, (number.shape[0], 1, self.width))]
        if self.edges:
            tokens.append(NumberEmbedding(self.edges, self.width, name="numbers")(number))
        for i, size in enumerate(self.cardinalities):
            embed = nn.Embed(size, self.width, embedding_init=start, name=f"category{i}")
            tokens.append(embed(category[:, i : i + 1]))
        x = jnp.concatenate(tokens, axis=1)  # [B, 1 + F + C, D]
        for i in range(self.depth):
            block = EncoderBlock(self.heads, self.dropout, jnp.float32, name=f"block{i}")
            x = through(block, x, train=train, remat=self.remat)
        x = nn.relu(Normalise("layer", name="norm")(x[:, :1], train=train))
        return nn.Dense(self.outputs, name="head")(x)
