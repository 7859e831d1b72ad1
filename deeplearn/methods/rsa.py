"""Representational similarity (Kriegeskorte et al., 2008): which stimuli a brain region and a network find alike.

A dissimilarity matrix of C stimuli is kept as its P = C (C - 1) / 2 entries above the diagonal, row by row [P]. What is
compared here equals rsatoolbox (Nili et al., 2014), except that no subject is ever in the ceiling it is held against.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Pairs = Float[np.ndarray, "*any P"]


def pairs(matrix: Float[np.ndarray, "*any C C"]) -> Pairs:
    """The entries above the diagonal."""
    return matrix[(..., *np.triu_indices(matrix.shape[-1], 1))]


def square(values: Pairs) -> Float[np.ndarray, "*any C C"]:
    """The symmetric matrix of pairs, with zeros on its diagonal."""
    count = round((1 + np.sqrt(1 + 8 * values.shape[-1])) / 2)
    matrix = np.zeros((*values.shape[:-1], count, count), values.dtype)
    matrix[(..., *np.triu_indices(count, 1))] = values
    return matrix + np.swapaxes(matrix, -1, -2)


def correlation_distance(patterns: Float[np.ndarray, "C D"]) -> Pairs:
    """1 - Pearson's correlation of the patterns of two stimuli."""
    return 1 - pairs(np.corrcoef(patterns))


def whitening(residuals: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "D D"]:
    """The matrix that makes the noise of patterns white when they are multiplied by it (Walther et al., 2016).

    Args:
        residuals: measurements minus what they have in common; their covariance is shrunk as Ledoit & Wolf (2004) say.
    """
    from sklearn.covariance import ledoit_wolf

    values, vectors = np.linalg.eigh(ledoit_wolf(residuals)[0])
    return (vectors / np.sqrt(values)) @ vectors.T


def crossnobis(patterns: Float[np.ndarray, "R C D"]) -> Pairs:
    """Squared distances from differences in one run times those in another, mean over pairs of runs and voxels.

    Noise of different runs does not add up, so that without signal the mean is 0. Whiten the patterns first.
    """
    runs, count, voxels = patterns.shape
    first, second = np.triu_indices(count, 1)
    differences = patterns[:, first] - patterns[:, second]
    total = (differences.sum(0) ** 2).sum(-1) - (differences**2).sum((0, -1))  # of all pairs of different runs
    return total / (runs * (runs - 1) * voxels)


def ranked(values: Pairs) -> Pairs:
    """Ranks from 1; equal values share their mean rank."""
    from scipy.stats import rankdata

    return rankdata(values, axis=-1)


def scaled(values: Pairs) -> Pairs:
    """To length 1; zeros stay zeros, so that what does not vary correlates with nothing."""
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-300)


def centred_ranks(values: Pairs) -> Pairs:
    """Of length 1: the product of two is Spearman's correlation."""
    ranks = ranked(values)
    return scaled(ranks - ranks.mean(-1, keepdims=True))


def spearman(a: Pairs, b: Pairs) -> Float[np.ndarray, "*any"]:
    return (centred_ranks(a) * centred_ranks(b)).sum(-1)


def cosine(a: Pairs, b: Pairs) -> Float[np.ndarray, "*any"]:
    return (scaled(a) * scaled(b)).sum(-1)


def tau_a(a: Float[np.ndarray, "P"], b: Float[np.ndarray, "P"]) -> float:
    """Kendall's: how many more pairs of entries are in the same order than not, of all; fair to ties."""
    from scipy.stats import kendalltau

    entries = [np.unique(values, return_counts=True)[1] for values in (a, b)]
    untied = [len(a) * (len(a) - 1) - (counts * (counts - 1)).sum() for counts in entries]  # twice their numbers
    if min(untied) == 0:
        return 0.0
    # SciPy gives tau-b, which divides by the pairs that are not tied.
    return float(kendalltau(a, b).statistic * np.sqrt(np.prod(untied, dtype=float)) / (len(a) * (len(a) - 1)))


Compare = Callable[[Float[np.ndarray, "P"], Float[np.ndarray, "P"]], float]


