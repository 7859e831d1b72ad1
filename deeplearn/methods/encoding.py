"""Encoding models: voxels as linear functions of features of the stimuli, a ridge regression for each voxel, on device.

All is done through kernels, products of N stimuli with each other: cost grows with the number of features once, and
with the cube of N. Equal to himalaya (Dupré la Tour et al., 2022), whose banded ridge regression gives each group of
features (a layer, a kind of feature) a share of its own (Nunez-Elizalde et al., 2019).
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

Rows = tuple[Int[Array, "T"], Int[Array, "H"]]
"""Row numbers of a fold: those learnt from, and those held out."""


class Encoder(NamedTuple):
    """A regression for each of V voxels on B bands of features of N stimuli."""

    dual: Float[Array, "N V"]
    """Weights of the stimuli: predictions are products with them, plus `offset`."""
    offset: Float[Array, "V"]
    shares: Float[Array, "V B"]
    """What the products of each band are multiplied by."""
    penalty: Float[Array, "V"]
    score: Float[Array, "V"]
    """R² of held-out stimuli, mean over folds, at the penalty and shares that were chosen by it."""


def kernels(bands: Sequence[Float[Array, "N F"]], others: Sequence[Float[Array, "M F"]]) -> Float[Array, "B N M"]:
    """Products of stimuli with others, band by band."""
    return jnp.stack([a @ b.T for a, b in zip(bands, others, strict=True)])


def folds_of(groups: Shaped[np.ndarray, "N"]) -> tuple[Rows, ...]:
    """A fold for each group (a run), whose rows are held out together."""
    return tuple((np.flatnonzero(groups != name), np.flatnonzero(groups == name)) for name in np.unique(groups))


@jax.jit
def encode(
    products: Float[Array, "B N N"],
    responses: Float[Array, "N V"],
    folds: tuple[Rows, ...],
    penalties: Float[Array, "A"],
    shares: Float[Array, "G B"],
) -> Encoder:
    """For every voxel the penalty and the shares with the best held-out R², and then the regression on all stimuli.

    Args:
        products: `kernels` of the stimuli with themselves; of one band for plain ridge regression.
        folds: over which R² is averaged; features and responses are centred by what each learns from.
        shares: candidates; [[1]] for plain ridge regression.
    """
    voxels = responses.shape[1]

    def scored(own: Float[Array, "B"]) -> Float[Array, "A V"]:
        kernel = jnp.tensordot(own, products, 1)
        return sum(_held_out(kernel, responses, *rows, penalties) for rows in folds) / len(folds)

    def better(best: tuple[Array, Array, Array], number: Array) -> tuple[tuple[Array, Array, Array], None]:
        score, penalty, which = best
        own = scored(shares[number])
        found = own.max(0)
        keep = score >= found
        chosen = penalties[own.argmax(0)]
        return (jnp.maximum(score, found), jnp.where(keep, penalty, chosen), jnp.where(keep, which, number)), None

    start = (jnp.full(voxels, -jnp.inf), jnp.zeros(voxels), jnp.zeros(voxels, jnp.int32))
    start = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), start, (responses, penalties, start[2]))
    (score, penalty, which), _ = jax.lax.scan(better, start, jnp.arange(len(shares), dtype=jnp.int32))

    def solve(dual: Array, number: Array) -> tuple[Array, None]:
        kernel = jnp.tensordot(shares[number], products, 1)
        values, vectors = jnp.linalg.eigh(_centred(kernel, kernel))
        target = responses - responses.mean(0)[None]
        own = vectors @ ((vectors.T @ target) / (values[:, None] + penalty[None]))
        return jnp.where((which == number)[None], own, dual), None

    dual, _ = jax.lax.scan(solve, jnp.zeros_like(responses), jnp.arange(len(shares), dtype=jnp.int32))
    means = products.mean(1)  # [B, N]: the products of the mean stimulus
    offset = responses.mean(0) - jnp.einsum("bn,nv,vb->v", means, dual, shares[which])
    return Encoder(dual, offset, shares[which], penalty, score)


def _centred(kernel: Float[Array, "M N"], learnt: Float[Array, "N N"]) -> Float[Array, "M N"]:
    """Products of features minus the mean of those learnt from, on both sides."""
    rows, columns = kernel.mean(1, keepdims=True), learnt.mean(0, keepdims=True)
    return kernel - rows - columns + learnt.mean()


def _held_out(
    kernel: Float[Array, "N N"],
    responses: Float[Array, "N V"],
    learn: Int[Array, "T"],
    held: Int[Array, "H"],
    penalties: Float[Array, "A"],
) -> Float[Array, "A V"]:
    """R² of the held-out rows for every penalty: one decomposition, and one product a penalty."""
    inner = kernel[learn[:, None], learn[None]]
    values, vectors = jnp.linalg.eigh(_centred(inner, inner))
    mean = responses[learn].mean(0, keepdims=True)
    target = vectors.T @ (responses[learn] - mean)
    seen = _centred(kernel[held[:, None], learn[None]], inner) @ vectors
    true = responses[held] - mean
    spread = ((true - true.mean(0, keepdims=True)) ** 2).sum(0)

    def explained(penalty: Array) -> Float[Array, "V"]:
        left = true - (seen / (values + penalty)[None]) @ target
        return 1 - (left**2).sum(0) / spread

    return jax.lax.map(explained, penalties)


def predict(encoder: Encoder, products: Float[Array, "B M N"]) -> Float[Array, "M V"]:
    """Responses to other stimuli, from their `kernels` with those that were learnt from."""
    weighted = encoder.dual[None] * encoder.shares.T[:, None]  # [B, N, V]
    return jnp.einsum("bmn,bnv->mv", products, weighted) + encoder.offset[None]


def signal_share(values: Float[np.ndarray, "R N V"]) -> Float[np.ndarray, "V"]:
    """Share of the variance of the mean of R repeats that is not noise: the highest R² a model can have."""
    noise = values.var(0, ddof=1).mean(0) / len(values)
    total = values.mean(0).var(0, ddof=1)
    return np.clip(1 - noise / total, 0, 1)


@partial(jax.jit, static_argnames="draws")
def permutation_p(
    predicted: Float[Array, "N V"], true: Float[Array, "N V"], key: Array, draws: int
) -> Float[Array, "V"]:
    """Of each voxel's correlation, against shuffled stimuli; right where held-out responses are exchangeable."""

    def normal(values: Array) -> Array:
        away = values - values.mean(0, keepdims=True)
        return away / jnp.linalg.norm(away, axis=0, keepdims=True)

    a, b = normal(predicted), normal(true)
    seen = (a * b).sum(0)
    shuffled = jax.lax.map(lambda key: (a * jax.random.permutation(key, b)).sum(0), jax.random.split(key, draws))
    return (1 + (shuffled >= seen[None]).sum(0)) / (1 + draws)


