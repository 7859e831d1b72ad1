"""Monotonic lattices: a row of states, of which each frame keeps the one of the frame before or moves on to the next.

The sum over all paths is connectionist temporal classification (Graves et al., 2006); the best path is forced alignment
and the monotonic alignment search of Glow-TTS (Kim et al., 2020). Both are one scan over the frames.
Letters: B rows, T frames, S states, U labels, V symbols of which 0 is the blank.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplearn.methods.decode import NEVER


class Lattice(NamedTuple):
    """What may follow what."""

    scores: Float[Array, "B T S"]
    """Log-score of every state at every frame."""
    optional: Bool[Array, "B S"]
    """States that may be left out, such as the blanks of CTC and the pauses between words."""
    states: Int[Array, "B"]
    """How many states are real."""
    frames: Int[Array, "B"]
    """How many frames are real."""


def total(lattice: Lattice) -> Float[Array, "B"]:
    """The logarithm of the summed scores of all paths through all states; about -1e9 where there is no path."""
    last, _ = _sweep(lattice, jax.nn.logsumexp)
    return jax.nn.logsumexp(_endings(lattice, last), axis=0)


def best(lattice: Lattice) -> tuple[Int[Array, "B T"], Float[Array, "B"]]:
    """(the state of every frame on the best path, its log-score); behind the last frame its state goes on."""
    last, steps = _sweep(lattice, jnp.max)
    endings = _endings(lattice, last)
    time = jnp.arange(lattice.scores.shape[1])[:, None] < lattice.frames[None]  # [T, B]

    def back(state: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        step, real = at
        before = state - jnp.take_along_axis(step, state[:, None], axis=1)[:, 0]
        return jnp.where(real, before, state), state

    _, path = jax.lax.scan(back, lattice.states - 1 - endings.argmax(0), (steps, time), reverse=True)
    return path.T, endings.max(0)


def durations(path: Int[Array, "B T"], frames: Int[Array, "B"], states: int) -> Int[Array, "B S"]:
    """How many frames of a path are spent in each state."""
    real = jnp.arange(path.shape[1])[None] < frames[:, None]
    here = (path[..., None] == jnp.arange(states)[None, None]) & real[..., None]
    return here.sum(1, dtype=jnp.int32)


def _sweep(lattice: Lattice, merge) -> tuple[Float[Array, "B S"], Int[Array, "T B S"]]:
    """(merged score of the paths into each state at the last frame, the likeliest step into it: 0, 1 or 2 states)."""
    scores, optional, _, frames = lattice
    first = jnp.arange(scores.shape[2])[None] <= optional[:, :1].astype(jnp.int32)  # the second state may be the first
    jump = _behind(optional, 1, False)

    def step(now: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        score, time = at
        jumped = jnp.where(jump, _behind(now, 2, NEVER), NEVER)
        ways = jnp.stack([now, _behind(now, 1, NEVER), jumped])
        moved = jnp.where((time < frames)[:, None], merge(ways, axis=0) + score, now)
        return moved, ways.argmax(0).astype(jnp.int32)

    start = jnp.where(first, scores[:, 0], NEVER)
    rest = jnp.moveaxis(scores, 1, 0)[1:]
    last, steps = jax.lax.scan(step, start, (rest, jnp.arange(1, scores.shape[1])))
    return last, jnp.concatenate([jnp.zeros((1, *start.shape), jnp.int32), steps])


def _behind(x: Array, count: int, fill: float | bool) -> Array:
    """[B, S] shifted to later states."""
    return jnp.pad(x, [(0, 0), (count, 0)], constant_values=fill)[:, : x.shape[1]]


def _endings(lattice: Lattice, last: Float[Array, "B S"]) -> Float[Array, "2 B"]:
    """Scores of ending in the last state, and in the one before where the last may be left out."""
    final = (lattice.states - 1)[:, None]
    pick = lambda x, place: jnp.take_along_axis(x, jnp.maximum(place, 0), axis=1)[:, 0]  # noqa: E731
    early = pick(lattice.optional, final) & (final[:, 0] > 0)
    return jnp.stack([pick(last, final), jnp.where(early, pick(last, final - 1), NEVER)])


def ctc(
    logp: Float[Array, "B T V"], frames: Int[Array, "B"], labels: Int[Array, "B U"], sizes: Int[Array, "B"]
) -> Lattice:
    """Labels with blanks around them; a blank must stand between two equal labels."""
    shape = (len(labels), 2 * labels.shape[1] + 1)
    symbols = jnp.zeros(shape, labels.dtype).at[:, 1::2].set(labels)
    equal = labels[:, 1:] == labels[:, :-1]
    optional = jnp.zeros(shape, bool).at[:, ::2].set(True).at[:, 2:-1:2].set(~equal)
    # A product with one-hot rows is exact, and unlike a gather's, its gradient is no scatter.
    chosen = jax.nn.one_hot(symbols, logp.shape[2], dtype=logp.dtype)
    scores = jnp.einsum("btv,bsv->bts", logp, chosen, precision="highest")
    return Lattice(scores, optional, 2 * sizes + 1, frames)


def ctc_loss(
    logp: Float[Array, "B T V"], frames: Int[Array, "B"], labels: Int[Array, "B U"], sizes: Int[Array, "B"]
) -> Float[Array, "B"]:
    """Negative log-likelihood of the labels in nats, never below zero; 1e9 where the frames are too few for them."""
    return jnp.maximum(-total(ctc(logp, frames, labels, sizes)), 0.0)


def needed(labels: Int[Array, "B U"], sizes: Int[Array, "B"]) -> Int[Array, "B"]:
    """The fewest frames that can spell the labels: one for each, and a blank between equal ones."""
    inside = jnp.arange(1, labels.shape[1])[None] < sizes[:, None]
    return sizes + ((labels[:, 1:] == labels[:, :-1]) & inside).sum(1, dtype=jnp.int32)
