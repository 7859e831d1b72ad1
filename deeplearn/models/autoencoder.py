"""Autoencoders, contrast, forecasts, and what clusters their codes: DEC, IDEC, VaDE and self-labelling.

Letters: B examples, D numbers of a code, K clusters, M members. Objectives are one number per example, [B].
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplearn.models.layers import Norm, Normalise

TINY = 1e-8  # keeps logarithms of float32 probabilities finite


class Encoder(nn.Module):
    """Convolutions of stride 2, then dense layers: [B, ...] -> [B, code]; without `code` the last hidden layer."""

    hidden: Sequence[int]
    code: int | None = None
    channels: Sequence[int] = ()
    norm: Norm = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."], *, train: bool) -> Float[Array, "B D"]:
        for i, width in enumerate(self.channels):
            x = nn.Conv(width, (3, 3), strides=2, name=f"conv{i + 1}")(x)
            x = nn.relu(Normalise(self.norm, name=f"norm_conv{i + 1}")(x, train=train))
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = nn.Dense(width, name=f"dense{i + 1}")(x)
            x = nn.relu(Normalise(self.norm, name=f"norm{i + 1}")(x, train=train))
        return x if self.code is None else nn.Dense(self.code, name="code")(x)


class Decoder(nn.Module):
    """Mirror of an Encoder: [B, code] -> [B, *shape]."""

    shape: Sequence[int]
    """Of one example, such as (28, 28, 1)."""
    hidden: Sequence[int]
    channels: Sequence[int] = ()

    @nn.compact
    def __call__(self, code: Float[Array, "B D"]) -> Float[Array, "B ..."]:
        x = code
        for i, width in enumerate(reversed(self.hidden)):
            x = nn.relu(nn.Dense(width, name=f"dense{i + 1}")(x))
        if not self.channels:
            return nn.Dense(math.prod(self.shape), name="out")(x).reshape(-1, *self.shape)
        small = [-(-side // 2 ** len(self.channels)) for side in self.shape[:-1]]
        x = nn.relu(nn.Dense(small[0] * small[1] * self.channels[-1], name="spread")(x))
        x = x.reshape(-1, *small, self.channels[-1])
        for i, width in enumerate([*reversed(self.channels[:-1]), self.shape[-1]]):
            x = nn.ConvTranspose(width, (3, 3), strides=(2, 2), name=f"conv{i + 1}")(x if i == 0 else nn.relu(x))
        return x[:, : self.shape[0], : self.shape[1]]  # sides that are no multiple of the strides grew


class Coded(NamedTuple):
    """What an autoencoder says about a batch."""

    code: Float[Array, "B D"]
    reconstruction: Float[Array, "B ..."]


class Autoencoder(nn.Module):
    """[B, ...] -> code and reconstruction (Hinton & Salakhutdinov, 2006)."""

    encoder: Encoder
    decoder: Decoder

    def __call__(self, x: Float[Array, "B ..."], *, train: bool) -> Coded:
        code = self.encoder(x, train=train)
        return Coded(code, self.decoder(code))


class Ensemble(nn.Module):
    """Encoders that differ in their first parameters, each with its own answer: [B, ...] -> [B, M, D].

    Trained on its own loss each, their mean is nearly the same whatever the seed (Lakshminarayanan et al., 2017).
    """

    member: Encoder
    """What each of them is."""
    members: int

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."], *, train: bool) -> Float[Array, "B M D"]:
        many = nn.vmap(
            lambda member, x: member(x, train=train),
            in_axes=None,
            out_axes=1,
            axis_size=self.members,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
        )
        return many(self.member, x)


def squared_error(reconstruction: Float[Array, "B ..."], x: Float[Array, "B ..."]) -> Float[Array, "B"]:
    """Mean squared difference of each example."""
    return jnp.mean((reconstruction - x) ** 2, axis=tuple(range(1, x.ndim)))


class Clustered(NamedTuple):
    """What DEC and IDEC say about a batch."""

    code: Float[Array, "B D"]
    reconstruction: Float[Array, "B ..."]
    soft: Float[Array, "B K"]
    """Probability of each cluster."""
    target: Float[Array, "B K"]
    """What `soft` should become; without a gradient."""


class DEC(nn.Module):
    """Deep embedded clustering (Xie et al., 2016); IDEC (Guo et al., 2017) if the reconstruction stays in the loss.

    The target divides by the size of each cluster over the whole data set. The paper recomputes it every few epochs;
    here a running mean with the memory of a hundred batches follows it.
    """

    autoencoder: Autoencoder
    centres: Float[Array, "K D"]
    """Where the cluster centres start: k-means on the pretrained codes."""

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."], *, train: bool) -> Clustered:
        code, reconstruction = self.autoencoder(x, train=train)
        soft = student(code, self.param("centres", lambda _: jnp.asarray(self.centres, jnp.float32)))
        size = self.variable("sizes", "size", lambda: jnp.full(soft.shape[1], 1 / soft.shape[1], jnp.float32))
        if train:
            size.value = 0.99 * size.value + 0.01 * jax.lax.stop_gradient(soft.mean(0))
        return Clustered(code, reconstruction, soft, sharpened(soft, size.value))


def student(code: Float[Array, "B D"], centres: Float[Array, "K D"]) -> Float[Array, "B K"]:
    """Soft assignment by a Student kernel of one degree of freedom (Xie et al., 2016, eq. 1)."""
    distance = jnp.sum((code[:, None] - centres[None]) ** 2, axis=-1)
    kernel = 1 / (1 + distance)
    return kernel / kernel.sum(1, keepdims=True)


def sharpened(soft: Float[Array, "B K"], size: Float[Array, "K"]) -> Float[Array, "B K"]:
    """The target: squared and divided by the size of the clusters (Xie et al., 2016, eq. 3); no gradient."""
    weight = soft**2 / size[None]
    return jax.lax.stop_gradient(weight / weight.sum(1, keepdims=True))


def divergence(target: Float[Array, "B K"], soft: Float[Array, "B K"]) -> Float[Array, "B"]:
    """Kullback-Leibler divergence of `soft` from `target`, in nats."""
    return jnp.sum(target * (jnp.log(target + TINY) - jnp.log(soft + TINY)), axis=1)


def embedded(outputs: Clustered, x: Float[Array, "B ..."], weight: float) -> Float[Array, "B"]:
    """The loss of IDEC, whose paper weighs the clusters instead (by 0.1); that of DEC where `weight` is zero."""
    return divergence(outputs.target, outputs.soft) + weight * squared_error(outputs.reconstruction, x)


class Prior(NamedTuple):
    """A Gaussian mixture with diagonal covariances."""

    weights: Float[Array, "K"]
    means: Float[Array, "K D"]
    variances: Float[Array, "K D"]


class Variational(NamedTuple):
    """What VaDE says about a batch."""

    code: Float[Array, "B D"]
    """Mean of the code's posterior."""
    log_variance: Float[Array, "B D"]
    reconstruction: Float[Array, "B ..."]
    soft: Float[Array, "B K"]
    """Posterior of the clusters given the (when training: sampled) code."""
    prior: Prior


