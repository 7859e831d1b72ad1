"""Similarity analysis: rsatoolbox 0.3.2's numbers, and what must not leak."""

import numpy as np
import pytest

from deeplearn.methods import rsa

RNG = np.random.default_rng(0)
SUBJECTS = RNG.integers(0, 9, (4, 28)).astype(float) + RNG.random((4, 28)).round(1)
MODEL = RNG.integers(0, 3, 28).astype(float)  # with ties


@pytest.mark.parametrize(
    ("compare", "prepare", "wanted", "ceiling"),
    [
        (
            rsa.spearman,
            rsa.ranked,
            [-0.027497137160553405, 0.15217433858276572, -0.015807052255703228, 0.11117386158317637],
            [0.080391272267621, 0.5209594860129709],
        ),
        (
            rsa.tau_a,
            rsa.ranked,
            [-0.018518518518518517, 0.09259259259259259, -0.015873015873015872, 0.082010582010582],
            [0.05555555555555555, 0.36706349206349204],
        ),
        (
            rsa.cosine,
            rsa.scaled,
            [0.6786439843716532, 0.7350802730550953, 0.7445382233341372, 0.7362756093465304],
            [0.8430265674609121, 0.9130275810056598],
        ),
    ],
)
def test_comparisons_and_ceilings_equal_rsatoolbox(compare, prepare, wanted, ceiling):
    np.testing.assert_allclose([compare(MODEL, own) for own in SUBJECTS], wanted, atol=1e-9)
    found = rsa.ceiling(SUBJECTS, compare, prepare)
    np.testing.assert_allclose([found.low.mean(), found.high.mean()], ceiling, atol=1e-9)


@pytest.mark.parametrize(
    ("whiten", "wanted"),
    [
        (
            False,
            [0.127804926070, -0.0385664286372, -0.0545274176021, -0.0316366153790, 0.200672650043, -0.063710414243],
        ),
        (True, [2.072518535237, 0.219275034119, -0.696030415703, -0.766004805611, 2.400368473466, 0.508965110009]),
    ],
)
def test_crossnobis_equals_rsatoolbox(whiten, wanted):
    patterns = np.random.default_rng(1).normal(size=(5, 4, 6))
    root = np.random.default_rng(2).normal(size=(6, 6)) if whiten else np.eye(6)  # of the precision
    np.testing.assert_allclose(rsa.crossnobis(patterns @ root), wanted, atol=1e-9)


def test_crossnobis_is_zero_on_average_where_there_is_no_signal():
    rng = np.random.default_rng(3)
    found = [rsa.crossnobis(rng.normal(size=(4, 3, 20))) for _ in range(500)]
    assert abs(np.mean(found)) < 4 * np.std(np.mean(found, axis=1)) / np.sqrt(500)


def test_a_subject_is_not_in_the_lower_ceiling_it_is_held_against():
    noise = np.random.default_rng(4).normal(size=(200, 45))
    found = rsa.ceiling(noise)
    assert abs(found.low.mean()) < 0.03 < found.high.mean()  # chance; with the subject itself it looks like signal
    changed = noise.copy()
    changed[0] = rsa.ranked(-noise[1:].sum(0))
    others = rsa.ranked(noise[1:]).mean(0)
    assert rsa.ceiling(changed).low[0] == pytest.approx(rsa.spearman(changed[0], others))


def test_pairs_are_the_square_without_its_diagonal():
    matrix = rsa.square(SUBJECTS)
    assert matrix.shape == (4, 8, 8) and np.array_equal(matrix, np.swapaxes(matrix, 1, 2))
    np.testing.assert_array_equal(rsa.pairs(matrix), SUBJECTS)


def test_whitening_makes_noise_white():
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(4000, 5)) @ rng.normal(size=(5, 5))
    np.testing.assert_allclose(np.cov((noise @ rsa.whitening(noise)).T), np.eye(5), atol=0.05)


def test_a_layer_is_chosen_by_the_other_subjects():
    scores = np.array([[0.9, 0.1], [0.2, 0.3], [0.2, 0.3]])
    assert rsa.chosen_by_others(scores).tolist() == [1, 0, 0]


def test_the_bootstrap_covers_the_estimate_and_ignores_pairs_of_a_stimulus_with_itself():
    draws = rsa.bootstrap(SUBJECTS, np.stack([SUBJECTS.mean(0), MODEL]), draws=200, seed=0)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    estimate = [rsa.spearman(SUBJECTS, model).mean() for model in (SUBJECTS.mean(0), MODEL)]
    assert np.all(low < estimate) and np.all(estimate < high)
    far = rsa.bootstrap(SUBJECTS[:1] + 100, SUBJECTS[:1], draws=20, seed=0)
    np.testing.assert_allclose(far, 1)  # zeros among values of 100 would not change ranks alike


def test_reweighting_finds_the_feature_that_counts_on_new_stimuli():
    rng = np.random.default_rng(6)
    latent = rng.normal(size=(40, 2))  # five features show the first, two the second, which alone counts
    features = latent[:, [0, 0, 0, 0, 0, 1, 1]] + 0.1 * rng.normal(size=(40, 7))
    target = (latent[:, None, 1] - latent[None, :, 1]) ** 2
    learn, held = np.split(rng.permutation(40), 2)
    wanted = rsa.pairs(target[np.ix_(held, held)])
    found = rsa.spearman(rsa.reweighted(features, target, learn, held, 1e-3), wanted)
    plain = rsa.spearman(rsa.pairs(((features[held][:, None] - features[held][None]) ** 2).sum(-1)), wanted)
    assert found > 0.9 > plain


def test_the_ceiling_is_held_against_shuffled_stimuli():
    rng = np.random.default_rng(7)
    shared = rng.normal(size=45)
    p = {signal: rsa.ceiling_p(signal * shared + rng.normal(size=(4, 45)), draws=30, seed=0) for signal in (0, 2)}
    assert p[2] == pytest.approx(1 / 31) and p[0] > 0.05


def test_measures_are_means_over_subjects_each_with_its_own_model():
    own = rsa.measured(SUBJECTS, SUBJECTS)
    assert own["spearman"] == pytest.approx(1) and own["cosine"] == pytest.approx(1) and 0.9 < own["tau_a"] <= 1
    assert rsa.measured(SUBJECTS, MODEL)["tau_a"] == pytest.approx(np.mean([rsa.tau_a(a, MODEL) for a in SUBJECTS]))


def test_layers_are_chosen_and_drawn_from_the_same_matrices():
    features = [np.random.default_rng(i).normal(size=(8, 12)) for i in range(3)]
    true = rsa.correlation_distance(features[1])
    found = rsa.of_layers(features, np.stack([true, true**2, true**3]), draws=5, seed=0)
    assert found.chosen.tolist() == [1, 1, 1] and found.most == 1 and found.interval.shape == (2, 3)
    np.testing.assert_array_equal(found.model, found.brain)
