"""Decoding: which condition a pattern of voxels belongs to, learnt in some runs and tested in another."""

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
    """Mean accuracy after the conditions of every run were shuffled: chance, if nothing leaks from run to run."""
    rng = np.random.default_rng(seed)
    orders = [np.array([own[rng.permutation(len(own))] for own in means]) for _ in range(draws)]
    return float(np.mean([accuracy(left_out_runs(own, noise, runs)) for own in orders]))


def discriminants(
    means: Float[np.ndarray, "R C V"], noise: Float[np.ndarray, "N V"]
) -> tuple[Float[np.ndarray, "V C"], Float[np.ndarray, "C"]]:
    """(weights, offset) of all runs: a pattern belongs where `pattern @ weights + offset` is largest."""
    white = whitening(noise)
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
