"""What a voice does, and how far two of them are apart: pitch, cepstra, and distances along the best warp of time.

Letters: T samples, F frames, M mel bands, S samples of a frame, L lags.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplearn.methods.sound import Mel, framed, frames, log_mel

LOWEST, HIGHEST = 60.0, 400.0
"""Hz: pitches of most voices."""
COEFFICIENTS = 13
"""Of the cepstrum, without the zeroth, which is loudness."""
DECIBEL = 10 / np.log(10) * np.sqrt(2)
"""From a distance of cepstra to dB (Kubichek, 1993)."""


@partial(jax.jit, static_argnames=("mel", "threshold"))
def pitch(x: Float[Array, "T"], mel: Mel, threshold: float = 0.15) -> Float[Array, "F"]:
    """The pitch in Hz at every frame, 0 where the voice has none: YIN (de Cheveigné & Kawahara, 2002).

    Args:
        threshold: of the normalised difference, below which the first dip is taken for the period.
    """
    least, most = int(mel.rate / HIGHEST), int(np.ceil(mel.rate / LOWEST))
    frame = framed(x, mel)  # [F, S]; its middle is the frame's time
    size, width = mel.size, mel.size - most - 1
    both = jnp.fft.rfft(frame, 2 * size) * jnp.conj(jnp.fft.rfft(frame[:, :width], 2 * size))
    product = jnp.fft.irfft(both, 2 * size)[:, : most + 1]
    power = jnp.pad(jnp.cumsum(jnp.square(frame), axis=1), [(0, 0), (1, 0)])
    shifted = power[:, width : width + most + 1] - power[:, : most + 1]
    difference = jnp.maximum(shifted[:, :1] + shifted - 2 * product, 0.0)  # [F, L], equation 6
    lag = jnp.arange(float(most + 1))[None]
    dip = difference * lag / jnp.maximum(jnp.cumsum(difference, axis=1), 1e-9)  # equation 8
    dip = dip.at[:, 0].set(1.0)

    inner = jnp.pad((dip[:, 1:-1] <= dip[:, :-2]) & (dip[:, 1:-1] < dip[:, 2:]), [(0, 0), (1, 1)])
    found = inner & (dip < threshold) & (lag >= least)
    place = jnp.where(found.any(1), found.argmax(1), jnp.where(lag >= least, dip, 9.0).argmin(1))
    at = lambda step: jnp.take_along_axis(dip, jnp.clip(place + step, 0, most)[:, None], axis=1)[:, 0]  # noqa: E731
    left, here, right = at(-1), at(0), at(1)
    curve = left - 2 * here + right
    offset = jnp.where(curve > 1e-9, 0.5 * (left - right) / jnp.maximum(curve, 1e-9), 0.0)
    hertz = mel.rate / (place.astype(jnp.float32) + jnp.clip(offset, -0.5, 0.5))
    loud = power[:, -1] > 1e-4 * power[:, -1].max()  # 40 dB below the loudest frame nobody sings
    return jnp.where((here < 2 * threshold) & loud, hertz, 0.0)


def heard(sound: Int[np.ndarray, "T"], mel: Mel) -> tuple[Float[np.ndarray, "F M"], Float[np.ndarray, "F"]]:
    """(log-mel bands, pitch) of an int16 sound; whole seconds at a time, to compile seldom."""
    count = frames(len(sound), mel)
    whole = np.pad(sound / np.float32(32768), (0, -len(sound) % mel.rate))
    return np.asarray(_bands(whole, mel))[:count], np.asarray(pitch(whole, mel))[:count]


_bands = jax.jit(log_mel, static_argnames="mel")


def cepstra(bands: Float[np.ndarray, "F M"]) -> Float[np.ndarray, "F C"]:
    """Coefficients 1 to 13 of the orthonormal cosine transform of log-mel bands."""
    count = bands.shape[1]
    place = np.arange(1, COEFFICIENTS + 1)[:, None] * (np.arange(count) + 0.5)
    return bands @ (np.sqrt(2 / count) * np.cos(np.pi * place / count)).T


class Warp(NamedTuple):
    """The pairs of frames on the best monotonic path, and the mean distance along it."""

    first: Int[np.ndarray, "P"]
    second: Int[np.ndarray, "P"]
    distance: float


def warp(a: Float[np.ndarray, "F C"], b: Float[np.ndarray, "G C"]) -> Warp:
    """Dynamic time warping by Euclidean distance with steps (1, 1), (1, 0) and (0, 1) of equal weight."""
    gap = np.sqrt(np.maximum((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None], 0))
    rows, columns = gap.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    for diagonal in range(rows + columns - 1):  # the cells of one are independent of each other
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        column = diagonal - row
        before = np.minimum(total[row, column], np.minimum(total[row, column + 1], total[row + 1, column]))
        total[row + 1, column + 1] = before + gap[row, column]
    row, column, path = rows - 1, columns - 1, []
    while True:
        path.append((row, column))
        if row == column == 0:
            break
        ways = {(row - 1, column - 1): total[row, column], (row - 1, column): total[row, column + 1]}
        ways[(row, column - 1)] = total[row + 1, column]
        row, column = min(ways, key=lambda way: ways[way])
    first, second = np.array(path[::-1]).T
    return Warp(first, second, float(gap[first, second].mean()))


def distortion(a: Float[np.ndarray, "F M"], b: Float[np.ndarray, "G M"]) -> float:
    """Mel-cepstral distortion in dB of two log-mel spectrograms: 13 coefficients without the zeroth, time warped."""
    return DECIBEL * warp(cepstra(a), cepstra(b)).distance


def pitch_error(a: Float[np.ndarray, "F"], b: Float[np.ndarray, "G"], path: Warp) -> float:
    """Root mean squared difference of two pitches in semitones, where both have one; NaN where they never have."""
    a, b = a[path.first], b[path.second]
    both = (a > 0) & (b > 0)
    return float(12 * np.sqrt(np.mean(np.log2(a[both] / b[both]) ** 2))) if both.any() else float("nan")


def likeness(
    sounds: Sequence[Int[np.ndarray, "_"]], real: Sequence[Int[np.ndarray, "_"]], mel: Mel
) -> dict[str, float]:
    """Mean mel-cepstral distortion in dB (`mcd`) and pitch error in semitones of int16 sounds from recordings."""
    ours, theirs = ([heard(sound, mel) for sound in side] for side in (sounds, real))
    paths = [warp(cepstra(a), cepstra(b)) for (a, _), (b, _) in zip(ours, theirs, strict=True)]
    errors = [pitch_error(a, b, path) for (_, a), (_, b), path in zip(ours, theirs, paths, strict=True)]
    known = [error for error in errors if not np.isnan(error)]
    return {
        "mcd": float(DECIBEL * np.mean([path.distance for path in paths])),
        "pitch_error": float(np.mean(known)) if known else float("nan"),
    }
