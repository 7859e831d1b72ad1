"""Sentences as numbers: nothing is lost between lines, token lists and packed rows."""

from types import SimpleNamespace

import numpy as np
import pytest

from deeplearn.data import tokens
from deeplearn.data.text import END, PAD
from deeplearn.data.tokens import packed, rows, tokenized, within
from deeplearn.errors import DataError

PLAIN = SimpleNamespace(encode=list)
"""A tokenizer of what is numbers already."""


def drawn(count=300):
    """Two sides of pairs, as lists."""
    random = np.random.default_rng(0)
    return [[random.integers(4, 99, random.integers(1, 30)).tolist() for _ in range(count)] for _ in range(2)]


@pytest.mark.parametrize("at_once", [7, 1000])
def test_tokens_are_those_of_each_line(at_once, monkeypatch):
    monkeypatch.setattr(tokens, "AT_ONCE", at_once)
    side = [*drawn()[0], []]
    found = tokenized(PLAIN, side)
    assert [found.of(n).tolist() for n in range(len(side))] == side
    assert len(tokenized(PLAIN, []).size) == 0


def test_packing_keeps_every_pair_that_fits_side_by_side(monkeypatch):
    sides = drawn()
    both = [tokenized(PLAIN, side) for side in sides]
    source, target = packed(*both, 24)
    fits = [(a, b) for a, b in zip(*sides, strict=True) if max(len(a), len(b)) < 24]
    found = []
    for row in zip(source, target, strict=True):
        sentences = [np.split(side, np.flatnonzero(side == END) + 1) for side in row]
        assert all(not part[-1].any() for part in sentences)
        found += [(a[:-1].tolist(), b[:-1].tolist()) for a, b in zip(sentences[0][:-1], sentences[1][:-1], strict=True)]
    assert sorted(found) == sorted(fits)
    assert (target != PAD).mean() > 0.7
    monkeypatch.setattr(tokens, "AT_ONCE", 50)
    assert np.array_equal(source, packed(*both, 24)[0])
    with pytest.raises(DataError, match="no pair of sentences fits into 1 tokens"):
        packed(*both, 1)


def test_rows_hold_one_sentence_each():
    np.testing.assert_array_equal(rows([[5, 6], [7, 8, 9, 10]], 4), [[5, 6, END, PAD], [7, 8, 9, END]])


def test_what_is_too_long_is_said_and_refused_where_it_is_most(capsys):
    sources = tokenized(PLAIN, [[7] * n for n in (3, 9, 4)])
    assert within(sources, sources, 10, "training").tolist() == [True, True, True]
    assert capsys.readouterr().err == ""
    assert within(sources, sources, 9, "training").tolist() == [True, False, True]
    assert "1 of 3 training pairs have a side of more than 9 tokens (--length)" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"2 of 3 training pairs have .* give --length \d+"):
        within(sources, sources, 4, "training")
