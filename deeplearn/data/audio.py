"""Recordings as mono float32 samples in -1..1, whatever the file holds: WAV of 8 to 32 bits or float, FLAC."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Num

from deeplearn.data import paged
from deeplearn.errors import DataError

SUFFIXES = (".wav", ".flac")


def read(path: str | Path, rate: int | None = None) -> tuple[Float[np.ndarray, "T"], int]:
    """(samples, rate in Hz) of a file; several channels are averaged.

    Args:
        rate: resample to it; by default the file's own.

    Raises:
        DataError: the file is missing, cut off, empty, no WAV or FLAC, or holds numbers that are not finite.
    """
    path = Path(path)
    try:
        found, own = _flac(path) if path.suffix.lower() == ".flac" else _wav(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): give the path of a recording") from error
    samples = _scaled(found)
    if not len(samples):
        raise DataError(f"{path} holds no samples: record it again, or leave it out")
    if not np.isfinite(samples).all():
        raise DataError(f"{path} holds samples that are no numbers: export it again as 16-bit WAV")
    samples = samples.mean(1) if samples.ndim == 2 else samples
    return (samples, own) if rate is None else (resampled(samples, own, rate), rate)


def write(path: str | Path, samples: Float[np.ndarray, "T"], rate: int) -> None:
    """A 16-bit mono WAV file; samples beyond -1..1 are clipped."""
    from scipy.io import wavfile

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, pcm(samples))


def pcm(samples: Float[np.ndarray, "T"]) -> Int[np.ndarray, "T"]:
    """Samples as 16-bit integers: half the memory, and what files hold."""
    return np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)


def resampled(samples: Float[np.ndarray, "T"], old: int, new: int) -> Float[np.ndarray, "T'"]:
    """At another rate, by a polyphase filter that removes what the new rate cannot hold."""
    if old == new:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(old, new)
    return resample_poly(samples, new // common, old // common).astype(np.float32)


def clipped(samples: Float[np.ndarray, "T"]) -> float:
    """Share of the samples that stand at the largest value for three or more in a row: the microphone was too loud."""
    peak = np.abs(samples).max(initial=0.0)
    flat = np.abs(samples) >= 0.999 * peak
    if peak < 0.5 or len(samples) < 3:
        return 0.0
    runs = flat[:-2] & flat[1:-1] & flat[2:]
    return float(runs.mean())


def padded(sounds: Sequence[Num[np.ndarray, "_"]], length: int) -> Num[np.ndarray, "N T"]:
    """Sounds of different length as rows of one array, zeros behind them."""
    rows = paged.zeros((len(sounds), length), sounds[0].dtype if sounds else np.int16)
    for row, sound in zip(rows, sounds, strict=True):
        row[: len(sound)] = sound
    return rows


def _wav(path: Path) -> tuple[Num[np.ndarray, "T *C"], int]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks of other programs: tags, cue points
            warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
    except OSError:
        raise
    except Exception as error:  # scipy raises whatever its parsing runs into
        raise DataError(
            f"{path} is no whole WAV file of 8 to 32 bits ({error}): export it again, or convert it to FLAC"
        ) from error
    return samples, rate


def _flac(path: Path) -> tuple[Num[np.ndarray, "T *C"], int]:
    try:
        import soundfile
    except ImportError as error:
        raise DataError(f"{path} is FLAC, which needs: pip install 'deeplearn[audio]'") from error
    path.stat()  # libsndfile says of a missing file only that it made a system error
    try:
        return soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path} is no whole FLAC file ({error.error_string}): export it again") from error


def _scaled(samples: Num[np.ndarray, "T *C"]) -> Float[np.ndarray, "T *C"]:
    """Integers to -1..1; scipy gives 24 bits in the upper bytes of 32."""
    if samples.dtype == np.uint8:  # only 8-bit WAV is unsigned
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    return samples.astype(np.float32)
