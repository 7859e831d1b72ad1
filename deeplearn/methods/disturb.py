"""What may happen to speech on its way to the ear: a room, noise, another throat, another pace, and gaps.

All on short-time amplitudes, where a room is a fading tail and noise adds its power: a tenth of the time that filtering
the samples takes. Every function is pure, and the randomness of an example comes from its own key. A recogniser that
has heard all this depends less on the few voices it learnt from.
Letters: F frames, K frequencies, M mel bands.
"""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplearn.knobs import Amount, NotNegative, Range, Rest, Share
from deeplearn.methods.sound import Mel, bands, normalised


@dataclass(frozen=True, kw_only=True)
class Disturb:
    """How much of it, in training only."""

    room: Share = 0.3
    """How often there are echoes."""
    echo: NotNegative = 0.3
    """Longest time in seconds in which they fade by 60 dB."""
    quiet: Annotated[float, Range(low=-100, high=100)] = 40.0
    """Faintest noise: so many dB below the speech."""
    loud: Annotated[float, Range(low=-100, high=100)] = 5.0
    """Loudest noise."""
    band: Share = 0.5
    """How often no more than a telephone's band of frequencies gets through."""
    throat: Rest = 0.12
    """Largest change of all frequencies, as a share (vocal-tract length perturbation, Jaitly & Hinton, 2013)."""
    pace: Rest = 0.1
    """Largest change of the pace of an utterance, as a share."""
    sway: Rest = 0.15
    """Largest change of the pace within an utterance, as a share."""
    bands: Amount = 1
    """Masks of frequency bands (SpecAugment, Park et al., 2019)."""
    wide: Amount = 8
    """Widest of them, in bands."""
    gaps: Amount = 1
    """Masks of time."""
    long: Amount = 10
    """Longest of them, in frames."""


def disturbed(
    key: Array, x: Float[Array, "B F K"], frames: Int[Array, "B"], index: Int[Array, "B"], d: Disturb, mel: Mel
) -> tuple[Float[Array, "B F M"], Int[Array, "B"]]:
    """(normalised log-mel features, frames) of amplitudes after all of it, by keys that depend on `index` only."""

    def first(key: Array, x: Array, frames: Array) -> tuple[Array, Array]:
        around, inside = jax.random.split(key)
        return warped(inside, bands(noisy(around, x, frames, d, mel), mel), frames, d)

    keys = jax.vmap(lambda number: jax.random.split(jax.random.fold_in(key, number)))(index)  # [B, 2]
    features, frames = jax.vmap(first)(keys[:, 0], x, frames)
    features = normalised(features, frames)
    return jax.vmap(lambda key, x, frames: gapped(key, x, frames, d))(keys[:, 1], features, frames), frames


def noisy(key: Array, x: Float[Array, "F K"], frames: Array, d: Disturb, mel: Mel) -> Float[Array, "F K"]:
    """Amplitudes in a random room, with noise of a random colour."""
    has_room, fading, strength, noise, colour, level, line, edge = jax.random.split(key, 8)
    real = (jnp.arange(x.shape[0]) < frames)[:, None]
    power = jnp.where(real, jnp.square(x), 0.0)
    length = max(int(d.echo * mel.rate / mel.hop), 1)
    seconds = jax.random.uniform(fading, minval=0.2, maxval=1.0) * d.echo
    late = jnp.exp(-13.8 * jnp.arange(1.0, length + 1) * (mel.hop / mel.rate) / seconds)  # 60 dB of power are e^-13.8
    late *= jax.random.uniform(strength) * jax.random.bernoulli(has_room, d.room).astype(jnp.float32)
    tail = jnp.concatenate([jnp.ones(1), late])[:, None, None]
    power = jax.lax.conv_general_dilated(
        power.T[..., None], tail[::-1], (1,), [(length, 0)], dimension_numbers=("NWC", "WIO", "NWC")
    )[..., 0].T

    hertz = jnp.arange(float(x.shape[1])) * (mel.rate / mel.size)
    low, high = jax.random.uniform(edge, (2,), minval=jnp.array([0.0, 3000.0]), maxval=jnp.array([400.0, 4000.0]))
    passed = jax.nn.sigmoid((hertz - low) / 30) * jax.nn.sigmoid((high - hertz) / 30)
    power *= jnp.where(jax.random.bernoulli(line, d.band), passed, 1.0)[None]

    # From white to brown: power that falls with frequency, as that of most rooms and streets does.
    slope = (1 + hertz / 100) ** (-2 * jax.random.uniform(colour))
    hiss = jax.random.exponential(noise, x.shape) * slope[None]  # the power of a Gaussian's amplitude
    decibel = jax.random.uniform(level, minval=d.loud, maxval=d.quiet)
    mean = lambda y: y.sum(where=real) / jnp.maximum(frames, 1).astype(jnp.float32)  # noqa: E731
    return jnp.sqrt(power + hiss * (10 ** (-decibel / 10) * mean(power) / mean(hiss)))


