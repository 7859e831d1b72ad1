"""Search against enumeration of every hypothesis, and cached against uncached models."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods import decode
from deeplearn.methods.decode import Model, beam_search, greedy

BEGIN, END, VOCABULARY, LENGTH = 3, 1, 4, 4


def markov(seed: int, sentences: int = 3, beams: int = 1):
    """A model whose next token depends on the last two and on its sentence: (memory, what a search asks of it)."""
    keys = jax.random.split(jax.random.key(seed), 2)
    shape = (sentences, VOCABULARY, VOCABULARY)
    memory = {
        "logits": 2 * jax.random.normal(keys[0], (*shape, VOCABULARY)),
        "attention": jax.nn.softmax(2 * jax.random.normal(keys[1], (*shape, 3))),
    }
    return memory, asked(memory, beams)


def asked(memory, beams: int) -> Model:
    """The cache holds each slot's tokens [B, K, T]; the token before the last is found through the ancestors."""
    sentences = len(memory["logits"])

    def step(cache, tokens, ancestors, position):
        cache = jax.lax.dynamic_update_slice(cache, tokens[..., None], (0, 0, position))
        row, place = jnp.arange(sentences)[:, None], jnp.maximum(position - 1, 0)
        slot = jax.lax.dynamic_index_in_dim(ancestors, place, axis=2, keepdims=False)
        before = jax.lax.dynamic_index_in_dim(jnp.take_along_axis(cache, slot[..., None], axis=1), place, 2, False)
        last = jnp.where(position == 0, BEGIN, before)
        return memory["logits"][row, last, tokens], memory["attention"][row, last, tokens], cache

    return Model(start=lambda length: jnp.zeros((sentences, beams, length), jnp.int32), step=step)


def every_hypothesis(limit):
    for size in range(limit):
        for body in itertools.product([t for t in range(VOCABULARY) if t != END], repeat=size):
            yield (*body, END)


def score(memory, sentence, tokens, alpha, beta, source):
    """Equation 14 of Wu et al., spelled out."""
    last, previous, logp, received = BEGIN, BEGIN, 0.0, np.zeros(3)
    for token in tokens:
        logits = np.asarray(memory["logits"][sentence, last, previous], np.float64)
        logp += logits[token] - np.log(np.exp(logits).sum())
        received += np.asarray(memory["attention"][sentence, last, previous], np.float64)
        last, previous = previous, token
    coverage = np.log(np.minimum(received, 1.0))[source].sum()
    return logp / ((5 + len(tokens)) / 6) ** alpha + beta * coverage


@pytest.mark.parametrize(
    "alpha, beta, limit", [(0.0, 0.0, None), (0.6, 0.2, None), (1.0, 0.5, None), (0.6, 0.2, [3, 1, 4])]
)
def test_a_wide_beam_finds_the_best_of_all_hypotheses(alpha, beta, limit):
    source = np.array([[True, True, True], [True, True, False], [True, False, False]])
    search = jax.jit(
        lambda memory: beam_search(
            asked(memory, 27),
            source,
            begin=BEGIN,
            end=END,
            length=LENGTH,
            beams=27,
            alpha=alpha,
            beta=beta,
            limit=None if limit is None else jnp.array(limit),
        )
    )
    for seed in range(5):
        memory, _ = markov(seed)
        found = search(memory)
        for sentence in range(3):
            most = LENGTH if limit is None else limit[sentence]
            scores = {h: score(memory, sentence, h, alpha, beta, source[sentence]) for h in every_hypothesis(most)}
            best = max(scores, key=scores.get)
            assert tuple(found.tokens[sentence].tolist())[: len(best)] == best
            assert not found.tokens[sentence, len(best) :].any()
            np.testing.assert_allclose(found.score[sentence], scores[best], rtol=1e-5)


@pytest.mark.parametrize("limit", [None, [4, 3, 2, 1, 1, 2, 3, 4]])
def test_greedy_takes_the_likeliest_token_and_always_ends(limit):
    memory, model = markov(0, sentences=8)
    options = dict(begin=BEGIN, end=END, length=LENGTH, limit=None if limit is None else jnp.array(limit))
    found = greedy(model, jnp.ones((8, 3), bool), **options)
    for sentence, most in enumerate(limit or [LENGTH] * 8):
        last, previous, expected = BEGIN, BEGIN, []
        while END not in expected:
            token = int(memory["logits"][sentence, last, previous].argmax()) if len(expected) < most - 1 else END
            last, previous, expected = previous, token, [*expected, token]
        assert found.tokens[sentence].tolist() == expected + [0] * (LENGTH - len(expected))


def test_sentences_do_not_influence_each_other():
    memory, _ = markov(2, sentences=6)
    search = lambda memory, n: beam_search(  # noqa: E731
        asked(memory, 2), np.ones((n, 3), bool), begin=BEGIN, end=END, length=LENGTH, beams=2, beta=0.2
    )
    together = search(memory, 6)
    alone = search(jax.tree.map(lambda x: x[4:5], memory), 1)
    np.testing.assert_array_equal(together.tokens[4:5], alone.tokens)
    np.testing.assert_allclose(together.score[4:5], alone.score, rtol=1e-6)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_cache_that_grows_changes_nothing(beams, monkeypatch):
    options = dict(begin=BEGIN, end=END, length=9)
    _, model = markov(3, sentences=4, beams=beams)
    search = greedy if beams == 1 else lambda *args, **options: beam_search(*args, beams=beams, **options)
    whole = search(model, np.ones((4, 3), bool), **options)
    monkeypatch.setattr(decode, "STAGE", 2)
    np.testing.assert_array_equal(search(model, np.ones((4, 3), bool), **options).tokens, whole.tokens)


@pytest.mark.parametrize("longest, read", [(1, 2), (2, 2), (3, 4), (6, 6), (7, 7)])
def test_sources_are_read_as_far_as_the_longest(longest, read, monkeypatch):
    monkeypatch.setattr(decode, "STAGE", 2)

    def encode(source):
        return {"places": jnp.where(source > 0, source + 1, 0), "read": jnp.full(3, source.shape[1])}

    source = np.zeros((3, 7), np.int32)
    source[0, :longest], source[2, :1] = 5, 8
    found = decode.remembered(encode, jnp.asarray(source))
    np.testing.assert_array_equal(found["places"], np.where(source > 0, source + 1, 0))
    np.testing.assert_array_equal(found["read"], [read] * 3)


@pytest.mark.parametrize("vocabulary, k", [(200, 5), (197, 5), (40, 5), (5, 5)])
def test_the_best_of_a_vocabulary_in_parts_are_the_best_of_all(vocabulary, k):
    logits = 9 * jax.random.normal(jax.random.key(0), (3, 2, vocabulary))
    value, token, total = decode._best(logits, k)
    expected, places = jax.lax.top_k(logits, k)
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(token, places)
    np.testing.assert_allclose(total, jax.nn.logsumexp(logits, axis=-1), rtol=1e-6)
