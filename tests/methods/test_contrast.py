"""Contrast equals its definition, row by row."""

import jax.numpy as jnp
import numpy as np

from deeplearn.methods.contrast import supervised
from deeplearn.models.autoencoder import contrast


def test_supervised_contrast_equals_its_definition_and_ignores_padding():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(7, 4))
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    label, mask = np.array([0, 1, 0, 1, 0, 2, 0]), np.array([1.0] * 6 + [0.0])
    near = np.exp(codes @ codes.T / 0.3)
    expected = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        alike = [j for j in others if label[j] == label[i]]
        terms = [np.log(near[i, j] / sum(near[i, k] for k in others)) for j in alike]
        expected.append(-np.mean(terms) if terms else 0.0)
    found = supervised(jnp.asarray(codes, jnp.float32), jnp.asarray(label), jnp.asarray(mask, jnp.float32), 0.3)
    np.testing.assert_allclose(found[:6], expected, rtol=1e-4)


def test_with_a_label_for_each_example_it_is_simclrs_loss():
    rng = np.random.default_rng(1)
    first, second = (jnp.asarray(rng.normal(size=(5, 3)), jnp.float32) for _ in range(2))
    codes = jnp.concatenate([first, second])
    codes = codes / jnp.linalg.norm(codes, axis=1, keepdims=True)
    found = supervised(codes, jnp.tile(jnp.arange(5), 2), jnp.ones(10, jnp.float32), 0.2)
    np.testing.assert_allclose((found[:5] + found[5:]) / 2, contrast(first, second, 0.2), rtol=1e-4)
