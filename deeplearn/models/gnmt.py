"""Google's neural machine translation system: residual LSTM layers with attention (Wu et al., 2016).

As in MLPerf's version of it the attention asks with the first decoder layer's output of the same step, not of the step
before: then nothing but the recurrence itself runs token by token. Input projections and the gradient of the recurrent
weights are one large product over all tokens. Other departures from the paper: one table for source, target and softmax
(theirs has three), a layer with tanh between the top LSTM and the softmax (Luong et al., 2015), orthogonal recurrent
weights, forget gates that start open.
Letters: B rows, S source tokens, T target tokens, D width, V vocabulary, K hypotheses of a sentence
(while decoding).
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplearn.models import packing
from deeplearn.models.products import dense, weights

LSTMState = tuple[Array, Array]  # output and cell, each [B, D], or [B, K, D] while decoding


class Memory(NamedTuple):
    """A source sentence as the decoder sees it."""

    keys: Float[Array, "B S D"]
    values: Float[Array, "B S D"]
    segment: Int[Array, "B S"]
    """Sentence of each source token; 0 for padding."""


@jax.custom_vjp
def recurrence(inputs: Float[Array, "T B 4D"], weight: Float[Array, "D 4D"], keep: Float[Array, "T B"]):
    """LSTM over projected inputs (gates in the order input, forget, cell, output): outputs [T, B, D].

    Where `keep` is 0, at the start of a sentence, output and cell of the token before are forgotten.
    """
    return _forward(inputs, weight, keep)[0]


def _cell(state: LSTMState, inputs: Float[Array, "... 4D"], weight: Float[Array, "D 4D"]) -> tuple[LSTMState, Array]:
    """One token: (new state, activated gates [..., 4, D])."""
    output, cell = state
    total = (inputs + output @ weight).reshape(*cell.shape[:-1], 4, -1)
    enter, forget, leave = (jax.nn.sigmoid(total[..., i, :]) for i in (0, 1, 3))
    fresh = jnp.tanh(total[..., 2, :])
    cell = forget * cell + enter * fresh
    return (leave * jnp.tanh(cell), cell), jnp.stack([enter, forget, fresh, leave], axis=-2)


def _forward(inputs, weight, keep):
    def body(state, xs):
        x, kept = xs
        before = jax.tree.map(lambda s: s * kept[:, None], state)
        after, gates = _cell(before, x, weight)
        return after, (after[0], gates, before, after[1])

    zeros = jnp.zeros((inputs.shape[1], weight.shape[0]), inputs.dtype)
    _, (outputs, gates, before, cells) = jax.lax.scan(body, (zeros, zeros), (inputs, keep))
    return outputs, (weight, keep, gates, before, cells)


def _backward(kept, d_outputs):
    weight, keep, gates, (output_before, cell_before), cells = kept

    def body(carry, xs):
        d_output, d_cell = carry
        d_y, keep, gates, previous, cell = xs
        enter, forget, fresh, leave = jnp.moveaxis(gates, 1, 0)
        squashed = jnp.tanh(cell)
        d_output += d_y
        d_cell += d_output * leave * (1 - squashed**2)
        d_total = jnp.concatenate(
            [
                d_cell * fresh * enter * (1 - enter),
                d_cell * previous * forget * (1 - forget),
                d_cell * enter * (1 - fresh**2),
                d_output * squashed * leave * (1 - leave),
            ],
            axis=1,
        )
        return (d_total @ weight.T * keep[:, None], d_cell * forget * keep[:, None]), d_total

    zeros = jnp.zeros_like(cells[0])
    _, d_inputs = jax.lax.scan(body, (zeros, zeros), (d_outputs, keep, gates, cell_before, cells), reverse=True)
    return d_inputs, weights(output_before, d_inputs, 2), None


recurrence.defvjp(_forward, _backward)


class LSTM(nn.Module):
    """One layer over packed rows, or one step of it; the forget gate starts open (Jozefowicz et al., 2015)."""

    width: int
    reverse: bool = False
    dtype: Any = jnp.float32

    def setup(self):
        self.project = nn.Dense(4 * self.width, use_bias=False, dtype=self.dtype, dot_general=dense)
        self.weight = self.param("recurrent", nn.initializers.orthogonal(), (self.width, 4 * self.width), jnp.float32)
        self.bias = self.param("bias", self._open, (4 * self.width,), jnp.float32)

    def _open(self, key, shape, dtype):
        return jnp.zeros(shape, dtype).at[self.width : 2 * self.width].set(1)

    def inputs(self, x: Float[Array, "... D"]) -> Float[Array, "... 4D"]:
        total = self.project(x)
        return total + self.bias.astype(total.dtype).reshape((1,) * (total.ndim - 1) + (-1,))

    def __call__(self, x: Float[Array, "B T D"], segment: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        flip = (lambda a: a[:, ::-1]) if self.reverse else (lambda a: a)
        keep = 1 - packing.starts(flip(segment)).astype(self.dtype)
        inputs = jnp.moveaxis(self.inputs(flip(x)), 1, 0)
        return flip(jnp.moveaxis(recurrence(inputs, self.weight.astype(self.dtype), keep.T), 0, 1))

    def step(self, x: Float[Array, "B K D"], state: LSTMState) -> LSTMState:
        return _cell(state, self.inputs(x), self.weight.astype(self.dtype))[0]


class GNMT(nn.Module):
    """Translates token rows: bidirectional first layer, residuals from the third on, context for all upper layers."""

    vocabulary: int
    """Pieces of the shared vocabulary."""
    width: int = 256
    """Units of each LSTM, and features of an embedding."""
    layers: int = 3
    """LSTM layers of the encoder, and of the decoder; at least 2."""
    dropout: float = 0.2
    """Share of the inputs of each layer that is dropped."""
    additive: bool = False
    """Attention scores by a small network (Bahdanau et al., 2015, as in the paper) instead of by a product (Luong et
    al., 2015); it needs an array [T, S, D] a row, which is slow on a CPU."""
    dtype: Any = jnp.float32
    """Type of activations and products; parameters stay float32."""

    def setup(self):
        self.table = self.param(
            "embedding", nn.initializers.normal(self.width**-0.5), (self.vocabulary, self.width), jnp.float32
        )
        lstm = lambda **options: LSTM(self.width, dtype=self.dtype, **options)  # noqa: E731
        self.forward, self.backward = lstm(), lstm(reverse=True)
        self.encoder = [lstm() for _ in range(self.layers - 1)]
        self.decoder = [lstm() for _ in range(self.layers)]
        self.query, self.key = (
            nn.Dense(self.width, use_bias=False, dtype=self.dtype, dot_general=dense) for _ in range(2)
        )
        if self.additive:
            self.energy = nn.Dense(1, use_bias=False, dtype=self.dtype)
        self.final = nn.Dense(self.width, dtype=self.dtype, dot_general=dense)
        self.drop = nn.Dropout(self.dropout)

    def embed(self, tokens: Int[Array, "..."]) -> Float[Array, "... D"]:
        return (self.table[tokens] * jnp.float32(self.width**0.5)).astype(self.dtype)

    def encode(self, source: Int[Array, "B S"], train: bool = False) -> Memory:
        segment = packing.segments(source)
        x = self.drop(self.embed(source), deterministic=not train)
        x = jnp.concatenate([self.forward(x, segment), self.backward(x, segment)], axis=-1)
        for n, layer in enumerate(self.encoder):
            y = layer(self.drop(x, deterministic=not train), segment)
            x = x + y if n else y  # the bidirectional layer's output is twice as wide
        return Memory(self.key(x), x, segment)

    def attend(self, x: Float[Array, "B T D"], memory: Memory, visible: Bool[Array, "B T S"]) -> tuple[Array, Array]:
        """Context [B, T, D] and attention [B, T, S]."""
        query = self.query(x)
        if self.additive:
            scores = self.energy(jnp.tanh(query[:, :, None] + memory.keys[:, None]))[..., 0]
        else:
            scores = jnp.einsum("btd,bsd->bts", query * self.width**-0.5, memory.keys)
        weights = jax.nn.softmax(jnp.where(visible, scores.astype(jnp.float32), jnp.float32(-1e9)), axis=-1)
        return jnp.einsum("bts,bsd->btd", weights.astype(self.dtype), memory.values), weights

    def decode(self, memory: Memory, target: Int[Array, "B T"], train: bool = False) -> tuple[Array, Array]:
        """Features [B, T, D] that predict each token of `target` from those before, and the attention [B, T, S]."""
        segment = packing.segments(target)
        x = self.drop(self.embed(packing.shifted(target)), deterministic=not train)
        x = self.decoder[0](x, segment)
        context, weights = self.attend(x, memory, packing.same(segment, memory.segment))
        for n, layer in enumerate(self.decoder[1:]):
            y = layer(self.drop(jnp.concatenate([x, context], axis=-1), deterministic=not train), segment)
            x = x + y if n else y
        return self.readout(x, context), weights

    def readout(self, x: Float[Array, "... D"], context: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """What the softmax sees: the top layer and the context (Luong et al., 2015, equation 5)."""
        return jnp.tanh(self.final(jnp.concatenate([x, context], axis=-1)))

    def __call__(self, source: Int[Array, "B S"], target: Int[Array, "B T"], train: bool = False):
        """Features [B, T, D] and the table [V, D]; their product are the logits of each token of `target`."""
        return self.decode(self.encode(source, train), target, train)[0], self.table

    def start(self, memory: Memory, beams: int, length: int) -> tuple[LSTMState, ...]:
        """States of the decoder layers before the first token; an LSTM needs no room for `length` tokens."""
        del length
        zeros = jnp.zeros((memory.values.shape[0], beams, self.width), self.dtype)
        return ((zeros, zeros),) * self.layers

    def step(
        self,
        memory: Memory,
        cache: tuple[LSTMState, ...],
        token: Int[Array, "B K"],
        ancestors: Int[Array, "B K L"],
        position: Int[Array, ""],
    ) -> tuple[Array, Array, tuple[LSTMState, ...]]:
        """One token further, as `decode.Model` says: (logits [B, K, V], attention [B, K, S], cache)."""
        parent = jax.lax.dynamic_index_in_dim(ancestors, jnp.maximum(position - 1, 0), axis=2)
        cache = jax.tree.map(lambda state: jnp.take_along_axis(state, parent, axis=1), cache)
        states = [self.decoder[0].step(self.embed(token), cache[0])]
        x = states[0][0]
        context, weights = self.attend(x, memory, (memory.segment > 0)[:, None, :])
        for n, (layer, state) in enumerate(zip(self.decoder[1:], cache[1:], strict=True)):
            states.append(layer.step(jnp.concatenate([x, context], axis=-1), state))
            x = x + states[-1][0] if n else states[-1][0]
        features = self.readout(x, context)
        logits = jnp.einsum("bkd,vd->bkv", features, self.table.astype(self.dtype), preferred_element_type=jnp.float32)
        return logits, weights, tuple(states)


PAPER = dict(width=1024, layers=8, dropout=0.2, additive=True)
"""The paper's size (its vocabulary: 32,000 word pieces)."""
