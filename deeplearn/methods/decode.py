"""Search for the best translation under a model that scores one token at a time; each search is one jitted program.

A sentence's K hypotheses share its memory and its cache. Ancestors say what each sees of the cache, which therefore is
never copied, whichever hypotheses go on. It grows in a few stages, each a loop of its own, so that short hypotheses do
not look at the empty places of long ones.
Letters: B sentences, K beams, V vocabulary, S source tokens, L longest hypothesis, T places in the cache by now.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

NEVER = -1e9  # log-probability of what must not happen; finite, so that differences of two stay numbers
STAGE = 32  # places that a stage adds to the cache; each stage is compiled by itself, hence few of them
PARTS = 16  # of the vocabulary: of 4000 logits 250 maxima are sorted, then the sixteen behind each of the best


class Model(NamedTuple):
    """What a search asks of a model that has read the sources: pure functions."""

    start: Callable[[int], PyTree]
    """length -> an empty cache for so many tokens of every hypothesis; a longer one is a shorter one, padded."""
    step: Callable[[PyTree, Array, Array, Array], tuple[Array, Array, PyTree]]
    """(cache, tokens [B, K], ancestors [B, K, T], position) -> (logits [B, K, V], attention [B, K, S], cache).

    The tokens are the last of every hypothesis; they enter the cache at `position`, each in its own slot of K. At place
    t <= position hypothesis k of sentence b is what slot `ancestors[b, k, t]` holds: its own k at `position`."""


class Search(NamedTuple):
    """The best hypothesis of each sentence."""

    tokens: Int[Array, "B L"]
    """Up to and including `end`, then 0."""
    score: Float[Array, "B"]
    """Log-probability in nats (greedy), or Wu et al.'s score of it (beam)."""


class Path(NamedTuple):
    """Where a greedy search stands."""

    position: Int[Array, ""]
    cache: PyTree
    tokens: Int[Array, "B L"]
    score: Float[Array, "B"]
    done: Bool[Array, "B"]


def allowed(size: Int[Array, "B"]) -> Int[Array, "B"]:
    """Tokens that a translation of a source of so many may have, END included in both.

    More is babble, which a search would follow to the last place; the ten are for sources of a word or two.
    """
    return 10 + 3 * size // 2


def remembered(encode: Callable[[Int[Array, "B S"]], PyTree], source: Int[Array, "B S"]) -> PyTree:
    """What a model remembers of rows of tokens that end in padding (0): `encode(source)`, read no further than needed.

    The longest row decides how many places are read, in steps of STAGE. The memory's further places are zeros, which
    have to mean padding there, too.
    """
    whole, rooms = jax.eval_shape(encode, source), _rooms(source.shape[1])

    def up_to(room: int) -> Callable[[Array], PyTree]:
        return lambda source: jax.tree.map(_padded, encode(source[:, :room]), whole)

    longest = (source != 0).any(0).sum()
    return jax.lax.switch(jnp.searchsorted(jnp.array(rooms), longest), [up_to(room) for room in rooms], source)


def greedy(
    model: Model,
    source: Bool[Array, "B S"],
    *,
    begin: int,
    end: int,
    length: int,
    limit: Int[Array, "B"] | None = None,
) -> Search:
    """The likeliest token at every place; a sentence's last place (see `beam_search`) is `end`, so that it ends."""
    batch = source.shape[0]
    limit = _limits(limit, batch, length)

    def unfinished(state: Path):
        return ~state.done.all()

    def extend(room: int, state: Path) -> Path:
        position, previous = state.position, _previous(state.tokens, state.position, begin)
        alone = jnp.zeros((batch, 1, room), jnp.int32)
        logits, _, cache = model.step(state.cache, previous[:, None], alone, position)
        best, token, total = _best(logits[:, 0], 1)
        last = position >= limit - 1
        token = jnp.where(state.done, 0, jnp.where(last, end, token[:, 0]))
        logp = jnp.where(last, logits[:, 0, end], best[:, 0]) - total
        return Path(
            position=position + 1,
            cache=cache,
            tokens=_written(state.tokens, token, position),
            score=state.score + jnp.where(state.done, jnp.float32(0), logp),
            done=state.done | (token == end),
        )

    start = Path(
        position=jnp.int32(0),
        cache=None,
        tokens=jnp.zeros((batch, length), jnp.int32),
        score=jnp.zeros(batch),
        done=jnp.zeros(batch, bool),
    )
    found = _in_stages(model, length, unfinished, extend, start)
    return Search(found.tokens, found.score)


