"""Search for the best translation under a model that scores one token at a time; each search is one jitted program.

A model is a pure function `step(memory, cache, tokens [N], position) -> (logits [N, V], attention [N, S], cache)`.
The leaves of `memory` and `cache` lead with N = B * K: K hypotheses for each of B sentences, side by side. A sentence's
hypotheses share their memory, so only the cache follows them around.
Letters: B sentences, K beams, N hypotheses, V vocabulary, S source tokens, L longest hypothesis.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

Step = Callable[[PyTree, PyTree, Array, Array], tuple[Array, Array, PyTree]]
NEVER = -1e9  # log-probability of what must not happen; finite, so that differences of two stay numbers


class Search(NamedTuple):
    """The best hypothesis of each sentence."""

    tokens: Int[Array, "B L"]
    """Up to and including `end`, then 0."""
    score: Float[Array, "B"]
    """Log-probability in nats (greedy), or Wu et al.'s score of it (beam)."""


def greedy(
    step: Step,
    memory: PyTree,
    cache: PyTree,
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

    def unfinished(state):
        position, done = state[0], state[3]
        return (position < length) & ~done.all()

    def extend(state):
        position, tokens, score, done, previous, cache = state
        logits, _, cache = step(memory, cache, previous, position)
        last = (position >= limit - 1)[:, None]
        logp = _only_end_at(last, jax.nn.log_softmax(logits.astype(jnp.float32)), end)
        token = jnp.where(done, 0, logp.argmax(-1)).astype(jnp.int32)
        score += jnp.where(done, jnp.float32(0), logp.max(-1))
        tokens = jax.lax.dynamic_update_slice_in_dim(tokens, token[:, None], position, axis=1)
        return position + 1, tokens, score, done | (token == end), token, cache

    nothing = jnp.zeros((batch, length), jnp.int32)
    state = (jnp.int32(0), nothing, jnp.zeros(batch), jnp.zeros(batch, bool), jnp.full(batch, begin, jnp.int32), cache)
    _, tokens, score, *_ = jax.lax.while_loop(unfinished, extend, state)
    return Search(tokens, score)


class Beams(NamedTuple):
    """Where a beam search stands: K hypotheses that go on, and the best one that has ended."""

    position: Int[Array, ""]
    tokens: Int[Array, "B K L"]
    logp: Float[Array, "B K"]
    coverage: Float[Array, "B K S"]
    cache: PyTree
    best_tokens: Int[Array, "B L"]
    best_score: Float[Array, "B"]


def beam_search(
    step: Step,
    memory: PyTree,
    cache: PyTree,
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
        memory, cache: lead with B; they are repeated K times here.
        source: True for real source tokens; padding needs no coverage.
        length: L; room for the longest hypothesis of all.
        limit: most tokens of each sentence's hypothesis, 1 to L (by default L); its token at that place is `end`. A
            search goes on for as long as a longer hypothesis could win, so a limit near the truth saves much of it.
        alpha: 0 compares plain log-probabilities; 0.6 is the paper's.
        beta: 0 ignores coverage; 0.2 is the paper's.
    """
    batch = source.shape[0]
    limit = _limits(limit, batch, length)
    memory, cache = (jax.tree.map(lambda x: jnp.repeat(x, beams, axis=0), tree) for tree in (memory, cache))
    rows = jnp.arange(batch)[:, None]

    def unfinished(state: Beams):
        most = state.logp[:, 0] / _length_penalty(limit.astype(jnp.float32), alpha)  # log P only falls, coverage costs
        return ((state.position < limit) & (most > state.best_score)).any()

    def extend(state: Beams) -> Beams:
        position = state.position
        previous = jnp.where(position == 0, begin, state.tokens[:, :, jnp.maximum(position - 1, 0)])
        logits, attention, cache = step(memory, state.cache, previous.reshape(-1), position)
        logp = jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(batch, beams, -1)
        logp = _only_end_at((position >= limit - 1)[:, None, None], logp, end) + state.logp[..., None]
        coverage = state.coverage + attention.reshape(batch, beams, -1).astype(jnp.float32)
        ended = _better(state, logp[..., end], coverage, position)
        best, choice = jax.lax.top_k(logp.at[..., end].set(NEVER).reshape(batch, -1), beams)
        parent, token = choice // logp.shape[-1], (choice % logp.shape[-1]).astype(jnp.int32)
        follow = lambda x: x.reshape(batch, beams, *x.shape[1:])[rows, parent].reshape(x.shape)  # noqa: E731
        tokens = jax.lax.dynamic_update_slice_in_dim(state.tokens[rows, parent], token[..., None], position, axis=2)
        return Beams(position + 1, tokens, best, coverage[rows, parent], jax.tree.map(follow, cache), *ended)

    def _better(state: Beams, logp: Float[Array, "B K"], coverage: Float[Array, "B K S"], position):
        """The best ended hypothesis, after each open one was offered to end here."""
        uncovered = jnp.log(jnp.clip(coverage, 1e-9, 1.0)).sum(-1, where=source[:, None, :])
        score = logp / _length_penalty((position + 1).astype(jnp.float32), alpha) + jnp.float32(beta) * uncovered
        first, top = score.argmax(1), score.max(1)
        tokens = jnp.take_along_axis(state.tokens, first[:, None, None], axis=1)[:, 0]
        tokens = jax.lax.dynamic_update_slice_in_dim(tokens, jnp.full((batch, 1), end, jnp.int32), position, axis=1)
        wins = top > state.best_score
        return jnp.where(wins[:, None], tokens, state.best_tokens), jnp.where(wins, top, state.best_score)

    start = Beams(
        position=jnp.int32(0),
        tokens=jnp.zeros((batch, beams, length), jnp.int32),
        logp=jnp.full((batch, beams), NEVER).at[:, 0].set(0.0),  # all beams start alike: only one may go on
        coverage=jnp.zeros((batch, beams, source.shape[1])),
        cache=cache,
        best_tokens=jnp.zeros((batch, length), jnp.int32),
        best_score=jnp.full(batch, NEVER),
    )
    done = jax.lax.while_loop(unfinished, extend, start)
    return Search(done.best_tokens, done.best_score)


def _limits(limit: Int[Array, "B"] | None, batch: int, length: int) -> Int[Array, "B"]:
    return jnp.full(batch, length) if limit is None else jnp.clip(limit, 1, length)


def _length_penalty(size: Float[Array, "..."], alpha: float) -> Float[Array, "..."]:
    return ((5 + size) / 6) ** jnp.float32(alpha)


def _only_end_at(last: Bool[Array, "... 1"], logp: Float[Array, "... V"], end: int) -> Float[Array, "... V"]:
    """At the last place of a sentence every token but `end` is out of the question."""
    is_end = jnp.arange(logp.shape[-1]).reshape((1,) * (logp.ndim - 1) + (-1,)) == end
    return jnp.where(last & ~is_end, jnp.float32(NEVER), logp)
