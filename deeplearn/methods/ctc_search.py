"""The likeliest text under CTC: greedy, or a prefix beam search with a language model.

Letters: B rows, T frames, V symbols of which 0 is the blank, K beams, L longest text.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplearn.methods.decode import NEVER
from deeplearn.methods.ngram import NGram


def greedy(logp: Float[Array, "B T V"], frames: Int[Array, "B"]) -> Int[Array, "B T"]:
    """The likeliest symbol of every frame, repetitions and blanks removed; zeros behind the text."""
    symbols = logp.argmax(-1).astype(jnp.int32)
    before = jnp.pad(symbols, [(0, 0), (1, 0)])[:, :-1]
    real = jnp.arange(symbols.shape[1])[None] < frames[:, None]
    kept = (symbols != 0) & (symbols != before) & real
    order = jnp.argsort(~kept, axis=1, stable=True)
    return jnp.take_along_axis(jnp.where(kept, symbols, 0), order, axis=1)


class Beams(NamedTuple):
    """The best texts so far; no two are equal."""

    text: Int[Array, "K L"]
    size: Int[Array, "K"]
    blank: Float[Array, "K"]
    """Log-probability of all ways to spell the text that end in a blank."""
    label: Float[Array, "K"]
    """Of those that end in its last symbol."""
    language: Float[Array, "K"]
    """Log-probability of the text by the language model."""
    state: Int[Array, "K"]
    """Of the language model."""


def beam_search(
    logp: Float[Array, "B T V"],
    frames: Int[Array, "B"],
    model: NGram,
    *,
    beams: int = 16,
    weight: float = 0.5,
    bonus: float = 0.0,
) -> tuple[Int[Array, "B L"], Float[Array, "B"]]:
    """(texts with zeros behind them, their scores): log p(text | sound) + weight log p(text) + bonus * symbols.

    Hannun et al. (2014), "First-pass large vocabulary continuous speech recognition using bi-directional recurrent
    DNNs". With as many beams as there are texts, and without a language model, it is exact.
    """
    model = NGram(*map(jnp.asarray, model))
    length = logp.shape[1]

    def value(sound: Array, language: Array, size: Array) -> Array:
        return sound + jnp.float32(weight) * language + jnp.float32(bonus) * size.astype(jnp.float32)

    def one(logp: Float[Array, "T V"], frames: Array) -> tuple[Array, Array]:
        nothing = jnp.full(beams, NEVER)
        start = Beams(
            text=jnp.zeros((beams, length), jnp.int32),
            size=jnp.zeros(beams, jnp.int32),
            blank=nothing.at[0].set(0.0),  # one empty text; the others are not there yet
            label=nothing,
            language=jnp.zeros(beams),
            state=jnp.zeros(beams, jnp.int32),
        )

        def step(b: Beams, at: tuple[Array, Array]) -> tuple[Beams, None]:
            now, time = at
            moved = _extended(b, now, model, value)
            return jax.tree.map(lambda new, old: jnp.where(time < frames, new, old), moved, b), None

        b, _ = jax.lax.scan(step, start, (logp, jnp.arange(length)))
        found = value(jnp.logaddexp(b.blank, b.label), b.language + model.logp[b.state, 0], b.size)
        return b.text[found.argmax()], found.max()

    return jax.vmap(one)(logp, frames)


def _extended(b: Beams, now: Float[Array, "V"], model: NGram, value: Callable[..., Array]) -> Beams:
    """The best texts after one more frame: each stays, or grows by a symbol."""
    (beams, length), symbols = b.text.shape, len(now)
    rows, places = jnp.arange(beams), jnp.arange(length)
    both = jnp.logaddexp(b.blank, b.label)
    last = jnp.where(b.size > 0, b.text[rows, b.size - 1], 0)
    blank = both + now[0]
    label = jnp.where(b.size > 0, b.label + now[last], NEVER)
    # A symbol equal to the last one needs a blank between them.
    repeated = jnp.arange(symbols)[None] == last[:, None]
    grown = jnp.where(repeated, b.blank[:, None], both[:, None]) + now[None]
    grown = grown.at[:, 0].set(NEVER)
    # A text that grows into another one of the beam gives its probability to that one.
    same = (b.text[:, None] == b.text[None]) | (places[None, None] >= b.size[:, None, None])
    child = same.all(-1) & (b.size[None] == b.size[:, None] + 1)  # [parent, child]
    given = jnp.where(child, grown[:, last], NEVER).max(0)
    label = jnp.logaddexp(label, given)
    grown = jnp.where((child[:, :, None] & repeated[None]).any(1), NEVER, grown)

    language = b.language[:, None] + model.logp[b.state]  # [K, V]
    staying = value(jnp.logaddexp(blank, label), b.language, b.size)
    growing = value(grown, language, (b.size + 1)[:, None])
    _, choice = jax.lax.top_k(jnp.concatenate([staying, growing.ravel()]), beams)
    stays = choice < beams
    parent = jnp.where(stays, choice, (choice - beams) // symbols)
    symbol = (choice - beams) % symbols
    pick = lambda old, new: jnp.where(stays, old[parent], new[parent, symbol])  # noqa: E731
    write = ~stays[:, None] & (places[None] == b.size[parent][:, None])
    return Beams(
        text=jnp.where(write, symbol[:, None], b.text[parent]).astype(jnp.int32),
        size=b.size[parent] + (~stays).astype(jnp.int32),
        blank=jnp.where(stays, blank[parent], NEVER),
        label=pick(label, grown),
        language=pick(b.language, language),
        state=pick(b.state, model.follow[b.state]),
    )