class Beams(NamedTuple):
    """Where a beam search stands: K hypotheses that go on, and the best one that has ended."""

    position: Int[Array, ""]
    cache: PyTree
    tokens: Int[Array, "B K L"]
    ancestors: Int[Array, "B K L"]
    logp: Float[Array, "B K"]
    coverage: Float[Array, "B K S"]
    best_tokens: Int[Array, "B L"]
    best_score: Float[Array, "B"]


def beam_search(
    model: Model,
    source: Bool[Array, "B S"],
    *,
    begin: int,
    end: int,
    length: int,
    beams: int,
    alpha: float = 0.6,
    beta: float = 0.0,
    limit: Int[Array, "B"] | None = None,
) -> Search:
    """Beam search with length normalisation and coverage penalty (Wu et al., 2016, equation 14).

    score(Y) = log P(Y) / lp(Y) + beta * sum_s log(min(attention received by s, 1)), lp(Y) = ((5 + |Y|) / 6) ** alpha.
    It stops when no open hypothesis can come to beat the best that has ended, hence exact within the beam: ending costs
    no place in it, and with K >= V ** (L - 1) the result is the best of all hypotheses of at most `limit` tokens.

    Args:
        source: True for real source tokens; padding needs no coverage.
        length: L; room for the longest hypothesis of all.
        limit: most tokens of each sentence's hypothesis, 1 to L (by default L); its token at that place is `end`. A
            search goes on for as long as a longer hypothesis could win, so a limit near the truth saves much of it.
        alpha: 0 compares plain log-probabilities; 0.6 is the paper's.
        beta: 0 ignores coverage; 0.2 is the paper's.
    """
    batch = source.shape[0]
    limit = _limits(limit, batch, length)

    def unfinished(state: Beams):
        most = state.logp[:, 0] / _length_penalty(limit.astype(jnp.float32), alpha)  # log P only falls, coverage costs
        return ((state.position < limit) & (most > state.best_score)).any()

    def extend(room: int, state: Beams) -> Beams:
        position, previous = state.position, _previous(state.tokens, state.position, begin)
        ancestors = _written(state.ancestors, jnp.broadcast_to(jnp.arange(beams), (batch, beams)), position)
        logits, attention, cache = model.step(state.cache, previous, ancestors[..., :room], position)
        best, token, total = _best(logits, min(beams + 1, logits.shape[-1]))  # one of these may be `end`
        coverage = state.coverage + attention.astype(jnp.float32)
        ended = _better(state, state.logp + logits[..., end] - total, coverage)
        closed = (token == end) | (position >= limit - 1)[:, None, None]
        logp = jnp.where(closed, jnp.float32(NEVER), best - total[..., None]) + state.logp[..., None]
        logp, choice = jax.lax.top_k(logp.reshape(batch, -1), beams)
        parent, token = choice // token.shape[-1], jnp.take_along_axis(token.reshape(batch, -1), choice, axis=1)
        follow = lambda x: jnp.take_along_axis(x, parent[..., None], axis=1)  # noqa: E731
        return Beams(
            position + 1,
            cache,
            _written(follow(state.tokens), token, position),
            follow(ancestors),
            logp,
            follow(coverage),
            *ended,
        )

    def _better(state: Beams, logp: Float[Array, "B K"], coverage: Float[Array, "B K S"]):
        """The best ended hypothesis, after each open one was offered to end here."""
        uncovered = jnp.log(jnp.clip(coverage, 1e-9, 1.0)).sum(-1, where=source[:, None, :])
        size = (state.position + 1).astype(jnp.float32)
        score = logp / _length_penalty(size, alpha) + jnp.float32(beta) * uncovered
        first, top = score.argmax(1), score.max(1)
        tokens = jnp.take_along_axis(state.tokens, first[:, None, None], axis=1)[:, 0]
        tokens = _written(tokens, jnp.full(batch, end), state.position)
        wins = top > state.best_score
        return jnp.where(wins[:, None], tokens, state.best_tokens), jnp.where(wins, top, state.best_score)

    start = Beams(
        position=jnp.int32(0),
        cache=None,
        tokens=jnp.zeros((batch, beams, length), jnp.int32),
        ancestors=jnp.zeros((batch, beams, length), jnp.int32),
        logp=jnp.full((batch, beams), NEVER).at[:, 0].set(0.0),  # all beams start alike: only one may go on
        coverage=jnp.zeros((batch, beams, source.shape[1])),
        best_tokens=jnp.zeros((batch, length), jnp.int32),
        best_score=jnp.full(batch, NEVER),
    )
    found = _in_stages(model, length, unfinished, extend, start)
    return Search(found.best_tokens, found.best_score)