class Ceiling(NamedTuple):
    """How like each of S subjects a perfect model of the group could be."""

    low: Float[np.ndarray, "S"]
    """The other subjects' mean."""
    high: Float[np.ndarray, "S"]
    """The mean of all, the subject among them: no model of the group is better."""


def ceiling(
    rdms: Float[np.ndarray, "S P"], compare: Compare = spearman, prepare: Callable[[Pairs], Pairs] = ranked
) -> Ceiling:
    """Bounds for models of subjects, whose matrices are averaged as `prepare` leaves them (for `cosine`, `scaled`)."""
    ready = prepare(rdms)
    others = (ready.sum(0) - ready) / (len(ready) - 1)
    low = [compare(own, other) for own, other in zip(rdms, others, strict=True)]
    return Ceiling(np.array(low), np.array([compare(own, ready.mean(0)) for own in rdms]))


class Measure(NamedTuple):
    """A way to compare, and what matrices are before they are averaged for its ceiling."""

    compare: Compare
    prepare: Callable[[Pairs], Pairs]


MEASURES = {"spearman": Measure(spearman, ranked), "tau_a": Measure(tau_a, ranked), "cosine": Measure(cosine, scaled)}
"""Models with ties, such as categories, are judged fairly by tau-a alone (Nili et al., 2014)."""


def measured(subjects: Float[np.ndarray, "S P"], models: Float[np.ndarray, "S P"]) -> dict[str, float]:
    """Mean over subjects of each measure's likeness to a model, which may be another one for each."""
    pairs = list(zip(subjects, np.broadcast_to(models, subjects.shape), strict=True))
    return {name: float(np.mean([own.compare(a, b) for a, b in pairs])) for name, own in MEASURES.items()}


def ceiling_p(rdms: Float[np.ndarray, "S P"], *, draws: int, seed: int) -> float:
    """Of the lower ceiling (Spearman, mean over subjects), against subjects whose stimuli are shuffled."""
    rng, own = np.random.default_rng(seed), square(ranked(rdms))
    shuffled = []
    for _ in range(draws):
        orders = [rng.permutation(own.shape[1]) for _ in own]
        moved = [matrix[np.ix_(order, order)] for matrix, order in zip(own, orders, strict=True)]
        shuffled.append(ceiling(pairs(np.array(moved))).low.mean())
    return float((1 + (np.array(shuffled) >= ceiling(rdms).low.mean()).sum()) / (1 + draws))


def bootstrap(
    rdms: Float[np.ndarray, "S P"], models: Float[np.ndarray, "M P"], *, draws: int, seed: int
) -> Float[np.ndarray, "B M"]:
    """Spearman's correlation of models with subjects, mean over subjects, as it varies with both kinds of samples.

    Every draw takes as many subjects and stimuli as there are, with replacement; pairs of a stimulus with itself, which
    are 0 by construction, do not count. Both at once make intervals rather too wide (Schütt et al., 2023).
    """
    rng, own, models = np.random.default_rng(seed), square(rdms), square(models)
    subjects, count = own.shape[:2]
    first, second = np.triu_indices(count, 1)
    found = []
    for _ in range(draws):
        stimuli = rng.integers(0, count, count)
        a, b = stimuli[first], stimuli[second]
        a, b = a[a != b], b[a != b]
        ready = centred_ranks(own[:, a, b])[rng.integers(0, subjects, subjects)]
        found.append((ready @ centred_ranks(models[:, a, b]).T).mean(0))
    return np.array(found)


def chosen_by_others(scores: Float[np.ndarray, "S L"]) -> Int[np.ndarray, "S"]:
    """For each subject the layer that is best for the mean of the other subjects."""
    return (scores.sum(0) - scores).argmax(1)


