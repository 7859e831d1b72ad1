"""Decoding: which condition a pattern of voxels belongs to, learnt in some runs and tested in another."""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from deeplearn.methods.rsa import whitening


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


def left_out_runs(
    means: Float[np.ndarray, "R C V"], noise: Float[np.ndarray, "N V"], runs: Shaped[np.ndarray, "N"]
) -> Int[np.ndarray, "R C"]:
    """The condition that each pattern is taken for by all other runs: linear discriminants with shrunk covariance.

    Patterns are whitened by the noise of the other runs and go to the nearest mean of theirs.
    """
    found = []
    for number, run in enumerate(np.unique(runs)):
        white = means @ whitening(noise[runs != run])
        centres = np.delete(white, number, axis=0).mean(0)
        # Of the squared distance |x|² - 2 x c + |c|² the first term is the same for all conditions.
        found.append((2 * white[number] @ centres.T - (centres**2).sum(1)).argmax(1))
    return np.array(found)


def accuracy(taken: Int[np.ndarray, "R C"]) -> float:
    """Share of patterns that are taken for what they are."""
    return float((taken == np.arange(taken.shape[1])).mean())


def searchlight(
    means: Float[np.ndarray, "R C V"],
    noise: Float[np.ndarray, "N V"],
    runs: Shaped[np.ndarray, "N"],
    places: Int[np.ndarray, "V 3"],
    radius: float,
) -> Float[np.ndarray, "V"]:
    """Accuracy of the voxels within `radius` (in voxels) of each voxel alone (Kriegeskorte et al., 2006)."""
    near = ((places[:, None] - places[None]) ** 2).sum(-1) <= radius**2
    return np.array([accuracy(left_out_runs(means[..., own], noise[:, own], runs)) for own in near])


def reliability(
    means: Float[np.ndarray, "R C V"],
    noise: Float[np.ndarray, "N V"],
    runs: Shaped[np.ndarray, "N"],
    splits: int,
    seed: int,
) -> float:
    """Spearman's correlation of the crossnobis distances of two halves of the runs, mean over random halves."""
    from deeplearn.methods.rsa import crossnobis, spearman

    rng, names = np.random.default_rng(seed), np.unique(runs)
    found = []
    for _ in range(splits):
        halves = np.array_split(rng.permutation(len(names)), 2)
        one, other = (crossnobis(means[half] @ whitening(noise[np.isin(runs, names[half])])) for half in halves)
        found.append(spearman(one, other))
    return float(np.mean(found))