def scaled_features(features: Float[np.ndarray, "N ..."], learn: Int[np.ndarray, "T"]) -> Float[np.ndarray, "N F"]:
    """Flat, in deviations of the rows learnt from, divided so that their squares sum to about one a stimulus."""
    flat = features.reshape(len(features), -1)
    flat = (flat - flat[learn].mean(0)) / (flat[learn].std(0) + 1e-6)
    return (flat / np.sqrt(flat.shape[1])).astype(np.float32)


PLAIN = np.ones((1, 1), np.float32)
"""The shares of a single band."""


def layer_scores(
    layers: Sequence[Float[np.ndarray, "N ..."]],
    responses: Float[np.ndarray, "N V"],
    groups: Shaped[np.ndarray, "N"],
    penalties: Sequence[float],
) -> Float[np.ndarray, "L V"]:
    """Held-out R² of ridge regressions from each layer to each voxel; groups are held out in turn."""
    found = []
    for own in layers:
        band = [jnp.asarray(scaled_features(own, np.arange(len(own))))]
        knobs = (folds_of(groups), jnp.asarray(penalties, jnp.float32), jnp.asarray(PLAIN))
        found.append(np.asarray(encode(kernels(band, band), jnp.asarray(responses, jnp.float32), *knobs).score))
    return np.array(found)


