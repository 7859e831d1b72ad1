"""Decoding: which condition a pattern of voxels belongs to, learnt in some runs and tested in another."""

import itertools
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from deeplearn.errors import DataError
from deeplearn.methods.rsa import crossnobis, spearman, whitening


def detrended(
    values: Float[np.ndarray, "N V"], runs: Shaped[np.ndarray, "N"], rest: Bool[np.ndarray, "N"]
) -> Float[np.ndarray, "N V"]:
    """Without each run's linear drift, in standard deviations of that run's rest from its mean.

    A run is scaled by itself alone: statistics over runs would carry what is tested into what is learnt.
    """
    from scipy.signal import detrend

    found = np.empty_like(values)
    for run in np.unique(runs):
        own = runs == run
        flat = detrend(values[own], axis=0)
        quiet = flat[rest[own]]
        found[own] = (flat - quiet.mean(0)) / np.maximum(quiet.std(0), 1e-6)
    return found


def patterns(
    values: Float[np.ndarray, "N V"], runs: Shaped[np.ndarray, "N"], labels: Shaped[np.ndarray, "N"]
) -> tuple[Float[np.ndarray, "R C V"], Float[np.ndarray, "N V"]]:
    """(mean pattern of each condition in each run, each measurement minus its mean): signal, and noise.

    All conditions have to be in all runs.
    """
    _, run = np.unique(runs, return_inverse=True)
    _, condition = np.unique(labels, return_inverse=True)
    place = run * (condition.max() + 1) + condition
    sums = np.zeros((place.max() + 1, values.shape[1]))
    np.add.at(sums, place, values)
    means = sums / np.bincount(place)[:, None]
    return means.reshape(run.max() + 1, condition.max() + 1, -1), values - means[place]


Noise = Literal["shrunk", "voxels", "none"]
NOISE: tuple[Noise, ...] = ("shrunk", "voxels", "none")
"""What patterns are whitened by: the covariance of all voxels, shrunk (linear discriminants), each voxel's deviation
alone, or nothing. The first of equals is taken."""


def whitener(noise: Float[np.ndarray, "N V"], kind: Noise) -> Float[np.ndarray, "V V"]:
    """The matrix by which patterns are multiplied."""
    if kind == "shrunk":
        return whitening(noise)
    return np.diag(1 / np.maximum(noise.std(0), 1e-6)) if kind == "voxels" else np.eye(noise.shape[1])


def whitened(
    means: Float[np.ndarray, "R C V"], noise: Float[np.ndarray, "N V"], runs: Shaped[np.ndarray, "N"], kind: Noise
) -> Float[np.ndarray, "R R C V"]:
    """All patterns as they are when a run is left out, run by run: whitened by the noise of the other runs."""
    return np.array([means @ whitener(noise[runs != run], kind) for run in np.unique(runs)])


def nearest(white: Float[np.ndarray, "R R C V"]) -> Int[np.ndarray, "R C"]:
    """The condition whose mean over the other runs lies nearest to each pattern of a run, of `whitened` patterns."""
    return np.array([_closest(own[run], np.delete(own, run, axis=0).mean(0)) for run, own in enumerate(white)])


def best_noise(
    means: Float[np.ndarray, "R C V"], noise: Float[np.ndarray, "N V"], runs: Shaped[np.ndarray, "N"]
) -> Noise:
    """The kind of whitening with which most patterns are told when each run is left out; one run says nothing."""
    if len(means) < 2:
        return NOISE[0]
    return max(NOISE, key=lambda kind: accuracy(nearest(whitened(means, noise, runs, kind))))


