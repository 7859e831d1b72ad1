"""Text to speech without attention: phonemes, lengthened to frames, become a log-mel spectrogram all at once.

FastSpeech 2 (Ren et al., 2021), with pitch and energy by phoneme as in FastPitch (Łańcucki, 2021) and convolutions for
Transformer layers. Letters: B rows, U phonemes, F frames, M mel bands, D width.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Spoken(NamedTuple):
    """A spectrogram and what it was made from."""

    bands: Float[Array, "B F M"]
    coarse: Float[Array, "B F M"]
    """What the phonemes alone would give, without their neighbours' frames."""
    length: Float[Array, "B U"]
    """Predicted logarithm of the frames of each phoneme."""
    pitch: Float[Array, "B U"]
    """Predicted, in deviations from the mean logarithm."""
    energy: Float[Array, "B U"]
    """Predicted, in deviations from the mean."""
    duration: Int[Array, "B U"]
    """Frames of each phoneme in `bands`."""


class Voice(NamedTuple):
    """What is to be spoken, where it is known: in training all of it, later nothing."""

    duration: Int[Array, "B U"]
    pitch: Float[Array, "B U"]
    energy: Float[Array, "B U"]


class Block(nn.Module):
    """A residual convolution behind a normalisation; nothing leaks out of the padding."""

    kernel: int
    reach: int = 1
    dropout: float = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, "B N D"], real: Bool[Array, "B N 1"], train: bool) -> Float[Array, "B N D"]:
        y = nn.LayerNorm()(x) * real
        y = nn.relu(nn.Conv(x.shape[-1], (self.kernel,), kernel_dilation=(self.reach,))(y))
        y = nn.Dense(x.shape[-1])(y)
        return (x + nn.Dropout(self.dropout, deterministic=not train)(y)) * real


class FastSpeech(nn.Module):
    """Phonemes to frames."""

    symbols: int
    bands: int
    speakers: int = 1
    width: int = 128
    encoder: int = 4
    """Blocks over phonemes."""
    decoder: int = 5
    """Blocks over frames, which look 1, 2, 1, 3, 1, ... frames apart."""
    dropout: float = 0.1

    @nn.compact
    def __call__(
        self,
        phonemes: Int[Array, "B U"],
        sizes: Int[Array, "B"],
        speaker: Int[Array, "B"],
        frames: int,
        voice: Voice | None = None,
        *,
        rate: float = 1.0,
        pitch: float = 0.0,
        train: bool,
    ) -> Spoken:
        """At most so many `frames`; without a `voice`, `rate` times as fast and `pitch` deviations higher."""
        place = jnp.arange(phonemes.shape[1])[None]
        real = (place < sizes[:, None])[..., None].astype(jnp.float32)
        x = nn.Embed(self.symbols, self.width)(phonemes)
        if self.speakers > 1:
            x = x + nn.Embed(self.speakers, self.width)(speaker)[:, None]
        ahead = (sizes[:, None] - 1 - place).astype(jnp.float32)
        past = jnp.broadcast_to(place, phonemes.shape).astype(jnp.float32)
        x = (x + nn.Dense(self.width)(jnp.stack([past / 20, ahead / 20, 1 / (1 + past)], -1))) * real
        for _ in range(self.encoder):
            x = Block(5, dropout=self.dropout)(x, real, train)
        coarse = nn.Dense(self.bands)(nn.LayerNorm()(x))

        guesses = x  # the heads may look at the encoder, and teach it
        for _ in range(2):
            guesses = Block(3, dropout=self.dropout)(guesses, real, train)
        length, tone, energy = jnp.moveaxis(nn.Dense(3)(nn.LayerNorm()(guesses)), -1, 0)
        if voice is None:
            whole = jnp.maximum(jnp.round(jnp.exp(length) / rate), 1.0) * real[..., 0]
            duration = whole.astype(jnp.int32)
            voice = Voice(duration, tone + pitch, energy)
        x = x + nn.Dense(self.width)(jnp.stack([voice.pitch, voice.energy], -1)) * real

        ends = jnp.cumsum(voice.duration, axis=1)  # [B, U]
        time = jnp.arange(frames)[None]  # [1, F]
        own = jnp.minimum((time[..., None] >= ends[:, None]).sum(-1), phonemes.shape[1] - 1)  # [B, F]
        spread = lambda y: jnp.take_along_axis(y, own, axis=1)  # noqa: E731
        size = spread(voice.duration).astype(jnp.float32)
        since = (time - spread(ends - voice.duration)).astype(jnp.float32)
        until = size - since
        heard = (time < ends[:, -1:])[..., None].astype(jnp.float32)
        share = (since + 0.5) / jnp.maximum(size, 1)
        inside = [share, share**2, jnp.log(jnp.maximum(size, 1)), jnp.minimum(since, 8) / 4, jnp.minimum(until, 8) / 4]
        coarse = jnp.take_along_axis(coarse, own[..., None], axis=1)
        y = jnp.take_along_axis(x, own[..., None], axis=1)
        y = (y + nn.Dense(self.width)(jnp.stack(inside, -1))) * heard
        for number in range(self.decoder):
            y = Block(5, (1, 2, 1, 3)[number % 4], self.dropout)(y, heard, train)
        bands = nn.Dense(self.bands)(nn.LayerNorm()(y)) + coarse
        return Spoken(bands * heard, coarse * heard, length, tone, energy, voice.duration)


def loss(
    found: Spoken, bands: Float[Array, "B F M"], voice: Voice, sizes: Int[Array, "B"], mask: Float[Array, "B"]
) -> tuple[Float[Array, ""], Float[Array, "B F"]]:
    """(sum of what differs from recordings with so many phonemes (`sizes`), the weights of their frames)."""
    heard = _counted(voice.duration.sum(1), bands.shape[1], mask)
    said = _counted(sizes, voice.duration.shape[1], mask)
    gap, coarse = found.bands - bands, found.coarse - bands
    spectrum = (jnp.abs(gap) + 0.5 * jnp.square(gap) + 0.5 * jnp.square(coarse)).mean(-1)
    lasting = jnp.square(found.length - jnp.log(jnp.maximum(voice.duration, 1).astype(jnp.float32)))
    manner = jnp.square(found.pitch - voice.pitch) + jnp.square(found.energy - voice.energy)
    # A phoneme lasts about eight frames, which is what its one length, pitch and energy weigh; the other weights were
    # not searched for.
    return (spectrum * heard).sum() + 8 * ((0.3 * lasting + 0.1 * manner) * said).sum(), heard


def _counted(real: Int[Array, "B"], size: int, mask: Float[Array, "B"]) -> Float[Array, "B {size}"]:
    """The mask over the real ones of so many places."""
    return jnp.where(jnp.arange(size)[None] < real[:, None], mask[:, None], 0.0)
