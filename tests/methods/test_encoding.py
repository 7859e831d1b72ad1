"""Encoding models: himalaya 0.4.11's and scikit-learn's numbers, and a test that stays at its level."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods import encoding

RNG = np.random.default_rng(0)
BANDS = [RNG.normal(size=(40, width)) for width in (5, 8)]
VOXELS = np.stack(
    [BANDS[0] @ RNG.normal(size=5), BANDS[1] @ RNG.normal(size=8), BANDS[0][:, 0] + BANDS[1][:, 0]], 1
) + 2 * RNG.normal(size=(40, 3))
BANDS = [band - band.mean(0) for band in BANDS]
GROUPS = np.arange(40) % 4
PENALTIES = [0.1, 1.0, 10.0, 100.0]


@pytest.fixture(autouse=True)
def double():
    """The reference tools compute in float64."""
    with jax.enable_x64(True):
        yield


def encoded(bands, shares, penalties=PENALTIES, values=VOXELS, dtype=jnp.float64):
    bands = [jnp.asarray(band, dtype) for band in bands]
    arrays = (jnp.asarray(own, dtype) for own in (penalties, shares))
    return encoding.encode(
        encoding.kernels(bands, bands), jnp.asarray(values, dtype), encoding.folds_of(GROUPS), *arrays
    )


def test_banded_ridge_equals_himalaya():
    found = encoded(BANDS, [[1, 0], [0, 1], [0.5, 0.5]])
    np.testing.assert_allclose(found.shares, [[1, 0], [0, 1], [0.5, 0.5]])
    np.testing.assert_allclose(found.penalty, [10, 10, 10])
    np.testing.assert_allclose(found.score, [0.10144235029, 0.09126236023, 0.16971221400], atol=1e-5)
    dual = [[3.5559693529, 1.3209070931, -1.0406517369], [-2.9461744333, 1.6160273209, 0.0068713366]]
    np.testing.assert_allclose(found.penalty[None] * found.dual[:2], dual, atol=1e-5)
    np.testing.assert_allclose(found.offset, [-0.2128024922, -0.4388778479, -0.0135939916], atol=1e-5)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_ridge_equals_scikit_learn(penalty):
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import PredefinedSplit, cross_val_score

    found = encoded(BANDS[:1], [[1.0]], [penalty])
    model = Ridge(alpha=penalty)
    new = np.random.default_rng(1).normal(size=(7, 5)) + 3
    products = encoding.kernels([jnp.asarray(new)], [jnp.asarray(BANDS[0])])
    np.testing.assert_allclose(
        encoding.predict(found, products), model.fit(BANDS[0], VOXELS).predict(new), rtol=1e-5, atol=1e-5
    )
    for voxel in range(3):
        wanted = cross_val_score(model, BANDS[0], VOXELS[:, voxel], cv=PredefinedSplit(GROUPS), scoring="r2").mean()
        assert found.score[voxel] == pytest.approx(wanted, abs=1e-5)


def test_single_precision_is_enough_for_penalties_that_matter():
    exact, quick = (encoded(BANDS, [[0.5, 0.5]], [10.0], dtype=dtype) for dtype in (jnp.float64, jnp.float32))
    assert quick.dual.dtype == jnp.float32
    for one, other in zip(exact, quick, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_every_voxel_has_a_penalty_of_its_own():
    values = np.stack([VOXELS[:, 0], np.random.default_rng(2).normal(size=40)], 1)
    alone = [encoded(BANDS[:1], [[1.0]], values=values[:, i : i + 1]) for i in range(2)]
    both = encoded(BANDS[:1], [[1.0]], values=values)
    np.testing.assert_allclose(both.penalty, [own.penalty[0] for own in alone])
    np.testing.assert_allclose(both.dual, np.concatenate([own.dual for own in alone], 1), atol=1e-5)


def test_the_share_of_signal_is_found():
    rng = np.random.default_rng(3)
    signal = rng.normal(size=(400, 50))
    values = signal[None] + rng.normal(size=(3, 400, 50)) * np.sqrt(3)
    assert encoding.signal_share(values).mean() == pytest.approx(0.5, abs=0.02)


def test_the_permutation_test_keeps_its_level_and_has_power():
    rng = np.random.default_rng(4)
    predicted = rng.normal(size=(30, 2000)).astype(np.float32)
    noise = rng.normal(size=(30, 2000)).astype(np.float32)
    key = jax.random.key(0)
    p = encoding.permutation_p(jnp.asarray(predicted), jnp.asarray(noise), key, 99)
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.02)
    assert (
        encoding.permutation_p(jnp.asarray(predicted), jnp.asarray(predicted + noise), key, 99) <= 0.05
    ).mean() > 0.9


def test_choices_are_made_without_the_data_that_are_tested():
    rng = np.random.default_rng(5)
    layers, noise = [rng.normal(size=(60, 30)) for _ in range(6)], rng.normal(size=(60, 200))
    signal = layers[2] @ rng.normal(size=(30, 200))
    for groups in (np.arange(60) % 3, np.arange(60) % 2):  # of two groups, the one that is left is halved
        chance = encoding.explained(layers, noise, groups, PENALTIES, tried=2, seed=0)
        assert chance.single.mean() < 0 and chance.banded.mean() < 0  # a mean foretells noise better
        found = encoding.explained(layers, signal, groups, PENALTIES, tried=2, seed=0)
        assert np.median(found.single) > 0.3 and (found.scores.argmax(0) == 2).mean() > 0.9


def test_a_single_choice_is_scored_as_scikit_learn_scores_it():
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import LeaveOneGroupOut

    found, scores = encoding.held_out(BANDS[:1], VOXELS, GROUPS, [2.0], encoding.PLAIN), []
    for learn, held in LeaveOneGroupOut().split(VOXELS, groups=GROUPS):
        x = encoding.scaled_features(BANDS[0], learn)
        model = Ridge(alpha=2.0).fit(x[learn], VOXELS[learn])
        true = VOXELS[held]
        scores.append(1 - ((true - model.predict(x[held])) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0))
    np.testing.assert_allclose(found, np.mean(scores, axis=0), atol=1e-5)
