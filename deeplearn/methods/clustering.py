"""What a clustering is worth: agreement with labels, stability, separation of held-out values; and how many clusters.

Agreement is computed from a contingency table `counts` [R, C] (truth by cluster), as `metrics.Contingency` sums it
over batches and devices. Labels judge here; nothing in this module lets them choose.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from deeplearn.errors import DataError

Points = Float[np.ndarray, "N D"]
Labels = Int[np.ndarray, "N"]


def contingency(rows: Labels, columns: Labels) -> Float[np.ndarray, "R C"]:
    """Counts of every pair (row label, column label); labels are 0, 1, 2, ..."""
    r, c = int(rows.max()) + 1, int(columns.max()) + 1
    return np.bincount(rows.astype(np.int64) * c + columns, minlength=r * c).reshape(r, c).astype(np.float64)


def matching(counts: Float[np.ndarray, "R C"]) -> dict[int, int]:
    """Column -> row of the one-to-one matching that covers the most examples (Hungarian method)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(counts, maximize=True)
    return dict(zip(columns.tolist(), rows.tolist(), strict=True))


def accuracy(counts: Float[np.ndarray, "R C"]) -> float:
    """Share of examples on the best one-to-one matching of clusters and classes (the ACC of Xie et al., 2016)."""
    return float(sum(counts[row, column] for column, row in matching(counts).items()) / counts.sum())


def mutual_information(counts: Float[np.ndarray, "R C"]) -> float:
    """Normalised mutual information, arithmetic mean of the entropies below the line (sklearn's default); 0 to 1."""
    joint = counts / counts.sum()
    rows, columns = _entropy(joint.sum(1)), _entropy(joint.sum(0))
    if rows + columns == 0:  # one class and one cluster: nothing to disagree about
        return 1.0
    return float(max(0.0, 2 * (rows + columns - _entropy(joint.ravel())) / (rows + columns)))


def _entropy(p: Float[np.ndarray, "K"]) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def rand_index(counts: Float[np.ndarray, "R C"]) -> float:
    """Adjusted Rand index (Hubert and Arabie, 1985): 1 for the same partition, 0 expected for independent ones."""

    def pairs(x: np.ndarray) -> float:
        return float((x * (x - 1) / 2).sum())

    together, rows, columns = pairs(counts), pairs(counts.sum(1)), pairs(counts.sum(0))
    expected = rows * columns / max(pairs(counts.sum()), 1.0)
    most = (rows + columns) / 2
    return 1.0 if most == expected else (together - expected) / (most - expected)


def agreement(truth: Labels, labels: Labels) -> dict[str, float]:
    """ACC, NMI and ARI of a clustering against labels."""
    counts = contingency(truth, labels)
    return {"accuracy": accuracy(counts), "nmi": mutual_information(counts), "ari": rand_index(counts)}


def stability(labelings: Sequence[Labels]) -> float:
    """Mean adjusted Rand index over all pairs of labelings of the same N examples; needs two or more."""
    return float(np.mean([rand_index(contingency(a, b)) for a, b in combinations(labelings, 2)]))


def separation(labels: Labels, values: Float[np.ndarray, "N"]) -> float:
    """Share of the variance of `values` that lies between clusters (eta squared); 0 where the values are all equal.

    With values from after the period that the clusters were made of, it says what the clusters foretell.
    """
    total = float(((values - values.mean()) ** 2).sum())
    means = [values[labels == label] for label in np.unique(labels)]
    between = sum(len(group) * (group.mean() - values.mean()) ** 2 for group in means)
    return float(between / total) if total else 0.0


def silhouette(points: Points, labels: Labels, sample: int = 4000) -> float:
    """Silhouette (Rousseeuw, 1987), on at most `sample` points since it costs N**2; NaN for a single cluster."""
    from sklearn.metrics import silhouette_score

    if len(np.unique(labels)) < 2:
        return float("nan")
    chosen = np.random.default_rng(0).permutation(len(points))[:sample]
    return float(silhouette_score(points[chosen], labels[chosen]))


def kmeans(points: Points, clusters: int, seed: int) -> Callable[[Points], Labels]:
    """The best of twenty k-means fits (Lloyd from k-means++) as a function that assigns points; see also `centres`.

    With five, one seed of five ended in an optimum of three percent more inertia, and two digits became one group.
    """
    from sklearn.cluster import KMeans

    return KMeans(clusters, n_init=20, random_state=seed).fit(points).predict


def gaussians(points: Points, clusters: int, seed: int) -> Callable[[Points], Labels]:
    """The better of two Gaussian mixtures as a function that assigns points.

    Covariances are full where a cluster has more points than numbers on average, else there is nothing to learn them
    from (and it costs minutes): diagonal.
    """
    from sklearn.mixture import GaussianMixture

    kind = "full" if len(points) > clusters * points.shape[1] else "diag"
    return (
        GaussianMixture(clusters, covariance_type=kind, n_init=2, reg_covar=1e-3, random_state=seed).fit(points).predict
    )


