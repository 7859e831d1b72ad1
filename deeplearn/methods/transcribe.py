"""Recordings of any length: a network that sees one size of window hears them whole, and words get their times.

Letters: F frames of features, W frames of a window, T steps (F / stride), V symbols of which 0 is the blank, P steps of
a piece.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from deeplearn.methods import lattice
from deeplearn.methods.ctc_search import beam_search
from deeplearn.methods.ngram import NGram

searched = jax.jit(beam_search, static_argnames=("beams", "weight", "bonus"))
"""The beam search, compiled once for each shape and knob."""


class Word(NamedTuple):
    """A word that was heard."""

    text: str
    start: float
    """In seconds."""
    end: float
    confidence: float
    """Geometric mean of the probabilities of its letters where they were heard: 1 is certain."""


def described(words: Sequence[Word]) -> dict[str, str | float]:
    """The text, where each word begins and ends, and how sure all of it is."""
    sure = [np.log(word.confidence) for word in words]
    return {
        "text": " ".join(word.text for word in words),
        "starts": " ".join(f"{word.start:.2f}" for word in words),
        "ends": " ".join(f"{word.end:.2f}" for word in words),
        "confidence": float(np.exp(np.mean(sure))) if words else 0.0,
    }


def windowed(
    run: Callable[[Float[np.ndarray, "N W M"], Int[np.ndarray, "N"]], Float[np.ndarray, "N T V"]],
    features: Float[np.ndarray, "F M"],
    *,
    window: int,
    margin: int,
    stride: int,
) -> Float[np.ndarray, "T V"]:
    """The outputs for all frames, from overlapping windows whose margins are thrown away.

    Equal to one look at the whole where the margin is as wide as what the network sees.

    Args:
        run: (windows, their real frames) -> outputs, one for each `stride` frames.
        window, margin: frames, multiples of `stride`.
    """
    count, core = len(features), window - 2 * margin
    if count <= window:
        starts = [0]
    else:
        starts = list(range(0, count - window, core))
        starts.append(-(-(count - window) // stride) * stride)
    parts = np.zeros((len(starts), window, features.shape[1]), np.float32)
    real = np.array([min(window, count - start) for start in starts], np.int32)
    for part, start, size in zip(parts, starts, real, strict=True):
        part[:size] = features[start : start + size]
    outputs = run(parts, real)
    # Each window answers from the middle of its overlap with the one before to that with the one after.
    inner = [(before + window + after) // 2 // stride for before, after in itertools.pairwise(starts)]
    spans = itertools.pairwise([0, *inner, -(-count // stride)])
    return np.concatenate(
        [
            own[low - start // stride : high - start // stride]
            for own, start, (low, high) in zip(outputs, starts, spans, strict=True)
        ]
    )


def pieces(logp: Float[np.ndarray, "T V"], longest: int) -> list[slice]:
    """Stretches of at most so many steps, cut in the middle of the longest run of blanks in each one's second half."""
    blank, found, start = logp.argmax(1) == 0, [], 0
    while len(logp) - start > longest:
        half = start + longest // 2
        run, best = 0, (0, start + longest)
        for place in range(half, start + longest):
            run = run + 1 if blank[place] else 0
            best = max(best, (run, place + 1 - (run + 1) // 2), key=lambda pair: pair[0])
        found.append(slice(start, best[1]))
        start = best[1]
    return [*found, slice(start, len(logp))]


def transcribed(
    logp: Float[np.ndarray, "T V"],
    model: NGram,
    letters: str,
    seconds: float,
    *,
    beams: int,
    weight: float,
    bonus: float,
    longest: int = 256,
    together: int = 8,
) -> list[Word]:
    """The words of a recording of any length: cut into pieces where it is quiet, searched, and aligned.

    Args:
        seconds: of one step.
        beams, weight, bonus: of the search.
        longest: steps of a piece.
        together: pieces in one batch; with `longest` one shape, whatever the recording's length.
    """
    cuts = pieces(logp, longest)
    rows = np.zeros((-(-len(cuts) // together) * together, longest, logp.shape[1]), np.float32)
    steps = np.zeros(len(rows), np.int32)
    for number, cut in enumerate(cuts):
        steps[number] = cut.stop - cut.start
        rows[number, : steps[number]] = logp[cut]
    knobs = {"beams": beams, "weight": weight, "bonus": bonus}
    found = []
    for start in range(0, len(rows), together):
        part = slice(start, start + together)
        symbols = np.asarray(searched(rows[part], steps[part], model, **knobs)[0]).tolist()
        texts = ["".join(letters[number - 1] for number in row if number).strip() for row in symbols]
        for cut, words in zip(cuts[part], aligned(rows[part], steps[part], texts, letters, seconds), strict=False):
            shift = cut.start * seconds
            found += [word._replace(start=word.start + shift, end=word.end + shift) for word in words]
    return found


def aligned(
    logp: Float[np.ndarray, "N P V"], steps: Int[np.ndarray, "N"], texts: Sequence[str], letters: str, seconds: float
) -> list[list[Word]]:
    """The words of each row's text with the times at which they were said.

    Args:
        steps: real steps of each row.
        texts: what was heard in it, of `letters` whose numbers begin with 1.
        seconds: of one step.
    """
    longest = logp.shape[1]
    labels = np.zeros((len(texts), longest), np.int32)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = [letters.index(letter) + 1 for letter in text]
    sizes = np.array([len(text) for text in texts], np.int32)
    chart = lattice.ctc(jnp.asarray(logp), jnp.asarray(steps), jnp.asarray(labels), jnp.asarray(sizes))
    path = np.asarray(lattice.best(chart)[0])
    chosen = np.take_along_axis(np.asarray(chart.scores), path[..., None], axis=2)[..., 0]
    return [
        _words(text, path[row, : steps[row]], chosen[row], seconds) if text else [] for row, text in enumerate(texts)
    ]


def _words(text: str, path: Int[np.ndarray, "P"], logp: Float[np.ndarray, "P"], seconds: float) -> list[Word]:
    found, at = [], 0
    for word in text.split(" "):
        here = np.flatnonzero((path >= 2 * at + 1) & (path <= 2 * (at + len(word)) - 1) & (path % 2 == 1))
        at += len(word) + 1
        if len(here):
            sure = float(np.exp(logp[here].mean()))
            found.append(Word(word, float(here[0] * seconds), float((here[-1] + 1) * seconds), sure))
    return found
