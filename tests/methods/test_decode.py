"""Search against enumeration of every hypothesis, and cached against uncached models."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods.decode import beam_search, greedy

BEGIN, END, VOCABULARY, LENGTH = 3, 1, 4, 4


def markov(seed: int, sentences: int = 3):
    """A model whose next token depends on the last two and on its sentence: (step, memory)."""
    keys = jax.random.split(jax.random.key(seed), 2)
    shape = (sentences, VOCABULARY, VOCABULARY)
    memory = {
        "logits": 2 * jax.random.normal(keys[0], (*shape, VOCABULARY)),
        "attention": jax.nn.softmax(2 * jax.random.normal(keys[1], (*shape, 3))),
    }

    def step(memory, previous, tokens, position):
        row = jnp.arange(len(tokens))
        last = jnp.where(position == 0, BEGIN, previous)
        return memory["logits"][row, last, tokens], memory["attention"][row, last, tokens], tokens

    return step, memory


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
            step,
            memory,
            jnp.full(3, BEGIN),
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
        step, memory = markov(seed)
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
    step, memory = markov(0, sentences=8)
    options = dict(begin=BEGIN, end=END, length=LENGTH, limit=None if limit is None else jnp.array(limit))
    found = greedy(step, memory, jnp.full(8, BEGIN), jnp.ones((8, 3), bool), **options)
    for sentence, most in enumerate(limit or [LENGTH] * 8):
        last, previous, expected = BEGIN, BEGIN, []
        while END not in expected:
            token = int(memory["logits"][sentence, last, previous].argmax()) if len(expected) < most - 1 else END
            last, previous, expected = previous, token, [*expected, token]
        assert found.tokens[sentence].tolist() == expected + [0] * (LENGTH - len(expected))


def test_sentences_do_not_influence_each_other():
    step, memory = markov(2, sentences=6)
    search = lambda memory, n: beam_search(  # noqa: E731
        step, memory, jnp.full(n, BEGIN), np.ones((n, 3), bool), begin=BEGIN, end=END, length=LENGTH, beams=2, beta=0.2
    )
    together = search(memory, 6)
    alone = search(jax.tree.map(lambda x: x[4:5], memory), 1)
    np.testing.assert_array_equal(together.tokens[4:5], alone.tokens)
    np.testing.assert_allclose(together.score[4:5], alone.score, rtol=1e-6)
