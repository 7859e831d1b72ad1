"""Greedy and beam search for the likeliest text, against all texts; the n-gram that may guide them."""

import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods import ngram
from deeplearn.methods.ctc_search import beam_search, greedy

TEXTS = [[1, 2, 1, 2], [1, 2, 2], [2, 1], [1, 2, 1]]


def text_of(row):
    return tuple(int(symbol) for symbol in row if symbol)


def chance(model, text):
    """Log-probability of a text and its end."""
    state, total = 0, 0.0
    for symbol in (*text, 0):
        total, state = total + model.logp[state, symbol], model.follow[state, symbol]
    return total


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_ngram_is_a_distribution_over_texts(order):
    model = ngram.fit(TEXTS, 3, order)
    np.testing.assert_allclose(np.exp(model.logp).sum(1), 1, rtol=1e-5)
    every = [text for size in range(13) for text in itertools.product((1, 2), repeat=size)]
    total = sum(np.exp(chance(model, text)) for text in every)
    assert 0.8 < total <= 1.0001  # what is missing are longer texts


def test_the_ngram_prefers_what_it_has_seen_and_knows_longer_contexts():
    model = ngram.fit(TEXTS, 3, 4)
    assert chance(model, (1, 2, 1)) > chance(model, (2, 2, 1))
    unigram = ngram.fit(TEXTS, 3, 1)
    assert len(unigram.logp) == 2  # the beginning, and everything else
    for text in TEXTS:
        assert chance(model, text) > chance(unigram, text)


@pytest.fixture(scope="module")
def search():
    """One compilation for all: 200 beams hold all texts of at most 5 frames and 2 symbols."""
    model = ngram.fit(TEXTS, 3, 3)
    run = jax.jit(beam_search, static_argnames=("beams", "weight", "bonus"))
    return model, lambda *args, **knobs: jax.device_get(run(*args, **{"beams": 200, **knobs}))


@pytest.mark.parametrize(("weight", "bonus"), [(0.0, 0.0), (0.7, 0.3)])
def test_a_wide_beam_finds_the_best_of_all_texts(search, weight, bonus):
    model, run = search
    logp = np.asarray(jax.nn.log_softmax(2 * jax.random.normal(jax.random.key(1), (12, 5, 3))))
    frames = np.arange(12) % 5 + 1
    texts, values = run(logp, frames, model, weight=weight, bonus=bonus)
    for row, count in enumerate(frames):
        sums = defaultdict(lambda: -np.inf)
        for path in itertools.product(range(3), repeat=int(count)):
            spelled = tuple(symbol for symbol, _ in itertools.groupby(path) if symbol)
            sums[spelled] = np.logaddexp(sums[spelled], sum(logp[row, t, s] for t, s in enumerate(path)))
        total = {text: value + weight * chance(model, text) + bonus * len(text) for text, value in sums.items()}
        best = max(total, key=total.get)
        assert text_of(texts[row]) == best
        assert values[row] == pytest.approx(total[best], abs=1e-4)


def test_greedy_and_beam_agree_where_frames_are_certain(search):
    model, run = search
    rng = np.random.default_rng(0)
    logp = np.asarray(jax.nn.log_softmax(20 * jnp.asarray(np.eye(3)[rng.integers(0, 3, (12, 5))], jnp.float32)))
    frames = np.full(12, 5)
    found = greedy(jnp.asarray(logp), jnp.asarray(frames))
    texts, _ = run(logp, frames, model, weight=0.0, bonus=0.0)
    assert [text_of(row) for row in found] == [text_of(row) for row in texts]


def test_greedy_removes_repetitions_and_blanks_and_what_lies_behind_the_end():
    symbols = jnp.array([[1, 1, 0, 1, 2, 2, 1]])
    logp = jax.nn.log_softmax(9.0 * jax.nn.one_hot(symbols, 3))
    assert greedy(logp, jnp.array([6])).tolist() == [[1, 1, 2, 0, 0, 0, 0]]
