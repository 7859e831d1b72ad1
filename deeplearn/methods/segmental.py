"""Which frames belong to which phoneme, learnt from recordings and their phonemes alone.

Segmental k-means (Rabiner et al., 1986): every phoneme has a few states in a row, every state one Gaussian; the best
path through them and their means are found in turn, from an even cut on. The model knows no context, which is its
strength: a network that looks at its neighbours fits the frames as well with boundaries that are four times as far off.
Letters: B recordings, F frames, D features, U phonemes, S states of a recording, K states of all phonemes.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplearn.methods import lattice
from deeplearn.methods.lattice import Lattice

TOGETHER = 32
"""Recordings in one batch; sorted by length, so that few frames are padding."""


class Sums(NamedTuple):
    """What the frames of each state add up to."""

    count: Float[Array, "K"]
    first: Float[Array, "K D"]
    second: Float[Array, "K D"]


class Aligner(NamedTuple):
    """What was learnt of the phonemes."""

    offset: Float[np.ndarray, "M"]
    scale: Float[np.ndarray, "M"]
    mean: Float[Array, "K D"]
    weight: Float[Array, "K D"]
    """Inverse variances."""
    states: int
    """Of a phoneme: also the fewest frames it lasts."""


def fit(
    bands: Sequence[Float[np.ndarray, "_ M"]],
    phonemes: Sequence[Sequence[int]],
    kinds: int,
    *,
    states: int = 3,
    rounds: int = 8,
) -> Aligner:
    """From log-mel spectrograms and the numbers (below `kinds`) of their phonemes.

    Args:
        rounds: of paths and means.
    """
    everything = np.concatenate(bands)
    offset, scale = everything.mean(0), everything.std(0) + 1e-3
    batches = list(_batches([(own - offset) / scale for own in bands], phonemes, states))
    model = _gaussians(_added(_even(*part, kinds * states)[1] for _, part in batches))
    for _ in range(rounds - 1):
        model = _gaussians(_added(_best(*part, *model)[1] for _, part in batches))
    return Aligner(offset, scale, *model, states)


def durations(
    aligner: Aligner, bands: Sequence[Float[np.ndarray, "_ M"]], phonemes: Sequence[Sequence[int]]
) -> list[Int[np.ndarray, "_"]]:
    """Frames of each phoneme of each recording, which has at least `states` frames for each."""
    scaled = [(own - aligner.offset) / aligner.scale for own in bands]
    found = {}
    for rows, part in _batches(scaled, phonemes, aligner.states):
        path = np.asarray(_best(*part, aligner.mean, aligner.weight)[0])
        for row, own in zip(rows, path, strict=False):
            found[row] = np.bincount(own[: len(bands[row])] // aligner.states, minlength=len(phonemes[row]))
    return [found[row] for row in range(len(bands))]


def _batches(
    scaled: Sequence[np.ndarray], phonemes: Sequence[Sequence[int]], states: int
) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, ...]]]:
    """(row numbers, arrays) of recordings of like length."""
    chains = [np.repeat(np.asarray(own) * states, states) + np.tile(np.arange(states), len(own)) for own in phonemes]
    order = np.argsort([len(own) for own in scaled], kind="stable")
    longest = -(-max(len(own) for own in chains) // 64) * 64
    for start in range(0, len(order), TOGETHER):
        rows = order[start : start + TOGETHER]
        yield rows, _padded([_moving(scaled[row]) for row in rows], [chains[row] for row in rows], longest)


def _added(sums: Iterable[Sums]) -> Sums:
    return functools.reduce(partial(jax.tree.map, jnp.add), sums)


def _moving(x: Float[np.ndarray, "F M"]) -> Float[np.ndarray, "F D"]:
    """Bands and how fast they change; less than 1 for the change, which is noisier."""
    return np.concatenate([x, 0.7 * np.gradient(x, axis=0)], axis=1).astype(np.float32)


def _padded(features: list[np.ndarray], chains: list[np.ndarray], longest: int) -> tuple[np.ndarray, ...]:
    """(features [B, F, D], frames [B], states [B, S], sizes [B]) with lengths of few kinds, to compile seldom."""
    frames = -(-max(len(own) for own in features) // 64) * 64
    x = np.zeros((TOGETHER, frames, features[0].shape[1]), np.float32)
    chain = np.zeros((TOGETHER, longest), np.int32)
    counts, sizes = np.zeros(TOGETHER, np.int32), np.ones(TOGETHER, np.int32)
    for row, (own, states) in enumerate(zip(features, chains, strict=True)):
        x[row, : len(own)], counts[row] = own, len(own)
        chain[row, : len(states)], sizes[row] = states, len(states)
    return x, counts, chain, sizes


@jax.jit(static_argnums=4)
def _even(x: Array, frames: Array, chain: Array, sizes: Array, kinds: int) -> tuple[Array, Sums]:
    """Every state as long as the others."""
    place = jnp.arange(x.shape[1])[None] * sizes[:, None] // jnp.maximum(frames, 1)[:, None]
    path = jnp.minimum(place, sizes[:, None] - 1)
    return path, _sums(x, frames, chain, path, kinds)


@jax.jit
def _best(
    x: Array, frames: Array, chain: Array, sizes: Array, mean: Float[Array, "K D"], weight: Float[Array, "K D"]
) -> tuple[Array, Sums]:
    """The best path under Gaussians with these means and inverse variances."""
    constant = 0.5 * (jnp.log(weight).sum(1) - (jnp.square(mean) * weight).sum(1))
    scores = x @ (mean * weight).T - 0.5 * jnp.square(x) @ weight.T + constant[None, None]  # [B, F, K]
    scores = jnp.take_along_axis(scores, chain[:, None], axis=2)
    path, _ = lattice.best(Lattice(scores, jnp.zeros(chain.shape, bool), sizes, frames))
    return path, _sums(x, frames, chain, path, len(mean))


def _sums(x: Array, frames: Array, chain: Array, path: Array, kinds: int) -> Sums:
    real = (jnp.arange(x.shape[1])[None] < frames[:, None])[..., None].astype(x.dtype)
    member = jax.nn.one_hot(jnp.take_along_axis(chain, path, axis=1), kinds) * real  # [B, F, K]
    total = lambda y: jnp.einsum("bfk,bfd->kd", member, y)  # noqa: E731
    return Sums(member.sum((0, 1)), total(x), total(jnp.square(x)))


def _gaussians(sums: Sums) -> tuple[Array, Array]:
    """(means, inverse variances); no variance below a twentieth of that of all speech, or rare states would starve."""
    count = jnp.maximum(sums.count, 1.0)[:, None]
    mean = sums.first / count
    return mean, 1 / jnp.maximum(sums.second / count - jnp.square(mean), 0.05)
