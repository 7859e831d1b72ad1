"""How long phonemes last by other means than the synthesiser's: as long as usual, and as a recogniser hears it."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from deeplearn.competitors.speech import looked
from deeplearn.data.doors.teacher import Lesson, told
from deeplearn.methods import lattice, prosody, segmental
from deeplearn.methods.prosody import Measured
from deeplearn.methods.sound import Mel, frames

ENOUGH = 400
"""Recordings from which the recogniser's letters are matched with phonemes."""


def timings(
    train: Sequence[Lesson], found: Sequence[Measured], test: Sequence[Lesson], judge: Any, mel: Mel, states: int
) -> dict[str, dict[str, float]]:
    """Competitor -> its error in milliseconds on the test, where a machine tells how long its phonemes are.

    Args:
        found: of `train`.
        judge: a trained model of `recognition`, or None.
        states: of a phoneme, which are the fewest frames it lasts.
    """
    true = told(test, mel.hop)
    if not true:
        return {}
    usual = prosody.medians([own.phonemes for own in train], found, [own.phonemes for own in test])
    scored = {"usual durations": {"duration_error": prosody.duration_error(usual, true, mel)}}
    if judge is not None:
        cut = aligned(judge, train[:: -(-len(train) // ENOUGH)], test, mel, states)
        scored["alignment by our recogniser"] = {"boundary_error": prosody.boundary_error(cut, true, mel)}
    return scored


def aligned(
    judge: Any, train: Sequence[Lesson], test: Sequence[Lesson], mel: Mel, states: int
) -> list[Int[np.ndarray, "U"]]:
    """Frames of each phoneme of the test by the forced alignment of `judge`, a trained model of `recognition`.

    It aligns letters. Which of them are which phoneme is learnt from `train`, by the search that otherwise learns which
    spectra they are.
    """
    names = sorted({name for lesson in (*train, *test) for name in lesson.phonemes})
    numbers = {name: number for number, name in enumerate(names)}
    learnt, judged = ([[numbers[name] for name in lesson.phonemes] for lesson in part] for part in (train, test))
    aligner = segmental.fit(spelled_out(judge, train, mel), learnt, len(numbers), states=states)
    return segmental.durations(aligner, spelled_out(judge, test, mel), judged)


def spelled_out(judge: Any, lessons: Sequence[Lesson], mel: Mel) -> list[Float[np.ndarray, "F V"]]:
    """One for the letter that each frame of a recording is nearest to on the best path through its text, else zero."""
    rows, (logp, steps) = looked(judge, [own.sound for own in lessons], [own.text for own in lessons], mel.rate)
    chart = lattice.ctc(jnp.asarray(logp), jnp.asarray(steps), jnp.asarray(rows["label"]), jnp.asarray(rows["letters"]))
    paths, letters = np.asarray(jax.jit(lattice.best)(chart)[0]), np.eye(logp.shape[2], dtype=np.float32)
    own, found = judge.fitted.sound, []
    for lesson, path, count, label in zip(lessons, paths, steps, rows["label"], strict=True):
        spoken = np.flatnonzero(path[:count] % 2)  # the others are blanks
        seconds = np.arange(frames(len(lesson.sound), mel)) * mel.hop / mel.rate
        step = (seconds * own.rate / (own.hop * judge.config.stride)).astype(int)
        nearest = spoken[np.abs(step[:, None] - spoken[None]).argmin(1)]
        found.append(letters[label[path[nearest] // 2]])
    return found
