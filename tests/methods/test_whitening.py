"""Shrunk whitening is the inverse root of the shrunk covariance, and makes codes comparable."""

import numpy as np
import pytest

from deeplearn.methods.whitening import chosen, codes, whitened, whitening

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [8, 60])
def test_it_equals_the_inverse_root_of_the_shrunk_covariance(size):
    """Also with fewer points than dimensions."""
    points = RNG.normal(size=(size, 12)) @ RNG.normal(size=(12, 12))
    covariance = np.cov(points.T, bias=True)
    shrunk = 0.7 * covariance + 0.3 * np.trace(covariance) / 12 * np.eye(12)
    values, vectors = np.linalg.eigh(shrunk)
    expected = (points - points.mean(0)) @ vectors / np.sqrt(values) @ vectors.T
    found = whitened(whitening(points, 0.3), points)
    factor = np.sqrt(0.3 * np.trace(covariance) / 12)
    np.testing.assert_allclose(found, expected * factor, atol=1e-4 * np.abs(found).max())


def test_people_choose_the_code_that_tells_strangers_apart():
    label = np.repeat(np.arange(9), 4)
    noise = RNG.normal(size=(2, 36, 20))
    telling = RNG.normal(size=(9, 20))[label][None] * 3 + noise
    assert chosen({"noise": noise, "telling": telling}, label) == "telling"
    found = codes(whitening(np.concatenate(telling)), telling)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