State = TypeVar("State", Path, Beams)


def _in_stages(
    model: Model, length: int, unfinished: Callable[[State], Array], extend: Callable[[int, State], State], start: State
) -> State:
    """Extend while unfinished, in a cache that has room for STAGE tokens, then twice as many, and so on."""
    state = start
    for room in _rooms(length):
        cache = model.start(room)
        state = state._replace(cache=cache if state.cache is None else jax.tree.map(_padded, state.cache, cache))
        more = lambda state, room=room: (state.position < room) & unfinished(state)  # noqa: E731
        state = jax.lax.while_loop(more, partial(extend, room), state)
    return state


def _rooms(length: int) -> list[int]:
    """How many places there are in each stage."""
    return [*range(STAGE, length, STAGE), length]


def _padded(part: Array, whole: Array | jax.ShapeDtypeStruct) -> Array:
    """Zeros of the shape of `whole`, but for the part at the start of every axis."""
    return jnp.pad(part, [(0, size - own) for own, size in zip(part.shape, whole.shape, strict=True)])


def _best(
    logits: Float[Array, "... V"], k: int
) -> tuple[Float[Array, "... k"], Int[Array, "... k"], Float[Array, "..."]]:
    """The k largest, largest first; which they are; and the logarithm of the sum of the exponentials of all.

    The vocabulary is cut into parts that lie one upon the other: the k largest are in the columns with the k largest
    maxima. A reduction over columns, unlike one over a row, uses a processor's vectors.
    """
    shape, size = logits.shape[:-1], logits.shape[-1]
    logits = logits.reshape(-1, size).astype(jnp.float32)
    width = size // PARTS
    if width <= k:
        value, token = jax.lax.top_k(logits, k)
        total = jax.nn.logsumexp(logits, axis=-1)
        return value.reshape(*shape, k), token.reshape(*shape, k), total.reshape(shape)
    parts, rest = logits[:, : PARTS * width].reshape(-1, PARTS, width), logits[:, PARTS * width :]
    tallest = parts.max(1)
    top = jnp.concatenate([tallest, rest], axis=1).max(1)
    total = jnp.exp(parts - top[:, None, None]).sum((1, 2)) + jnp.exp(rest - top[:, None]).sum(1)
    column = jax.lax.top_k(tallest, k)[1]
    places = (column[:, None, :] + width * jnp.arange(PARTS)[None, :, None]).reshape(-1, PARTS * k)
    left = jnp.broadcast_to(jnp.arange(PARTS * width, size)[None], rest.shape)
    place = jnp.concatenate([places, left], axis=1)
    value, found = jax.lax.top_k(jnp.take_along_axis(logits, place, axis=1), k)
    token = jnp.take_along_axis(place, found, axis=1)
    return value.reshape(*shape, k), token.reshape(*shape, k), (jnp.log(total) + top).reshape(shape)


def _previous(tokens: Int[Array, "... L"], position: Int[Array, ""], begin: int) -> Int[Array, "..."]:
    """The last token of every hypothesis."""
    last = jax.lax.dynamic_index_in_dim(tokens, jnp.maximum(position - 1, 0), axis=-1, keepdims=False)
    return jnp.where(position == 0, begin, last)


def _written(tokens: Int[Array, "... L"], token: Int[Array, "..."], position: Int[Array, ""]) -> Int[Array, "... L"]:
    return jax.lax.dynamic_update_slice_in_dim(tokens, token[..., None].astype(tokens.dtype), position, axis=-1)


def _limits(limit: Int[Array, "B"] | None, batch: int, length: int) -> Int[Array, "B"]:
    return jnp.full(batch, length) if limit is None else jnp.clip(limit, 1, length)


def _length_penalty(size: Float[Array, "..."], alpha: float) -> Float[Array, "..."]:
    return ((5 + size) / 6) ** jnp.float32(alpha)
