"""From log-mel bands to sound in one go, and critics that hear whether a sound was recorded.

Vocos (Siuzdak, 2024): ConvNeXt blocks (Liu et al., 2022) tell the amplitude and the phase of every frequency of a
frame, and the inverse Fourier transform does the rest: all layers have one column a frame, where those of HiFi-GAN
(Kong et al., 2020) grow to one a sample. Letters: B rows, F frames, M mel bands, T = (F - 1) * hop
samples, K frequencies, D width.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from deeplearn.methods import sound
from deeplearn.methods.sound import Mel
from deeplearn.models.convolution import convolution

PERIODS = (2, 3, 5, 7, 11)
"""Samples; primes, so that no two critics look at the same ones (Kong et al., 2020)."""
WINDOWS = (0.016, 0.032, 0.064)
"""Seconds under which critics see spectra: finer in time, finer in frequency."""
FAINT = 1e-2
"""Amplitude that is added before a logarithm: 16-bit recordings have steps of 3e-5, some 1e-3 under a window."""


class Vocos(nn.Module):
    """[B, F, M] -> [B, T]. Behind the end of a shorter row stands silence: bands at the floor, not zeros.

    It knows sounds as loud as those it has learnt from: bring others to that level first.
    """

    mel: Mel
    width: int = 192
    depth: int = 6

    @nn.compact
    def __call__(self, bands: Float[Array, "B F M"]) -> Float[Array, "B T"]:
        x = nn.Conv(self.width, (7,), name="embed")(bands)
        x = nn.LayerNorm(name="first")(x)
        for block in range(self.depth):
            x = Block(self.depth, name=f"block{block}")(x)
        x = nn.LayerNorm(name="last")(x)
        size, phase = jnp.split(nn.Dense(2 * (self.mel.size // 2 + 1), name="head")(x), 2, axis=-1)
        # No sample beyond 1 makes more of a frequency than half the window's samples, their sum under Hann's.
        size = jnp.exp(jnp.minimum(size, math.log(self.mel.window / 2)))
        return sound.samples(jax.lax.complex(size * jnp.cos(phase), size * jnp.sin(phase)), self.mel)


class Block(nn.Module):
    """ConvNeXt over time; the branches of all blocks together begin as loud as one."""

    blocks: int

    @nn.compact
    def __call__(self, x: Float[Array, "B F D"]) -> Float[Array, "B F D"]:
        width = x.shape[-1]
        # A picture one row high: a kernel for each channel has a fast form for pictures.
        look = nn.Conv(width, (1, 7), feature_group_count=width, conv_general_dilated=convolution, name="look")
        y = nn.LayerNorm(name="norm")(look(x[:, None])[:, 0])
        y = nn.Dense(width, name="narrow")(nn.gelu(nn.Dense(3 * width, name="wide")(y)))
        scale = self.param("scale", nn.initializers.constant(1 / self.blocks), (1, 1, width))
        return x + y * scale


class Heard(NamedTuple):
    """What one critic makes of a sound."""

    score: Float[Array, "B N"]
    """At N places; above zero what sounds recorded."""
    features: Sequence[Float[Array, "B ..."]]
    """Of its layers, in which two sounds can be compared."""


class Critics(nn.Module):
    """[B, T] -> what each critic hears: some look at every p-th sample, some at spectra."""

    rate: int
    """Samples a second."""
    width: int = 16

    @nn.compact
    def __call__(self, x: Float[Array, "B T"]) -> list[Heard]:
        found = [PeriodCritic(period, self.width, name=f"period{period}")(x) for period in PERIODS]
        for number, look in enumerate(looks(self.rate)):
            found.append(SpectrumCritic(look, self.width, name=f"spectrum{number}")(x))
        return found


class PeriodCritic(nn.Module):
    """Sees samples that are one period apart as neighbours (Kong et al., 2020)."""

    period: int
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "B T"]) -> Heard:
        rows, samples = x.shape
        x = jnp.pad(x, [(0, 0), (0, -samples % self.period)]).reshape(rows, -1, self.period)
        x, features = x.swapaxes(1, 2)[..., None], []  # [B, p, T / p, 1]
        for layer, factor in enumerate((1, 2, 4, 4)):
            x = nn.leaky_relu(nn.Conv(factor * self.width, (1, 5), (1, 3), name=f"conv{layer}")(x), 0.1)
            features.append(x)
        return Heard(nn.Conv(1, (1, 3), name="head")(x).reshape(rows, -1), features)


class SpectrumCritic(nn.Module):
    """Sees amplitudes by time and frequency (Jang et al., UnivNet, 2021), from layer to layer half as many of both.

    With the paper's strides, over frequency alone, it takes ten times as long on a CPU.
    """

    look: Mel
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "B T"]) -> Heard:
        x, features = jnp.log(sound.loudness(x, self.look) + FAINT)[..., None], []  # [B, F, K, 1]
        for layer, factor in enumerate((1, 2, 2)):
            x = nn.leaky_relu(nn.Conv(factor * self.width, (3, 5), (2, 2), name=f"conv{layer}")(x), 0.1)
            features.append(x)
        return Heard(nn.Conv(1, (3, 3), name="head")(x).reshape(x.shape[0], -1), features)


def distance(made: Float[Array, "B T"], real: Float[Array, "B T"], mel: Mel) -> Float[Array, "B"]:
    """Mean difference of logarithmic spectra: in the bands of `mel`, and half of that in amplitudes under each window.

    The bands say what is heard; the windows, finer in time and in frequency, say how (Yamamoto et al., 2020).
    """
    found = jnp.abs(sound.log_mel(made, mel) - sound.log_mel(real, mel)).mean((1, 2))
    for look in looks(mel.rate):
        ours, theirs = (jnp.log(sound.loudness(x, look) + FAINT) for x in (made, real))
        found += 0.5 / len(WINDOWS) * jnp.abs(ours - theirs).mean((1, 2))
    return found


def looks(rate: int) -> list[Mel]:
    """Short-time transforms under each of the windows, rounded to a power of two of samples."""
    sizes = [2 ** round(math.log2(seconds * rate)) for seconds in WINDOWS]
    return [Mel(rate=rate, size=size, window=size, hop=size // 4) for size in sizes]


def waves(network: Vocos, params: PyTree, bands: Float[np.ndarray, "F M"]) -> Float[np.ndarray, "T"]:
    """Samples of log-mel bands by a trained network."""
    return np.asarray(_made(network, params, sound.filled(bands, network.mel)))[: (len(bands) - 1) * network.mel.hop]


@partial(jax.jit, static_argnames="network")
def _made(network: Vocos, params: PyTree, bands: Float[Array, "F M"]) -> Float[Array, "T"]:
    return network.apply({"params": params}, bands[None])[0]
