"""How recordings are spoken: how long, how high and how loud each phoneme is, in the scales of one corpus.

What FastSpeech 2 (Ren et al., 2021) learns besides the spectrogram, by phoneme as in FastPitch (Łańcucki, 2021).
Letters: N recordings, U phonemes, F frames, M mel bands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from deeplearn.errors import DataError
from deeplearn.methods.sound import Mel

ROOM = 1.3
"""Frames that a prediction may take, as a share of the longest recording."""


class Measured(NamedTuple):
    """One recording as a model hears it."""

    bands: Float[np.ndarray, "F M"]
    """Log-mel."""
    pitch: Float[np.ndarray, "F"]
    """In Hz, 0 where there is none."""
    duration: Int[np.ndarray, "U"]
    """Frames of each phoneme."""


@dataclass(frozen=True, kw_only=True)
class Scales:
    """What was measured on all training recordings, which everything is relative to."""

    sound: Mel
    """The spectrogram."""
    phonemes: tuple[str, ...]
    """Name of each number."""
    speakers: tuple[str, ...]
    mean: tuple[float, ...]
    """Of each band."""
    deviation: tuple[float, ...]
    pitch: tuple[float, float]
    """Mean and deviation of the logarithm of the pitch in Hz."""
    energy: tuple[float, float]
    """Mean and deviation of a frame's mean band."""
    frames: int
    """Most that a prediction can have."""


def scales(
    found: Sequence[Measured], phonemes: Sequence[Sequence[str]], speakers: Sequence[str], mel: Mel, step: int
) -> Scales:
    """Of recordings with the phonemes and speaker of each; room for predictions in multiples of `step` frames."""
    bands = np.concatenate([own.bands for own in found])
    pitch = np.concatenate([own.pitch for own in found])
    most = int(ROOM * max(len(own.bands) for own in found))
    return Scales(
        sound=mel,
        phonemes=tuple(sorted({name for own in phonemes for name in own})),
        speakers=tuple(sorted(set(speakers))),
        mean=tuple(bands.mean(0).tolist()),
        deviation=tuple((bands.std(0) + 1e-3).tolist()),
        pitch=_normal(np.log(pitch[pitch > 0])),
        energy=_normal(bands.mean(1)),
        frames=-(-most // step) * step,
    )


def _normal(values: np.ndarray) -> tuple[float, float]:
    return (float(values.mean()), float(values.std() + 1e-3)) if len(values) else (0.0, 1.0)  # a whisper has no pitch


def asked(
    phonemes: Sequence[Sequence[str]], speakers: Sequence[str], scale: Scales, longest: int
) -> dict[str, np.ndarray]:
    """What prediction reads: numbers of `phonemes` [N, longest], their `sizes` [N] and of the `speaker` [N] of each.

    Raises:
        DataError: a phoneme or a speaker that was never recorded.
    """
    if strangers := sorted(set(speakers) - set(scale.speakers)):
        raise DataError(f"{strangers[0]!r} was never recorded; there are {', '.join(scale.speakers)}")
    numbers = {name: number for number, name in enumerate(scale.phonemes)}
    rows = np.zeros((len(phonemes), longest), np.int32)
    for row, names in zip(rows, phonemes, strict=True):
        if unknown := sorted(set(names) - numbers.keys()):
            raise DataError(f"the voice has never said {' '.join(unknown)}; say it with other words")
        row[: len(names)] = [numbers[name] for name in names]
    sizes = np.array([len(names) for names in phonemes], np.int32)
    who = np.array([scale.speakers.index(name) for name in speakers], np.int32)
    return {"phonemes": rows, "sizes": sizes, "speaker": who}


def columns(
    phonemes: Sequence[Sequence[str]],
    speakers: Sequence[str],
    found: Sequence[Measured],
    scale: Scales,
    frames: int,
    longest: int,
) -> dict[str, np.ndarray]:
    """What training reads: also `bands` [N, frames, M], and `duration`, `pitch`, `energy` [N, longest]."""
    rows = asked(phonemes, speakers, scale, longest)
    rows["bands"] = np.zeros((len(found), frames, len(scale.mean)), np.float16)
    rows["duration"] = np.zeros((len(found), longest), np.int32)
    rows |= {name: np.zeros((len(found), longest), np.float32) for name in ("pitch", "energy")}
    for row, own in enumerate(found):
        size, ends = len(own.duration), np.cumsum(own.duration)
        rows["bands"][row, : len(own.bands)] = (own.bands - np.array(scale.mean)) / np.array(scale.deviation)
        rows["duration"][row, :size] = own.duration
        tone = np.where(own.pitch > 0, (np.log(np.maximum(own.pitch, 1)) - scale.pitch[0]) / scale.pitch[1], 0)
        loud = (own.bands.mean(1) - scale.energy[0]) / scale.energy[1]
        rows["pitch"][row, :size] = _added(tone, ends) / np.maximum(_added(own.pitch > 0, ends), 1)
        rows["energy"][row, :size] = _added(loud, ends) / own.duration
    return rows


def _added(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Sums over the frames of each phoneme."""
    return np.diff(np.concatenate([[0.0], np.cumsum(values)])[np.concatenate([[0], ends])])


def medians(
    phonemes: Sequence[Sequence[str]], found: Sequence[Measured], wanted: Sequence[Sequence[str]]
) -> list[np.ndarray]:
    """Every wanted phoneme as long as it usually is in the recordings [U]: what a duration model has to beat."""
    usual: dict[str, list[int]] = {}
    for names, own in zip(phonemes, found, strict=True):
        for name, frames in zip(names, own.duration.tolist(), strict=True):
            usual.setdefault(name, []).append(frames)
    return [np.array([np.median(usual[name]) for name in names]) for names in wanted]


def duration_error(durations: Sequence[np.ndarray], true: Sequence[np.ndarray], mel: Mel) -> float:
    """Mean difference in milliseconds between frames of phonemes [U]; the silences at the ends do not count."""
    gaps = np.concatenate([np.abs(own - other)[1:-1] for own, other in zip(durations, true, strict=True)])
    return float(gaps.mean() * 1000 * mel.hop / mel.rate)


def boundary_error(durations: Sequence[np.ndarray], true: Sequence[np.ndarray], mel: Mel) -> float:
    """Mean distance in milliseconds between where phonemes end; the last end is that of the recording."""
    gaps = [np.abs(np.cumsum(own) - np.cumsum(other))[:-1] for own, other in zip(durations, true, strict=True)]
    return float(np.concatenate(gaps).mean() * 1000 * mel.hop / mel.rate)
