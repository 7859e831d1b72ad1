"""Sentences as token numbers, and rows of them that a model is given."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from deeplearn.data import paged
from deeplearn.data.text import END, PAD
from deeplearn.errors import DataError, note

AT_ONCE = 100_000
"""Lines whose tokens are lists for a while, some 30 MiB."""


class Tokens(NamedTuple):
    """Many sentences as token numbers, one behind the other: lists of millions would take ten times the memory."""

    flat: Int[np.ndarray, "T"]
    start: Int[np.ndarray, "N"]
    """Where each begins."""
    size: Int[np.ndarray, "N"]
    """How many tokens it has."""

    def of(self, n: int) -> Int[np.ndarray, "_"]:
        """Those of one sentence."""
        return self.flat[self.start[n] : self.start[n] + self.size[n]]


def tokenized(tokenizer: Any, lines: Sequence[str]) -> Tokens:
    """The tokens of each line, without END."""
    parts, sizes = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for first in range(0, len(lines), AT_ONCE):
        found = tokenizer.encode(lines[first : first + AT_ONCE])
        sizes.append(np.array([len(own) for own in found], np.int64))
        parts.append(np.fromiter(itertools.chain.from_iterable(found), np.int32, sizes[-1].sum()))
    size = np.concatenate(sizes)
    return Tokens(np.concatenate(parts), np.cumsum(size) - size, size)


def within(sources: Tokens, targets: Tokens, length: int, what: str) -> Bool[np.ndarray, "N"]:
    """Which pairs have at most `length` tokens a side, END included; says how many have not.

    Raises:
        DataError: most have not.
    """
    longest = 1 + np.maximum(sources.size, targets.size)
    fits = longest <= length
    if fits.mean() < 0.5:
        raise DataError(
            f"{(~fits).sum()} of {len(fits)} {what} pairs have a side of more than {length} tokens; give "
            f"--length {int(np.quantile(longest, 0.99))}, which holds 99 %, or shorter sentences."
        )
    if not fits.all():
        note(
            f"note: {(~fits).sum()} of {len(fits)} {what} pairs have a side of more than {length} tokens (--length): "
            "training leaves such out, tests cut them"
        )
    return fits


def rows(sentences: Iterable[Sequence[int]], length: int) -> Int[np.ndarray, "N L"]:
    """One sentence a row, each closed by END and padded; what is too long is cut before END."""
    sentences = list(sentences)
    table = np.full((len(sentences), length), PAD, np.int32)
    for row, tokens in zip(table, sentences, strict=True):
        kept = [*tokens[: length - 1], END]
        row[: len(kept)] = kept
    return table


def packed(
    sources: Tokens, targets: Tokens, length: int, *, seed: int = 0
) -> tuple[Int[np.ndarray, "M L"], Int[np.ndarray, "M L"]]:
    """Several pairs a row: sentence k of a source row belongs to sentence k of the target row.

    Pairs with a side longer than `length - 1` tokens are left out. First fit in random order over a few open rows: rows
    are about 95 % full on both sides, and any row holds short and long sentences alike.

    Raises:
        DataError: no pair fits.
    """
    sizes = np.stack([sources.size, targets.size], axis=1) + 1  # END
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[(sizes <= length).all(1)[order]]
    if not len(order):
        raise DataError(f"no pair of sentences fits into {length} tokens a side; give shorter ones or a larger length.")
    row, place = np.empty(len(order), np.int32), np.empty((len(order), 2), np.int32)
    used: dict[int, tuple[int, int]] = {}  # places taken of each open row, the one that was opened first in front
    closed, opened = [], 0
    for n, (source, target) in enumerate(sizes[order].tolist()):
        fits = (k for k, (a, b) in used.items() if a + source <= length and b + target <= length)
        found = next(fits, None)
        if found is None:
            found, opened = opened, opened + 1
        a, b = used.get(found, (0, 0))
        row[n], place[n], used[found] = found, (a, b), (a + source, b + target)
        if len(used) > 32:  # more open rows pack hardly tighter, and take longer
            fullest = max(used, key=lambda k: max(used[k]))
            del used[fullest]
            closed.append(fullest)
    number = np.argsort(np.array([*closed, *used], np.int32)).astype(np.int32)  # rows in the order they were closed
    columns = zip((sources, targets), place.T, strict=True)
    source, target = (_laid(side, order, number[row], start, opened, length) for side, start in columns)
    return source, target


def _laid(
    sentences: Tokens,
    order: Int[np.ndarray, "N"],
    row: Int[np.ndarray, "N"],
    start: Int[np.ndarray, "N"],
    count: int,
    length: int,
) -> Int[np.ndarray, "M L"]:
    """Sentences `order[n]`, END behind each, in rows `row[n]` from place `start[n]`; PAD, which is 0, elsewhere."""
    table = paged.zeros((count, length), np.int32)
    flat = table.reshape(-1)
    for first in range(0, len(order), AT_ONCE):
        own = slice(first, first + AT_ONCE)
        begin = row[own].astype(np.int64) * length + start[own]
        size = sentences.size[order[own]]
        inside = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        flat[np.repeat(begin, size) + inside] = sentences.flat[np.repeat(sentences.start[order[own]], size) + inside]
        flat[begin + size] = END
    return table
