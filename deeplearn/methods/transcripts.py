"""How far transcripts are from what was said: word and character error rates with the edits that make them up."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from deeplearn.metrics import Each


class Edits(NamedTuple):
    """What turns a hypothesis into its reference."""

    substitutions: int
    deletions: int
    """Missing in the hypothesis."""
    insertions: int
    """Too much in the hypothesis."""
    length: int
    """Words (or characters) of the reference."""


def edits(reference: Sequence, hypothesis: Sequence) -> Edits:
    """The fewest edits; of equally few ways the one that jiwer 4 reports (rapidfuzz's order of preference)."""
    length = len(reference)
    while reference and hypothesis and reference[0] == hypothesis[0]:
        reference, hypothesis = reference[1:], hypothesis[1:]
    while reference and hypothesis and reference[-1] == hypothesis[-1]:
        reference, hypothesis = reference[:-1], hypothesis[:-1]
    distance = _distances(reference, hypothesis)
    row, column = len(reference), len(hypothesis)
    counts = [0, 0, 0]
    while row or column:
        here = distance[row, column]
        unlike = row and column and reference[row - 1] != hypothesis[column - 1]
        if row and here == distance[row - 1, column] + 1:
            counts[1], row = counts[1] + 1, row - 1
        elif unlike and here == distance[row - 1, column - 1] + 1:
            counts[0], row, column = counts[0] + 1, row - 1, column - 1
        elif column and here == distance[row, column - 1] + 1:
            counts[2], column = counts[2] + 1, column - 1
        else:
            row, column = row - 1, column - 1
    return Edits(*counts, length)


def _distances(reference: Sequence, hypothesis: Sequence) -> Int[np.ndarray, "R H"]:
    """Levenshtein distances of all beginnings; a row at a time, since its insertions are a running minimum."""
    names = {symbol: number for number, symbol in enumerate({*reference, *hypothesis})}
    columns = np.arange(len(hypothesis) + 1)
    table = np.empty((len(reference) + 1, len(columns)), np.int64)
    table[0] = columns
    heard = np.array([names[symbol] for symbol in hypothesis], np.int64)
    for row, symbol in enumerate(reference, 1):
        best = table[row - 1] + 1
        best[1:] = np.minimum(best[1:], table[row - 1, :-1] + (heard != names[symbol]))
        table[row] = np.minimum.accumulate(best - columns) + columns
    return table


def rate(counts: Int[np.ndarray, "N 4"]) -> float:
    """Edits a word (or character) of the references."""
    return float(counts[:, :3].sum() / max(counts[:, 3].sum(), 1))


def interval(counts: Int[np.ndarray, "N 4"], groups: Sequence[str], resamples: int = 2000) -> tuple[float, float]:
    """95 % percentile bounds of the rate, by drawing whole groups (speakers) with replacement."""
    place = np.unique(groups, return_inverse=True)[1]
    sums = np.stack([np.bincount(place, counts[:, :3].sum(1)), np.bincount(place, counts[:, 3])], 1)  # [G, 2]
    drawn = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples) @ sums
    low, high = np.quantile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), [0.025, 0.975])
    return float(low), float(high)


def scores(references: Sequence[str], hypotheses: Sequence[str], speakers: Sequence[str]) -> dict[str, Any]:
    """Character and word error rates, edits of words, and bounds over speakers (of one speaker, over utterances)."""
    pairs = list(zip(references, hypotheses, strict=True))
    words = np.array([edits(a.split(), b.split()) for a, b in pairs])
    characters = np.array([edits(a, b) for a, b in pairs])
    groups = speakers if len(set(speakers)) > 1 else [str(number) for number in range(len(pairs))]
    low, high = interval(characters, groups)
    counts = dict(zip(Edits._fields[:3], words[:, :3].sum(0).tolist(), strict=True))
    each = words[:, :3].sum(1) / np.maximum(words[:, 3], 1)
    return {
        "cer": rate(characters),
        "cer_low": low,
        "cer_high": high,
        "wer": rate(words),
        **counts,
        "utterance_wer": Each(each, np.asarray(groups)),
    }