def linked(codes: Points, threshold: float) -> Labels:
    """Groups 0, 1, ... in order of their first row: merged while the mean cosine between two is above the threshold.

    Args:
        codes: of length 1.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(codes) < 2:
        return np.zeros(len(codes), int)
    apart = np.clip(1 - codes @ codes.T, 0, None)
    np.fill_diagonal(apart, 0)
    found = fcluster(linkage(squareform(apart, checks=False), "average"), 1 - threshold, criterion="distance")
    _, first, group = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group]


def centres(points: Points, labels: Labels, clusters: int) -> Float[np.ndarray, "K D"]:
    """Mean of the points of each cluster; an empty cluster sits on the mean of all."""
    own = [points[labels == k] for k in range(clusters)]
    return np.stack([(group if len(group) else points).mean(0) for group in own]).astype(np.float32)


class Grouping(NamedTuple):
    """A code and the probability of each group, of N examples."""

    code: Float[np.ndarray, "N D"]
    soft: Float[np.ndarray, "N K"]

    @property
    def labels(self) -> Labels:
        return self.soft.argmax(1)


def repetitions(seed: int, repeats: int, size: int) -> list[tuple[int, Int[np.ndarray, "N"]]]:
    """(seed, rows to learn from) to measure stability: all N rows with other seeds, then as many bootstrap samples."""
    seeds = [seed + 1000 * i for i in range(1, repeats + 1)]
    samples = [np.random.default_rng([seed, i + 1]).integers(0, size, size) for i in range(repeats)]
    return [(other, np.arange(size)) for other in seeds] + list(zip(seeds, samples, strict=True))


class Candidate(NamedTuple):
    """One number of clusters and what speaks for it."""

    clusters: int
    stability: float
    silhouette: float


def candidates(
    points: Points, numbers: Sequence[int], seed: int, resamples: int = 6, sample: int = 5000
) -> list[Candidate]:
    """Stability of k-means over bootstrap resamples, and silhouette, for each number of clusters.

    Each resample gets its own k-means, which then assigns all points (Hennig, 2007; Ben-Hur et al., 2002). At most
    `sample` points are looked at: more cost minutes and change the stability by a percent.
    """
    rng = np.random.default_rng(seed)
    points = points[rng.permutation(len(points))[:sample]]
    draws = [rng.integers(0, len(points), len(points)) for _ in range(resamples)]
    result = []
    for k in numbers:
        labelings = [kmeans(points[draw], k, seed + i)(points) for i, draw in enumerate(draws)]
        result.append(Candidate(k, stability(labelings), silhouette(points, kmeans(points, k, seed)(points))))
    return result


def strength(points: Points, clusters: int, seed: int, splits: int = 12, sample: int = 5000) -> float:
    """Prediction strength plus its standard error (Tibshirani and Walther, 2005): at most about 1.

    In each of two random halves k-means finds clusters of its own. The strength is the share of pairs that share a
    cluster of one half and are also together by the clusters of the other, in the worst cluster. Cutting one round
    cloud in two may come out of every resample of the same points, but hardly twice from different points.
    Twelve `splits` leave a standard error of 0.02 to 0.03; of `sample` points see `candidates`.
    """
    rng = np.random.default_rng(seed)
    points = points[rng.permutation(len(points))[:sample]]
    found = []
    for _ in range(splits):
        first, second = np.array_split(points[rng.permutation(len(points))], 2)
        counts = contingency(kmeans(second, clusters, seed)(second), kmeans(first, clusters, seed)(second))
        pairs = counts.sum(1) * (counts.sum(1) - 1)
        found.append(((counts * (counts - 1)).sum(1)[pairs > 0] / pairs[pairs > 0]).min())
    return float(np.mean(found) + np.std(found, ddof=1) / np.sqrt(splits))


def chosen(points: Points, found: Sequence[Candidate], seed: int, again: float = 0.9, least: float = 0.8) -> int:
    """The largest number of clusters that other customers would give again, else the most stable one.

    `again` is the stability over resamples, and `least` the prediction strength, that count: Tibshirani and Walther
    ask for 0.8 to 0.9.
    """
    for candidate in sorted(found, reverse=True):
        if candidate.stability >= again and strength(points, candidate.clusters, seed) >= least:
            return candidate.clusters
    return max(found, key=lambda c: c.stability).clusters


def number(points: Points, wanted: int | None, name: str) -> int:
    """The number of clusters: the one that is wanted, or up to eight, as `chosen` of `candidates`.

    More than eight kinds of customers nobody can tell apart. All seeds share one draw, to compare their clusters.

    Raises:
        DataError: there are not even two points a cluster; says so of `name`.
    """
    most = wanted or 8
    if len(points) < 2 * most:
        raise DataError(f"{name} has {len(points)} examples, too few to look for {most} groups; give more.")
    return wanted or chosen(points, candidates(points, range(2, most + 1), seed=0), seed=0)


class Mixture(NamedTuple):
    """A Gaussian mixture as it was fitted, and what it says about the points it was fitted to."""

    soft: Float[np.ndarray, "N K"]
    """Probability of each component."""
    weights: Float[np.ndarray, "K"]
    means: Float[np.ndarray, "K D"]
    variances: Float[np.ndarray, "K D"]
    """Diagonals of the covariances."""


def blank(clusters: int, code: int) -> Mixture:
    """A mixture that gives shapes only, where the values come from a checkpoint."""
    ones = np.ones((clusters, code), np.float32)
    return Mixture(np.zeros((0, clusters), np.float32), ones[:, 0] / clusters, ones, ones)


def partition(points: Points, labels: Labels, clusters: int) -> Mixture:
    """Hard clusters as a mixture: their shares, means and variances."""
    soft = np.eye(clusters)[labels]
    means = centres(points, labels, clusters)
    squares = centres((points - means[labels]) ** 2, labels, clusters)
    return Mixture(
        soft, (soft.sum(0) + 1) / (len(labels) + clusters), means, np.maximum(squares, 1e-3 * squares.mean())
    )


def mixture(points: Points, labels: Labels, clusters: int) -> Mixture:
    """Gaussians with full covariances, by expectation maximisation from the given labels, which keeps it reproducible.

    Random starts end in many different optima; k-means' labels lead to nearly the same one each time.
    """
    from sklearn.mixture import GaussianMixture

    # A thousandth of the mean variance keeps a cluster of few points from collapsing.
    least = 1e-3 * float(points.var(0).mean())
    wide = np.eye(points.shape[1])
    start = []
    for k in range(clusters):
        own = points[labels == k]
        # Too few points know no covariance of their own.
        start.append(np.cov(own.T).reshape(wide.shape) if len(own) > points.shape[1] else np.diag(points.var(0)))
    model = GaussianMixture(
        clusters,
        reg_covar=least,
        weights_init=(np.bincount(labels, minlength=clusters) + 1) / (len(labels) + clusters),
        means_init=centres(points, labels, clusters),
        precisions_init=np.linalg.inv(np.array(start) + least * wide),
        max_iter=200,
    ).fit(points)
    variances = np.diagonal(model.covariances_, axis1=1, axis2=2)
    return Mixture(model.predict_proba(points), model.weights_, model.means_, variances)


def nearest(points: Points, count: int) -> Int[np.ndarray, "N J"]:
    """Rows of the `count` nearest other points of each point, the nearest first."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=count + 1).fit(points).kneighbors(points, return_distance=False)[:, 1:]


