"""Clustering metrics equal the reference tools on random tables; stability and the choice of k behave as they say."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from deeplearn.methods import clustering


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(("classes", "clusters"), [(1, 1), (1, 3), (3, 1), (3, 3), (4, 7), (6, 2)])
def test_metrics_equal_sklearn(rng, classes, clusters):
    for size in (5, 40, 300):
        truth, labels = rng.integers(0, classes, size), rng.integers(0, clusters, size)
        labels = np.where(rng.random(size) < 0.5, truth % clusters, labels)
        found = clustering.agreement(truth, labels)
        assert found["nmi"] == pytest.approx(normalized_mutual_info_score(truth, labels), abs=1e-9)
        assert found["ari"] == pytest.approx(adjusted_rand_score(truth, labels), abs=1e-9)


def test_accuracy_equals_brute_force(rng):
    for _ in range(10):
        truth, labels = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
        best = max(np.mean(truth == np.array(order)[labels]) for order in itertools.permutations(range(4)))
        assert clustering.agreement(truth, labels)["accuracy"] == pytest.approx(best)


def test_renamed_clusters_change_nothing(rng):
    truth = rng.integers(0, 5, 200)
    assert clustering.agreement(truth, (truth + 2) % 5) == pytest.approx({"accuracy": 1, "nmi": 1, "ari": 1})
    assert clustering.stability([truth, (truth + 1) % 5, 4 - truth]) == pytest.approx(1)


def test_tables_add_up(rng):
    truth, labels = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    truth[:2], labels[:2], truth[-2:], labels[-2:] = 4, 4, 4, 4  # both halves name all labels
    halves = clustering.contingency(truth[:90], labels[:90]) + clustering.contingency(truth[90:], labels[90:])
    np.testing.assert_array_equal(halves, clustering.contingency(truth, labels))


def test_separation_is_the_variance_between_clusters(rng):
    labels = rng.integers(0, 3, 500)
    assert clustering.separation(labels, labels * 2.0) == pytest.approx(1)
    values = rng.normal(size=500)
    residual = values - np.array([values[labels == k].mean() for k in range(3)])[labels]
    assert clustering.separation(labels, values) == pytest.approx(1 - residual.var() / values.var())
    assert clustering.separation(labels, np.ones(500)) == 0


def test_the_number_of_clusters_is_found(rng):
    corners = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])
    points = corners[rng.integers(0, 4, 400)] + rng.normal(size=(400, 2))
    found = clustering.candidates(points, range(2, 8), seed=0, resamples=4)
    assert clustering.chosen(points, found, seed=0) == 4
    assert max(found, key=lambda c: c.silhouette).clusters == 4


@pytest.mark.parametrize("clouds", [3, 4])
def test_clear_clusters_are_not_cut_in_two(rng, clouds):
    """Resamples of the same points give six halves of three clouds again (0.93); other points would not."""
    points = 6 * np.eye(clouds)[np.arange(300) % clouds] + rng.normal(size=(300, clouds))
    assert clustering.number(points, None, "clouds") == clouds


def test_prediction_strength_is_the_worst_clusters_share_of_pairs(rng):
    clear = np.array([[0.0, 0], [99, 0], [0, 99]])[np.arange(90) % 3] + rng.normal(size=(90, 2))
    assert clustering.strength(clear, 3, seed=0) == pytest.approx(1)
    assert clustering.strength(clear, 6, seed=0) < 0.8


def test_centres_survive_an_empty_cluster(rng):
    points = rng.normal(size=(20, 3))
    labels = rng.integers(0, 2, 20)
    means = clustering.centres(points, labels, 3)
    np.testing.assert_allclose(means[0], points[labels == 0].mean(0), rtol=1e-6)
    np.testing.assert_allclose(means[2], points.mean(0), rtol=1e-6)


def blobs(rng) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, 3, 300)
    return np.array([[0.0, 0], [20, 0], [0, 20]])[labels] + rng.normal(size=(300, 2)) * [1, 3], labels


def test_a_mixture_starts_from_labels_and_keeps_their_names(rng):
    points, labels = blobs(rng)
    for found in (clustering.mixture(points, labels, 3), clustering.partition(points, labels, 3)):
        np.testing.assert_allclose(found.soft.sum(1), 1, rtol=1e-6)
        np.testing.assert_array_equal(found.soft.argmax(1), labels)
        assert found.weights.sum() == pytest.approx(1)
        for k in range(3):
            np.testing.assert_allclose(found.means[k], points[labels == k].mean(0), atol=0.05)
            # The mixture adds a thousandth of the mean variance, 0.1 here.
            np.testing.assert_allclose(found.variances[k], points[labels == k].var(0), rtol=0.05, atol=0.1)


def test_a_mixture_survives_a_cluster_of_one(rng):
    points, labels = blobs(rng)
    labels[:], labels[0] = 0, 1
    assert np.isfinite(clustering.mixture(points, labels, 3).soft).all()


def test_neighbours_are_the_nearest_others(rng):
    points = rng.normal(size=(30, 4))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(30)
    np.testing.assert_array_equal(clustering.nearest(points, 3), distance.argsort(1)[:, :3])


def test_repetitions_are_all_rows_with_other_seeds_and_then_bootstrap_samples():
    found = clustering.repetitions(seed=3, repeats=2, size=50)
    assert len(found) == 4
    assert len({seed for seed, _ in found} | {3}) == 3
    for _, rows in found[:2]:
        np.testing.assert_array_equal(rows, np.arange(50))
    for _, rows in found[2:]:
        assert len(rows) == 50 and rows.min() >= 0 and rows.max() < 50
        assert 25 < len(set(rows.tolist())) < 40  # 63 % are drawn once or more


def test_a_gaussian_mixture_of_few_points_in_many_numbers_finds_them(rng):
    labels = rng.integers(0, 2, 60)
    points = 9.0 * labels[:, None] + rng.normal(size=(60, 80))  # 30 points a cluster know no covariance of 80 numbers
    assert clustering.agreement(labels, clustering.gaussians(points, 2, 0)(points))["accuracy"] == 1
