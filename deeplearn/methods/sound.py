"""From samples to spectra and back: short-time Fourier transform, log-mel spectrogram, Griffin-Lim.

The conventions are librosa's (frames centred, zeros outside, Slaney's mel scale with filters of equal area), so that a
spectrogram means the same elsewhere. Frame t is centred on sample t * hop, whatever stands behind the recording's end:
a padded recording has the same frames as a bare one.
Letters: T samples, F frames, S samples of a frame, K = S / 2 + 1 frequencies, M mel bands.
"""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from deeplearn.errors import ConfigError
from deeplearn.knobs import Count, NotNegative, Positive


@dataclass(frozen=True, kw_only=True)
class Mel:
    """What one mel spectrogram is; kept with a run, since a model understands no other."""

    rate: Count = 8000
    """Samples a second."""
    size: Count = 256
    """Samples of a frame's transform."""
    window: Count = 200
    """Samples under the Hann window in the middle of a frame: 25 ms is the custom for recognition."""
    hop: Count = 80
    """Samples from frame to frame."""
    bands: Count = 40
    """Mel bands."""
    low: NotNegative = 60.0
    """Lower end of the first band in Hz."""
    high: Positive = 3800.0
    """Upper end of the last band in Hz; at most half the rate."""
    floor: Positive = 1e-5
    """Smallest amplitude that the logarithm sees."""


SPOKEN = Mel(rate=16000, size=1024, window=640, hop=160, bands=80, low=0.0, high=8000.0, floor=5e-4)
"""Of voices that speak: one for synthesis and vocoding, since what makes one sound understands no other."""


def frames(samples: Array | int, mel: Mel) -> Array | int:
    """How many frames so many samples have."""
    return 1 + samples // mel.hop


def hann(mel: Mel) -> Float[np.ndarray, "S"]:
    """The periodic Hann window, centred in the frame."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(mel.window) / mel.window)
    before = (mel.size - mel.window) // 2
    return np.pad(window, (before, mel.size - mel.window - before)).astype(np.float32)


def framed(x: Float[Array, "*B T"], mel: Mel) -> Float[Array, "*B F S"]:
    """Overlapping frames, as shifted slices of rows of `hop` samples: a gather's gradient is slow on a CPU."""
    count, parts = frames(x.shape[-1], mel), -(-mel.size // mel.hop)
    total = (count - 1 + parts) * mel.hop
    before = mel.size // 2
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, max(total - before - x.shape[-1], 0))])[..., :total]
    rows = x.reshape(*x.shape[:-1], -1, mel.hop)
    return jnp.concatenate([rows[..., i : i + count, :] for i in range(parts)], axis=-1)[..., : mel.size]