def flattened(points: Points, seed: int = 0) -> Float[np.ndarray, "N 2"]:
    """A map of the points on which neighbours stay neighbours: t-SNE (van der Maaten and Hinton, 2008)."""
    from sklearn.manifold import TSNE

    # Its default perplexity of 30 needs more points than that.
    return TSNE(random_state=seed, init="pca", perplexity=min(30, len(points) - 1)).fit_transform(points)


def judged(
    points: Points,
    labels: Labels,
    again: Sequence[Labels],
    *,
    later: Float[np.ndarray, "N"] | None = None,
    truth: Labels | None = None,
) -> dict[str, float]:
    """What a grouping is worth.

    Args:
        again: the groupings of other seeds, then as many of bootstrap samples.
        later: what each example was worth in the period after the one that was grouped.
        truth: true classes.
    """
    results = {"groups/silhouette": silhouette(points, labels)}
    if again:
        half = len(again) // 2
        results["groups/stability"] = stability([labels, *again[:half]])
        results["groups/bootstrap"] = stability([labels, *again[half:]])
    if later is not None:
        results["later/separation"] = separation(labels, later)
        results["later/separation_log"] = separation(labels, np.log1p(np.maximum(later, 0)))
    if truth is not None:
        results |= {f"labels/{name}": value for name, value in agreement(truth, labels).items()}
    return results


def profiles(labels: Labels, clusters: int, values: Mapping[str, Float[np.ndarray, "N"]]) -> list[dict[str, float]]:
    """For each group its size and the mean of each named value."""
    rows = []
    for group in range(clusters):
        own = labels == group
        share = own / max(own.sum(), 1)  # a mean that is zero for an empty group
        means = {name: round(float(share @ column), 2) for name, column in values.items()}
        rows.append({"group": group, "size": int(own.sum()), **means})
    return rows


def summary(points: Points, code: Points, labels: Labels, clusters: int, sample: int = 1000) -> dict[str, list]:
    """What pictures show of groups: the mean of the points of each, and the codes of a sample with their groups."""
    shown = np.random.default_rng(0).permutation(len(labels))[:sample]
    return {
        "means": centres(points, labels, clusters).tolist(),
        "code": code[shown].round(4).tolist(),
        "group": labels[shown].tolist(),
    }