def left_out_runs(
    means: Float[np.ndarray, "R C V"], noise: Float[np.ndarray, "N V"], runs: Shaped[np.ndarray, "N"]
) -> Int[np.ndarray, "R C"]:
    """The condition that each pattern is taken for by all other runs, which also choose what whitens (`best_noise`)."""
    own = {kind: nearest(whitened(means, noise, runs, kind)) for kind in NOISE}
    if len(means) < 3:
        return own[NOISE[0]]
    inner = {kind: _left_out_pairs(means, noise, runs, kind) for kind in NOISE}
    found = []
    for run in range(len(means)):
        hits = {kind: accuracy(np.delete(taken[run], run, axis=0)) for kind, taken in inner.items()}
        found.append(own[max(NOISE, key=hits.__getitem__)][run])
    return np.array(found)


def _left_out_pairs(
    means: Float[np.ndarray, "R C V"], noise: Float[np.ndarray, "N V"], runs: Shaped[np.ndarray, "N"], kind: Noise
) -> Int[np.ndarray, "R R C"]:
    """[a, b]: what the patterns of run b are taken for by all runs but a and b; [b, a] has the same whitening."""
    taken = np.zeros((len(means), len(means), means.shape[1]), int)
    names = np.unique(runs)
    for a, b in itertools.combinations(range(len(means)), 2):
        white = means @ whitener(noise[(runs != names[a]) & (runs != names[b])], kind)
        centres = np.delete(white, (a, b), axis=0).mean(0)
        taken[a, b], taken[b, a] = _closest(white[b], centres), _closest(white[a], centres)
    return taken


def _closest(patterns: Float[np.ndarray, "C V"], centres: Float[np.ndarray, "D V"]) -> Int[np.ndarray, "C"]:
    # Of the squared distance |x|² - 2 x c + |c|² the first term is the same for all centres.
    return (2 * patterns @ centres.T - (centres**2).sum(1)).argmax(1)


def accuracy(taken: Int[np.ndarray, "R C"]) -> float:
    """Share of patterns that are taken for what they are."""
    return float((taken == np.arange(taken.shape[1])).mean())


def confusion(taken: Int[np.ndarray, "R C"]) -> Int[np.ndarray, "C C"]:
    """[truth, answer], counts over runs."""
    return (taken[..., None] == np.arange(taken.shape[1])).sum(0)


def searchlight(
    means: Float[np.ndarray, "R C V"],
    noise: Float[np.ndarray, "N V"],
    runs: Shaped[np.ndarray, "N"],
    places: Int[np.ndarray, "V 3"],
    radius: float,
) -> Float[np.ndarray, "V"]:
    """Accuracy of the voxels within `radius` (in voxels) of each voxel alone (Kriegeskorte et al., 2006)."""
    near = ((places[:, None] - places[None]) ** 2).sum(-1) <= radius**2
    return np.array([accuracy(nearest(whitened(means[..., own], noise[:, own], runs, "shrunk"))) for own in near])


def reliability(
    means: Float[np.ndarray, "R C V"],
    noise: Float[np.ndarray, "N V"],
    runs: Shaped[np.ndarray, "N"],
    splits: int,
    seed: int,
) -> float:
    """Spearman's correlation of the crossnobis distances of two halves of the runs, mean over random halves."""
    rng, names = np.random.default_rng(seed), np.unique(runs)
    found = []
    for _ in range(splits):
        halves = np.array_split(rng.permutation(len(names)), 2)
        one, other = (crossnobis(means[half] @ whitening(noise[np.isin(runs, names[half])])) for half in halves)
        found.append(spearman(one, other))
    return float(np.mean(found))


def shuffled_accuracy(
    means: Float[np.ndarray, "R C V"],
    noise: Float[np.ndarray, "N V"],
    runs: Shaped[np.ndarray, "N"],
    draws: int,
    seed: int,
) -> float:
    """Mean accuracy after the conditions of every run were shuffled: chance, if nothing leaks from run to run.

    Whitened by shrunk covariance, without the choice of `best_noise`: to choose again in every draw costs hours.
    """
    rng, white = np.random.default_rng(seed), whitened(means, noise, runs, "shrunk")
    found = []
    for _ in range(draws):
        orders = np.array([rng.permutation(means.shape[1]) for _ in means])
        found.append(accuracy(nearest(np.take_along_axis(white, orders[None, :, :, None], axis=2))))
    return float(np.mean(found))