def overlapped(x: Float[Array, "*B F S"], mel: Mel) -> Float[Array, "*B T"]:
    """The sum of overlapping frames, (F - 1) * hop samples: the adjoint of `framed`."""
    count, parts = x.shape[-2], -(-mel.size // mel.hop)
    lead = [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, [*lead, (0, 0), (0, parts * mel.hop - mel.size)]).reshape(*x.shape[:-1], parts, mel.hop)
    rows = sum(jnp.pad(x[..., i, :], [*lead, (i, parts - 1 - i), (0, 0)]) for i in range(parts))
    before = mel.size // 2
    return rows.reshape(*x.shape[:-3], -1)[..., before : before + (count - 1) * mel.hop]


def spectrum(x: Float[Array, "*B T"], mel: Mel) -> Complex[Array, "*B F K"]:
    """The short-time Fourier transform."""
    return jnp.fft.rfft(_windowed(framed(x, mel), mel))


def samples(spectrum: Complex[Array, "*B F K"], mel: Mel) -> Float[Array, "*B T"]:
    """The (F - 1) * hop samples whose transform is nearest in least squares (Griffin & Lim, 1984, equation 6)."""
    total = overlapped(_windowed(jnp.fft.irfft(spectrum, mel.size), mel), mel)
    weight = overlapped(jnp.broadcast_to(hann(mel) ** 2, (*spectrum.shape[:-1], mel.size)), mel)
    return total / jnp.maximum(weight, jnp.float32(1e-8))


def _windowed(x: Float[Array, "*B F S"], mel: Mel) -> Float[Array, "*B F S"]:
    return x * jnp.broadcast_to(hann(mel), x.shape)


def filters(mel: Mel) -> Float[np.ndarray, "M K"]:
    """Triangles of equal area in frequency, whose edges are equally far apart on Slaney's scale.

    Raises:
        ConfigError: bands beyond half the rate, where there is nothing.
    """
    if not mel.low < mel.high <= mel.rate / 2:
        raise ConfigError(
            f"bands from {mel.low:g} to {mel.high:g} Hz do not fit {mel.rate} samples a second: "
            f"--sound.high may be {mel.rate / 2:g} at most, and more than --sound.low."
        )
    edges = _hertz(np.linspace(_mel(mel.low), _mel(mel.high), mel.bands + 2))[:, None]
    frequency = np.arange(mel.size // 2 + 1) * mel.rate / mel.size
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    shape = np.minimum((frequency - low) / (middle - low), (high - frequency) / (high - middle))
    return (np.maximum(shape, 0) * 2 / (high - low)).astype(np.float32)


def loudness(x: Float[Array, "*B T"], mel: Mel) -> Float[Array, "*B F K"]:
    """The amplitudes of the spectrum."""
    found = spectrum(x, mel)
    power = jnp.square(found.real) + jnp.square(found.imag)
    return jnp.sqrt(jnp.maximum(power, jnp.float32(1e-12)))  # a root has no gradient at zero


def bands(amplitude: Float[Array, "*B F K"], mel: Mel) -> Float[Array, "*B F M"]:
    """The logarithm of the amplitudes in mel bands."""
    return jnp.log(jnp.maximum(amplitude @ filters(mel).T, jnp.float32(mel.floor)))


def log_mel(x: Float[Array, "*B T"], mel: Mel) -> Float[Array, "*B F M"]:
    """The log-mel spectrogram of a sound."""
    return bands(loudness(x, mel), mel)


def levelled(x: Float[Array, "B T"], samples: Int[Array, "B"], level: float = 0.1) -> Float[Array, "B T"]:
    """Each row with this root mean square over its real samples; zeros, which are behind them, count for nothing."""
    power = jnp.square(x).sum(1, keepdims=True) / jnp.maximum(samples, 1).astype(x.dtype)[:, None]
    return x * (level / jnp.sqrt(jnp.maximum(power, jnp.float32(1e-8))))


def normalised(x: Float[Array, "B F M"], frames: Int[Array, "B"]) -> Float[Array, "B F M"]:
    """Each band of each row with mean 0, all of a row together with deviation 1, over its real frames; zeros behind.

    Removes the loudness of the speaker and the colour of the microphone. The deviation is not that of single bands: one
    that the telephone cuts off would be noise as loud as speech.
    """
    real = (jnp.arange(x.shape[1])[None] < frames[:, None])[..., None]
    x = x - x.mean(1, keepdims=True, where=real)
    deviation = jnp.sqrt(jnp.square(x).mean((1, 2), keepdims=True, where=real))
    return jnp.where(real, x / jnp.maximum(deviation, jnp.float32(0.1)), jnp.float32(0))


@functools.partial(jax.jit, static_argnames="mel")
def features(
    x: Float[Array, "B T"], samples: Int[Array, "B"], mel: Mel
) -> tuple[Float[Array, "B F M"], Int[Array, "B"]]:
    """(what a recogniser hears of sounds, how many of the frames are real)."""
    real = frames(samples, mel)
    return normalised(log_mel(levelled(x, samples), mel), real), real


def amplitudes(log_mel: Float[Array, "*B F M"], mel: Mel, steps: int = 16) -> Float[Array, "*B F K"]:
    """Amplitudes of the spectrum, none below zero, whose mel bands are nearest in least squares.

    Args:
        steps: multiplicative updates (Lee & Seung, 2000) that follow the clipped pseudo-inverse.
    """
    weights, inverse, target = filters(mel), _pseudo_inverse(mel), jnp.exp(log_mel)
    found = jnp.maximum(target @ inverse.T, jnp.float32(1e-8))
    for _ in range(steps):
        found = found * (target @ weights) / jnp.maximum(found @ (weights.T @ weights), jnp.float32(1e-8))
    return found


def griffin_lim(
    amplitude: Float[Array, "*B F K"], mel: Mel, key: Array, *, steps: int = 40, momentum: float = 0.99
) -> Float[Array, "*B T"]:
    """Samples with these amplitudes and phases that agree, found from random ones (Perraudin et al., 2013)."""
    angle = jax.random.uniform(key, amplitude.shape, maxval=2 * jnp.pi)
    start = jax.lax.complex(jnp.cos(angle), jnp.sin(angle))

    def improve(_, state):
        phase, before = state
        again = spectrum(samples(amplitude.astype(jnp.complex64) * phase, mel), mel)
        ahead = again + jnp.complex64(momentum) * (again - before)
        return ahead / jnp.maximum(jnp.abs(ahead), jnp.float32(1e-16)).astype(jnp.complex64), again

    phase, _ = jax.lax.fori_loop(0, steps, improve, (start, jnp.zeros_like(start)))
    return samples(amplitude.astype(jnp.complex64) * phase, mel)


def sounding(log_mel: Float[np.ndarray, "F M"], mel: Mel, steps: int) -> Float[np.ndarray, "T"]:
    """Samples of log-mel bands by Griffin-Lim."""
    return np.asarray(_vocoded(filled(log_mel, mel), mel, steps))[: (len(log_mel) - 1) * mel.hop]


def filled(log_mel: Float[np.ndarray, "F M"], mel: Mel) -> Float[np.ndarray, "F' M"]:
    """Log-mel bands with silence behind, in multiples of 128 frames, to compile seldom."""
    whole = np.full((-(-len(log_mel) // 128) * 128, log_mel.shape[1]), np.log(mel.floor), np.float32)
    whole[: len(log_mel)] = log_mel
    return whole


@functools.partial(jax.jit, static_argnames=("mel", "steps"))
def _vocoded(log_mel: Float[Array, "F M"], mel: Mel, steps: int) -> Float[Array, "T"]:
    return griffin_lim(amplitudes(log_mel, mel), mel, jax.random.key(0), steps=steps)


@functools.lru_cache(maxsize=8)
def _pseudo_inverse(mel: Mel) -> Float[np.ndarray, "K M"]:
    return np.linalg.pinv(filters(mel).astype(np.float64)).astype(np.float32)


BREAK = 1000.0 * 3 / 200
"""Slaney's scale is linear below 1000 Hz, at 200/3 Hz a mel, and logarithmic above: 27 mels for a factor of 6.4."""
STEP = math.log(6.4) / 27


def _mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else BREAK + math.log(hertz / 1000) / STEP


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < BREAK, mels * 200 / 3, 1000 * np.exp(STEP * (mels - BREAK)))