def reweighted(
    features: Float[np.ndarray, "C F"],
    target: Float[np.ndarray, "C C"],
    learn: Int[np.ndarray, "T"],
    held: Int[np.ndarray, "H"],
    penalty: float,
    components: int = 30,
) -> Pairs:
    """Dissimilarities of held-out stimuli: squared differences of components, whose weights >= 0 are fitted to others.

    Components and weights come from the stimuli `learn` and their targets alone (Kaniuth & Hebart, 2022).
    """
    from scipy.optimize import nnls

    mean, std = features[learn].mean(0), features[learn].std(0) + 1e-6
    normal = (features - mean) / std
    axes = np.linalg.svd(normal[learn], full_matrices=False)[2][:components]
    code = normal @ axes.T
    code /= np.sqrt((code[learn] ** 2).sum())

    def apart(rows: np.ndarray) -> Float[np.ndarray, "P K"]:
        first, second = np.triu_indices(len(rows), 1)
        return (code[rows[first]] - code[rows[second]]) ** 2

    inputs, wanted = apart(learn), ranked(pairs(target[np.ix_(learn, learn)]))
    wanted = (wanted - wanted.mean()) / wanted.std()
    # The constant may have either sign; the penalty pulls weights to zero as in ridge regression.
    ones, width = np.ones((len(inputs), 1)), inputs.shape[1]
    pull = np.sqrt(penalty * len(inputs)) * np.diag(inputs.std(0) + 1e-12)
    matrix = np.block([[inputs, ones, -ones], [pull, np.zeros((width, 2))]])
    weights = nnls(matrix, np.append(wanted, np.zeros(width)))[0]
    return apart(held) @ weights[:width]


def nested(
    rdms: Float[np.ndarray, "S C C"],
    layers: Sequence[Float[np.ndarray, "C F"]],
    penalties: Sequence[float],
    *,
    splits: int,
    seed: int,
) -> tuple[float, float]:
    """(the best layer, the best reweighted layer) for new subjects and new stimuli, mean over subjects and halves.

    Layers and penalties are chosen by the other subjects' similarity on the half of the stimuli that is not tested.
    """
    rng, found = np.random.default_rng(seed), []
    models = [square(correlation_distance(own)) for own in layers]

    def cut(matrix: Float[np.ndarray, "C C"], rows: Int[np.ndarray, "R"]) -> Pairs:
        return pairs(matrix[np.ix_(rows, rows)])

    for _ in range(splits):
        learn, held = np.array_split(rng.permutation(rdms.shape[1]), 2)
        inner, outer = np.array_split(learn, 2)
        for subject, own in enumerate(rdms):
            others = square(ranked(pairs(np.delete(rdms, subject, axis=0))).mean(0))
            best = max(models, key=lambda model, others=others: spearman(cut(others, learn), cut(model, learn)))
            tried = [
                (spearman(reweighted(layer, others, inner, outer, penalty), cut(others, outer)), number, penalty)
                for number, layer in enumerate(layers)
                for penalty in penalties
            ]
            _, number, penalty = max(tried)
            weighted = reweighted(layers[number], others, learn, held, penalty)
            found.append([spearman(cut(own, held), other) for other in (cut(best, held), weighted)])
    plain, weighted = np.mean(found, axis=0)
    return float(plain), float(weighted)


class Layers(NamedTuple):
    """How like S subjects L layers find C stimuli."""

    models: Float[np.ndarray, "L P"]
    scores: Float[np.ndarray, "S L"]
    """Spearman's correlations."""
    chosen: Int[np.ndarray, "S"]
    """For each subject the layer that is best for the others."""
    interval: Float[np.ndarray, "2 L"]
    """95 % of the mean over subjects, by `bootstrap`."""
    most: int
    """The layer that is chosen for most subjects."""
    brain: Float[np.ndarray, "C C"]
    """Mean ranks of the subjects' dissimilarities."""
    model: Float[np.ndarray, "C C"]
    """Ranks of that layer's."""


def of_layers(
    layers: Sequence[Float[np.ndarray, "C F"]], subjects: Float[np.ndarray, "S P"], *, draws: int, seed: int
) -> Layers:
    """Every layer against every subject, by the correlation distance of its features."""
    models = np.array([correlation_distance(own) for own in layers])
    scores = np.array([spearman(subjects, model) for model in models]).T
    chosen = chosen_by_others(scores)
    most = int(np.bincount(chosen).argmax())
    return Layers(
        models=models,
        scores=scores,
        chosen=chosen,
        interval=np.quantile(bootstrap(subjects, models, draws=draws, seed=seed), [0.025, 0.975], axis=0),
        most=most,
        brain=square(ranked(subjects).mean(0)),
        model=square(ranked(models[most])),
    )