def discriminants(
    means: Float[np.ndarray, "R C V"], noise: Float[np.ndarray, "N V"], runs: Shaped[np.ndarray, "N"]
) -> tuple[Float[np.ndarray, "V C"], Float[np.ndarray, "C"]]:
    """(weights, offset) of all runs: a pattern belongs where `pattern @ weights + offset` is largest."""
    white = whitener(noise, best_noise(means, noise, runs))
    centres = means.mean(0) @ white
    return white @ centres.T, -(centres**2).sum(1) / 2


def slices(places: Int[np.ndarray, "V 3"], values: Float[np.ndarray, "V"]) -> list[Float[np.ndarray, "Y X"]]:
    """A picture in [0, 1] of each slice that holds voxels: the larger a value the brighter; black is not measured."""
    pictures = []
    for z in np.unique(places[:, 2]):
        own = places[:, 2] == z
        picture = np.zeros(places[:, :2].max(0) + 1)
        picture[tuple(places[own, :2].T)] = 0.15 + 0.85 * (values[own] - values.min()) / max(np.ptp(values), 1e-9)
        pictures.append(picture.T[::-1])
    return pictures


def prepared(
    values: Float[np.ndarray, "N V"], runs: Shaped[np.ndarray, "N"], conditions: Shaped[np.ndarray, "N"]
) -> tuple[Float[np.ndarray, "R C V"], Float[np.ndarray, "N V"], list[str]]:
    """(mean patterns, noise, names) of all conditions but "rest", which scales the runs where there is any.

    Raises:
        DataError: a condition is missing in a run.
    """
    rest = conditions == "rest"
    for run in np.unique(runs):
        if missing := set(conditions.tolist()) - set(conditions[runs == run].tolist()):
            raise DataError(f"run {run} has no measurement of {', '.join(sorted(missing))}; leave that condition out.")
    scaled = detrended(values, runs, rest if rest.any() else np.ones(len(rest), bool))
    means, noise = patterns(scaled, runs, conditions)
    names = np.unique(conditions)
    return means[:, names != "rest"], noise, names[names != "rest"].tolist()


class Study(NamedTuple):
    """What the patterns of one subject tell about C conditions."""

    names: list[str]
    means: Float[np.ndarray, "R C V"]
    noise: Float[np.ndarray, "N V"]
    taken: Int[np.ndarray, "R C"]
    """By the other runs."""
    shuffled: float
    """Accuracy without signal."""
    distances: Float[np.ndarray, "P"]
    """Crossnobis, of each pair of conditions."""
    reliability: float
    """Of the distances; NaN with fewer than four runs, since each half needs two."""
    weights: Float[np.ndarray, "V C"]
    """Of the decoder that learnt from all runs; see `discriminants`."""
    offset: Float[np.ndarray, "C"]


def study(
    values: Float[np.ndarray, "N V"],
    runs: Shaped[np.ndarray, "N"],
    conditions: Shaped[np.ndarray, "N"],
    *,
    draws: int,
    seed: int,
) -> Study:
    """Raw measurements decoded and compared; `draws` divides by 10 for shuffles and by 4 for halves, which cost more.

    Raises:
        DataError: a condition is missing in a run.
    """
    means, noise, names = prepared(values, runs, conditions)
    weights, offset = discriminants(means, noise, runs)
    return Study(
        names=names,
        means=means,
        noise=noise,
        taken=left_out_runs(means, noise, runs),
        shuffled=shuffled_accuracy(means, noise, runs, max(draws // 10, 1), seed),
        distances=crossnobis(means @ whitening(noise)),
        reliability=reliability(means, noise, runs, max(draws // 4, 2), seed) if len(means) >= 4 else np.nan,
        weights=weights,
        offset=offset,
    )