def warped(key: Array, x: Float[Array, "F M"], frames: Array, d: Disturb) -> tuple[Float[Array, "F M"], Int[Array, ""]]:
    """Log-mel frames of another throat at another, uneven pace, and how many frames there are now."""
    stretch, shift, pace, sway = jax.random.split(key, 4)
    count, bands = x.shape
    factor = 1 + jax.random.uniform(stretch, minval=-d.throat, maxval=d.throat)
    band = (jnp.arange(float(bands)) + 0.5) * factor - 0.5 + jax.random.uniform(shift, minval=-0.5, maxval=0.5)
    x = _interpolated(x.T, band).T

    # The pace along the utterance: a few random values, joined by lines.
    knots = jax.random.uniform(sway, (8,), minval=1 - d.sway, maxval=1 + d.sway)
    frames = frames.astype(jnp.float32)
    last = jnp.maximum(frames - 1, 0).astype(jnp.int32)
    at = jnp.clip(jnp.arange(float(count)) / jnp.maximum(frames, 1.0), 0, 1) * 7
    speed = _interpolated(knots[:, None], at)[:, 0]
    speed *= 1 + jax.random.uniform(pace, minval=-d.pace, maxval=d.pace)
    # At the given number of frames the end must not lie behind the array's.
    needed = jnp.cumsum(1 / speed)[last]
    speed *= jnp.maximum(needed / count, 1.0)
    ends = jnp.cumsum(1 / speed)  # where each old frame ends on the new clock
    total = jnp.clip(jnp.floor(ends[last]).astype(jnp.int32), 1, count)
    place = jnp.interp(jnp.arange(1.0, count + 1), ends, jnp.arange(float(count)))
    return _interpolated(x, jnp.minimum(place, frames - 1)), total


def gapped(key: Array, x: Float[Array, "F M"], frames: Array, d: Disturb) -> Float[Array, "F M"]:
    """Normalised features with bands and stretches of time at zero, which is their mean."""

    def mask(key: Array, size: int, real: Array | int, widest: int) -> Array:
        width, start = jax.random.split(key)
        width = jax.random.randint(width, (), 0, widest + 1)
        first = jax.random.uniform(start, maxval=jnp.maximum(real - width, 1).astype(jnp.float32)).astype(jnp.int32)
        place = jnp.arange(size)
        return (place >= first) & (place < first + width)

    hidden = jnp.zeros(x.shape, bool)
    for own in jax.random.split(jax.random.fold_in(key, 0), d.bands):
        hidden |= mask(own, x.shape[1], jnp.int32(x.shape[1]), d.wide)[None]
    for own in jax.random.split(jax.random.fold_in(key, 1), d.gaps):
        hidden |= mask(own, x.shape[0], frames, d.long)[:, None]
    return jnp.where(hidden, 0.0, x)


def _interpolated(x: Float[Array, "N D"], place: Float[Array, "P"]) -> Float[Array, "P D"]:
    """Rows between the rows, at places in 0 .. N - 1; those outside are the outermost."""
    place = jnp.clip(place, 0, x.shape[0] - 1)
    low = jnp.floor(place).astype(jnp.int32)
    part = (place - low.astype(jnp.float32))[:, None]
    return x[low] * (1 - part) + x[jnp.minimum(low + 1, x.shape[0] - 1)] * part
