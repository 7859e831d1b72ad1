import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from deeplearn.metrics import Drawn, Each
from deeplearn.record.statistics import (
    Paired,
    bootstrap,
    bounds,
    difference_interval,
    interval,
    paired,
    paired_bootstrap,
)

values = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12).filter(lambda x: np.std(x) > 1e-6)


@settings(deadline=None)
@given(values)
def test_interval_is_students(x: list[float]) -> None:
    found = interval(x)
    low, high = stats.t.interval(0.95, len(x) - 1, loc=np.mean(x), scale=stats.sem(x))
    np.testing.assert_allclose(
        [found.mean, found.sd, found.low, found.high], [np.mean(x), np.std(x, ddof=1), low, high]
    )
    assert found.values == x


def test_one_seed_gives_no_interval() -> None:
    found = interval([0.5])
    assert (found.mean, found.sd, found.low, found.high) == (0.5, None, None, None)


@settings(deadline=None)
@given(values, values)
def test_difference_interval_is_welchs(a: list[float], b: list[float]) -> None:
    reference = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    difference, low, high = difference_interval(a, b)
    np.testing.assert_allclose([low, high], reference, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(difference, np.mean(b) - np.mean(a), atol=1e-9)


def test_bootstrap_equals_the_exact_distribution_of_resamples() -> None:
    a, b = np.array([1.0, 0, 1, 1, 0.5]), np.array([0.0, 0, 1, 0, 1.5])
    exact = [np.mean((a - b)[list(rows)]) for rows in itertools.product(range(5), repeat=5)]
    found = paired_bootstrap(a, b, seed=0, resamples=200_000)
    assert found.difference == pytest.approx(0.2)
    assert found.p == pytest.approx(2 * np.mean(np.asarray(exact) <= 1e-12), abs=0.01)
    np.testing.assert_allclose(
        [found.low, found.high], np.quantile(exact, [0.025, 0.975]), atol=0.21
    )  # The grid's spacing is 0.2.


def test_bootstrap_covers_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        a, b = rng.random(400) < 0.9, rng.random(400) < 0.85
        found = paired_bootstrap(a, b, seed=trial, resamples=1000)
        covered += found.low <= 0.05 <= found.high
    assert 0.91 <= covered / 300 <= 0.985


def test_bootstrap_of_equal_systems_finds_nothing() -> None:
    a = np.ones(50)
    assert paired_bootstrap(a, a, seed=0) == Paired(difference=0.0, low=0.0, high=0.0, p=1.0)


def test_bootstrap_of_groups_equals_the_exact_distribution_of_their_resamples() -> None:
    gaps, groups = np.array([1.0, 0, 2, -1, 0.5, 0.5]), np.array(["a", "a", "b", "b", "b", "c"])
    members = [gaps[groups == name] for name in "abc"]
    exact = [np.concatenate([members[n] for n in drawn]).mean() for drawn in itertools.product(range(3), repeat=3)]
    found = paired_bootstrap(gaps, np.zeros(6), seed=0, resamples=200_000, groups=groups)
    assert found.difference == pytest.approx(0.5)
    np.testing.assert_allclose(
        [found.low, found.high], [min(exact), max(exact)]
    )  # 27 resamples: 1/27 lies at each end.


def test_copies_of_examples_add_no_certainty() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=200), rng.normal(size=200)
    once = paired_bootstrap(a, b, seed=0)
    copied = paired_bootstrap(np.repeat(a, 5), np.repeat(b, 5), seed=0, groups=np.repeat(np.arange(200), 5))
    np.testing.assert_allclose([copied.low, copied.high], [once.low, once.high], atol=0.02)


def test_a_run_is_compared_by_the_mean_over_its_seeds() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = [Each(rng.normal(size=40)) for _ in range(3)], Each(rng.normal(size=40))
    mean = np.mean([each.values for each in ours], axis=0)
    assert paired(ours, theirs) == paired_bootstrap(theirs.values, mean, seed=0)


def test_bootstrap_is_a_function_of_its_seed() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=300), rng.normal(size=300)
    assert paired_bootstrap(a, b, seed=3) == paired_bootstrap(a, b, seed=3) != paired_bootstrap(a, b, seed=4)


def test_a_bootstrap_of_means_is_the_paired_bootstrap() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=60), rng.normal(size=60)
    ours, theirs = (
        bootstrap(lambda times, v=v: times @ v / times.sum(1), np.zeros(60), seed=1, resamples=10_000) for v in (a, b)
    )
    assert ours.value == pytest.approx(a.mean())
    found, expected = paired([ours, ours], theirs), paired_bootstrap(b, a, seed=0)
    np.testing.assert_allclose(
        [found.difference, found.low, found.high], [expected.difference, expected.low, expected.high], atol=0.02
    )
    assert paired([ours], ours) == Paired(difference=0.0, low=0.0, high=0.0, p=1.0)
    low, high = bounds(ours.draws)
    assert low < ours.value < high


def test_a_bootstrap_draws_within_strata() -> None:
    strata = np.array(["a"] * 3 + ["b"] * 5)
    seen = []
    found = bootstrap(lambda times: seen.append(times) or times[:, :3].sum(1).astype(float), strata, resamples=450)
    times = np.concatenate(seen[1:])
    assert times.shape == (450, 8)
    np.testing.assert_array_equal(times[:, :3].sum(1), 3)
    np.testing.assert_array_equal(times[:, 3:].sum(1), 5)
    assert isinstance(found, Drawn) and np.ptp(found.draws) == 0


@pytest.mark.parametrize("each", [1, 5])
def test_the_interval_of_many_examples_is_that_of_their_mean(each):
    """Of 40,000 groups of one or five examples that are alike: drawn in bundles, with the deviation of the mean."""
    gaps = np.repeat(np.random.default_rng(0).normal(0.02, 1, 40_000), each)
    found = paired_bootstrap(gaps, np.zeros(len(gaps)), 0, 2000, np.repeat(np.arange(40_000), each))
    half = 1.96 * gaps.std() / np.sqrt(40_000)
    assert found.difference == pytest.approx(gaps.mean())
    assert (found.low, found.high) == pytest.approx((gaps.mean() - half, gaps.mean() + half), abs=0.06 * half)