def held_out(
    bands: Sequence[Float[np.ndarray, "N ..."]],
    responses: Float[np.ndarray, "N V"],
    groups: Shaped[np.ndarray, "N"],
    penalties: Sequence[float],
    shares: Float[np.ndarray, "G B"],
) -> Float[np.ndarray, "V"]:
    """R² of each voxel in groups that neither taught nor chose, mean over them: penalty and shares come from the rest.

    Where a single group is the rest, its first half and its second choose.
    """
    values, found = jnp.asarray(responses, jnp.float32), []
    for learn, held in folds_of(groups):
        rest = groups[learn] if len(np.unique(groups[learn])) > 1 else np.arange(len(learn)) * 2 // len(learn)
        flat = [jnp.asarray(scaled_features(own, learn)) for own in bands]
        taught, asked = ([own[rows] for own in flat] for rows in (learn, held))
        knobs = (folds_of(rest), jnp.asarray(penalties, jnp.float32), jnp.asarray(shares, jnp.float32))
        model = encode(kernels(taught, taught), values[learn], *knobs)
        true = values[held]
        left = ((true - predict(model, kernels(asked, taught))) ** 2).sum(0)
        found.append(1 - left / ((true - true.mean(0)[None]) ** 2).sum(0))
    return np.asarray(jnp.stack(found).mean(0))


def mixtures(bands: int, count: int, seed: int) -> Float[np.ndarray, "G B"]:
    """Shares to try: each band alone, all alike, and so many at random, evenly over all mixtures."""
    random = np.random.default_rng(seed).dirichlet(np.ones(bands), count)
    return np.concatenate([np.eye(bands), np.full((1, bands), 1 / bands), random])


class Explained(NamedTuple):
    """How well L layers explain each of V voxels."""

    single: Float[np.ndarray, "V"]
    """R² of the layer that is best elsewhere, by `held_out`."""
    banded: Float[np.ndarray, "V"]
    """R² of the mixture of early, middle and late layers that is best elsewhere."""
    scores: Float[np.ndarray, "L V"]
    """R² of each layer, by `layer_scores`: for the map, since penalties are chosen by it."""


def explained(
    layers: Sequence[Float[np.ndarray, "N ..."]],
    responses: Float[np.ndarray, "N V"],
    groups: Shaped[np.ndarray, "N"],
    penalties: Sequence[float],
    *,
    tried: int,
    seed: int,
) -> Explained:
    """Encoding models of single layers and of thirds of them, whose mixtures are so many random ones and the plain."""
    thirds = np.array_split(np.arange(len(layers)), min(3, len(layers)))
    bands = [np.concatenate([layers[i].reshape(len(responses), -1) for i in part], axis=1) for part in thirds]
    return Explained(
        single=held_out(layers, responses, groups, penalties, np.eye(len(layers))),
        banded=held_out(bands, responses, groups, penalties, mixtures(len(bands), tried, seed)),
        scores=layer_scores(layers, responses, groups, penalties),
    )


def significant(
    layer: Float[np.ndarray, "N ..."],
    responses: Float[np.ndarray, "N V"],
    groups: Shaped[np.ndarray, "N"],
    penalties: Sequence[float],
    *,
    draws: int,
    seed: int,
) -> float:
    """Share of voxels whose responses in the first group are foretold, p <= 0.05, by what the other groups taught."""
    first = groups == np.unique(groups)[0]
    learn, held = np.flatnonzero(~first), np.flatnonzero(first)
    band, values = jnp.asarray(scaled_features(layer, learn)), jnp.asarray(responses, jnp.float32)
    knobs = (folds_of(groups[learn]), jnp.asarray(penalties, jnp.float32), jnp.asarray(PLAIN))
    model = encode(kernels([band[learn]], [band[learn]]), values[learn], *knobs)
    found = predict(model, kernels([band[held]], [band[learn]]))
    return float((permutation_p(found, values[held], jax.random.key(seed), draws) <= 0.05).mean())
