"""Several sentences in one row of tokens: which token belongs to which sentence, and where in it.

A row is `a b END c d e END PAD PAD`: sentences one after the other, each closed by END, then padding. Everything else
(segments, positions, the decoder's input) follows from the tokens, so a batch carries the tokens alone.
Letters: B rows, T target tokens, S source tokens.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from deeplearn.data.text import BEGIN, END, PAD


def segments(tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Number of each token's sentence in its row, from 1; 0 for padding."""
    ends = (tokens == END).astype(jnp.int32)
    return jnp.where(tokens == PAD, 0, jnp.cumsum(ends, axis=1) - ends + 1)


def starts(segment: Int[Array, "B T"]) -> Bool[Array, "B T"]:
    """True at the first token of each sentence (and of the padding)."""
    return jnp.concatenate([jnp.ones_like(segment[:, :1], bool), segment[:, 1:] != segment[:, :-1]], axis=1)


def positions(segment: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Each token's place in its own sentence, from 0."""
    place = jnp.arange(segment.shape[1], dtype=jnp.int32)[None, :]
    return place - jax.lax.cummax(jnp.where(starts(segment), place, 0), axis=1)


def shifted(tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """What the decoder reads to predict `tokens`: the previous token, BEGIN at the start of each sentence."""
    previous = jnp.roll(tokens, 1, axis=1)
    return jnp.where(starts(segments(tokens)), BEGIN, previous).astype(tokens.dtype)


def same(left: Int[Array, "B T"], right: Int[Array, "B S"]) -> Bool[Array, "B T S"]:
    """True where both belong to the same sentence and neither is padding: what attention may look at."""
    return (left[:, :, None] == right[:, None, :]) & (left > 0)[:, :, None]
