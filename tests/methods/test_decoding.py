"""Decoding: discriminants, runs that keep to themselves, chance where there is nothing."""

import numpy as np
import pytest

from deeplearn.methods import decoding

RUNS = np.repeat(np.arange(4), 12)
LABELS = np.tile(np.repeat(["face", "house", "rest"], 4), 4)


def made(signal, seed=0, voxels=10):
    """Patterns of two conditions in noise that voxels share."""
    rng = np.random.default_rng(seed)
    means = {"face": rng.normal(size=voxels), "house": rng.normal(size=voxels), "rest": np.zeros(voxels)}
    shared = rng.normal(size=(voxels, voxels))
    return np.stack([signal * means[name] for name in LABELS]) + rng.normal(size=(48, voxels)) @ shared


def test_patterns_are_means_and_noise_is_what_is_left():
    values = made(1.0)
    means, noise = decoding.patterns(values, RUNS, LABELS)
    np.testing.assert_allclose(means[1, 0], values[(RUNS == 1) & (LABELS == "face")].mean(0))
    np.testing.assert_allclose(noise[(RUNS == 1) & (LABELS == "face")].sum(0), 0, atol=1e-12)


def test_signal_is_decoded_and_noise_is_not():
    found = {}
    for signal in (0.0, 3.0):
        hits = []
        for seed in range(20):
            means, noise = decoding.patterns(made(signal, seed), RUNS, LABELS)
            hits.append(decoding.accuracy(decoding.left_out_runs(means[:, :2], noise, RUNS)))
        found[signal] = np.mean(hits)
    assert found[3.0] > 0.9 and found[0.0] == pytest.approx(0.5, abs=0.1)


def test_a_run_is_scaled_by_itself_alone():
    values, rest = made(1.0), LABELS == "rest"
    changed = values.copy()
    changed[RUNS == 3] = 7 * changed[RUNS == 3] + np.arange(12)[:, None] + 100
    found = decoding.detrended(values, RUNS, rest)
    np.testing.assert_allclose(decoding.detrended(changed, RUNS, rest), found, atol=1e-9)
    assert np.allclose(found[(RUNS == 2) & rest].mean(0), 0) and np.allclose(found[(RUNS == 2) & rest].std(0), 1)


def test_a_searchlight_finds_where_the_signal_is():
    rng, places = np.random.default_rng(0), np.argwhere(np.ones((6, 6, 1)))
    here = (places[:, 0] < 2) & (places[:, 1] < 2)
    values = rng.normal(size=(48, 36)) + 3 * here * np.where(LABELS == "face", 1, -1)[:, None]
    means, noise = decoding.patterns(values, RUNS, LABELS)
    light = decoding.searchlight(means[:, :2], noise, RUNS, places, radius=1.0)
    assert light[here].mean() == 1 and light[(places > 3).any(1)].mean() < 0.75


def test_what_whitens_is_chosen_without_the_run_that_is_tested():
    values = made(1.0, seed=3)
    means, noise = decoding.patterns(values, RUNS, LABELS)
    taken = decoding.left_out_runs(means[:, :2], noise, RUNS)
    for run in range(len(means)):
        kept = run != RUNS
        kind = decoding.best_noise(np.delete(means[:, :2], run, axis=0), noise[kept], RUNS[kept])
        white = decoding.whitened(means[:, :2], noise, RUNS, kind)
        np.testing.assert_array_equal(taken[run], decoding.nearest(white)[run])
    kept = RUNS != 2
    kind = decoding.best_noise(np.delete(means[:, :2], 2, axis=0), noise[kept], RUNS[kept])
    changed = means[:, :2].copy()
    changed[2] += 100 * np.random.default_rng(0).normal(size=changed[2].shape)
    assert decoding.best_noise(np.delete(changed, 2, axis=0), noise[kept], RUNS[kept]) == kind


def test_two_runs_are_enough_to_decode():
    means, noise = decoding.patterns(made(3.0)[:24], RUNS[:24], LABELS[:24])
    assert decoding.left_out_runs(means[:, :2], noise, RUNS[:24]).shape == (2, 2)


def test_shuffled_conditions_are_told_by_chance_alone():
    means, noise = decoding.patterns(made(5.0), RUNS, LABELS)
    assert decoding.shuffled_accuracy(means[:, :2], noise, RUNS, 100, seed=0) == pytest.approx(0.5, abs=0.1)