class VaDE(nn.Module):
    """Variational deep embedding (Jiang et al., 2017): a variational autoencoder whose prior is a Gaussian mixture."""

    autoencoder: Autoencoder
    mixture: Prior
    """Where the prior starts: a mixture fitted to the pretrained codes."""

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."], *, train: bool) -> Variational:
        start = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), self.mixture)
        prior = Prior(
            jax.nn.softmax(self.param("logits", lambda _: jnp.log(start.weights))),
            self.param("means", lambda _: start.means),
            jnp.exp(self.param("log_variances", lambda _: jnp.log(start.variances))),
        )
        mean = self.autoencoder.encoder(x, train=train)
        # A pretrained encoder knows no variance; it begins at exp(-4), small beside codes of unit size.
        log_variance = nn.Dense(mean.shape[1], bias_init=nn.initializers.constant(-4.0), name="log_variance")(mean)
        code = mean
        if train:
            noise = jax.random.normal(self.make_rng("dropout"), mean.shape, mean.dtype)
            code = mean + jnp.exp(log_variance / 2) * noise
        soft = responsibilities(code, prior)
        return Variational(mean, log_variance, self.autoencoder.decoder(code), soft, prior)


def responsibilities(code: Float[Array, "B D"], prior: Prior) -> Float[Array, "B K"]:
    """Posterior probability of each component of the mixture."""
    squared = (code[:, None] - prior.means[None]) ** 2 / prior.variances[None]
    likelihood = -0.5 * jnp.sum(squared + jnp.log(2 * jnp.pi * prior.variances)[None], axis=-1)
    return jax.nn.softmax(jnp.log(prior.weights + TINY)[None] + likelihood, axis=1)


def latent_divergence(outputs: Variational) -> Float[Array, "B"]:
    """KL divergence of q(z|x) q(c|x) from p(z, c), in nats (Jiang et al., 2017, eq. 12 less its first term)."""
    prior, variance = outputs.prior, jnp.exp(outputs.log_variance)
    spread = (variance[:, None] + (outputs.code[:, None] - prior.means[None]) ** 2) / prior.variances[None]
    gaussian = 0.5 * jnp.sum(
        spread + jnp.log(prior.variances)[None] - 1 - outputs.log_variance[:, None], axis=-1
    )  # KL of N(code, variance) from each component: [B, K]
    clusters = jnp.log(outputs.soft + TINY) - jnp.log(prior.weights + TINY)[None]
    return jnp.sum(outputs.soft * (gaussian + clusters), axis=1)


def evidence(outputs: Variational, x: Float[Array, "B ..."], noise: float) -> Float[Array, "B"]:
    """Negative evidence lower bound less a constant, where inputs have variance `noise` around a reconstruction."""
    error = squared_error(outputs.reconstruction, x) * math.prod(x.shape[1:])
    return error / (2 * noise) + latent_divergence(outputs)


class Assigner(nn.Module):
    """An encoder whose codes a linear layer sorts into clusters: [B, ...] -> logits [B, K]."""

    encoder: Encoder
    clusters: int

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."], *, train: bool) -> Float[Array, "B K"]:
        return nn.Dense(self.clusters, name="clusters")(self.encoder(x, train=train))


def direction(codes: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Codes of length 1: contrasts compare directions alone."""
    return codes / jnp.linalg.norm(codes, axis=1, keepdims=True)


def contrast(first: Float[Array, "B D"], second: Float[Array, "B D"], temperature: float) -> Float[Array, "B"]:
    """NT-Xent (Chen et al., 2020): find each example's other view among all views of the batch, by cosine.

    The batch is the global one under jit, and one device's share under shard_map and pmap.
    """
    codes = jnp.concatenate([first, second])
    codes = codes / jnp.linalg.norm(codes + TINY, axis=1, keepdims=True)
    similarity = codes @ codes.T / temperature
    own = jnp.eye(codes.shape[0], dtype=bool)
    logs = jax.nn.log_softmax(jnp.where(own, -jnp.inf, similarity), axis=1)
    size = first.shape[0]
    there, back = jnp.diagonal(logs[:size, size:]), jnp.diagonal(logs[size:, :size])
    return -0.5 * (there + back)
