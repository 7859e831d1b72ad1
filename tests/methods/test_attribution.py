"""Explanations equal captum's on one small network, and keep what their papers promise."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods import attribution

CAPTUM = np.load(Path(__file__).parent / "files" / "captum.npz")
"""Weights of `Net`, a picture, and what captum 0.8 says of its second logit; the baseline is 0.1."""
X = jnp.asarray(CAPTUM["x"])


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = nn.softplus(nn.Conv(4, (3, 3), name="a")(x))
        x = nn.softplus(nn.Conv(5, (3, 3), name="b")(x))
        return nn.Dense(3, name="d")(x.mean((1, 2)) ** 2)


VARIABLES = {"params": {name: {"kernel": CAPTUM[f"k{name}"], "bias": CAPTUM[f"b{name}"]} for name in "abd"}}


@jax.jit
def logit(x):
    return Net().apply(VARIABLES, x, train=False)[:, 1]


SLOPE = jax.jit(attribution.slopes(logit))


def test_gradients_occlusion_and_maps_of_layers_are_captums():
    np.testing.assert_allclose(Net().apply(VARIABLES, X[None], train=False), CAPTUM["logits"], atol=1e-5)
    np.testing.assert_allclose(attribution.gradient(logit, X), CAPTUM["gradient"], atol=1e-5)
    found = attribution.integrated_gradients(logit, SLOPE, X, jnp.full_like(X, 0.1), tolerance=1e-5)
    np.testing.assert_allclose(found.map, CAPTUM["ig"], atol=1e-5)
    assert found.gap < 1e-4
    covered = attribution.occlusion(logit, X, size=3, stride=1)
    np.testing.assert_allclose(covered, CAPTUM["occlusion"][..., 0], atol=1e-5)
    cam = attribution.grad_cam(Net(), VARIABLES, X, "b", lambda outputs: outputs[0, 1])
    np.testing.assert_allclose(cam, CAPTUM["cam"], atol=1e-5)


def test_the_layers_of_a_network_are_found_in_their_order():
    assert attribution.layers(Net(), VARIABLES, X[None]) == {"a": (1, 9, 8, 4), "b": (1, 9, 8, 5)}
    with pytest.raises(KeyError, match="elsewhere"):
        attribution.perturbed(Net(), VARIABLES, X[None], "elsewhere", None)


def test_smoothing_without_noise_is_the_gradient():
    found = attribution.smooth_gradient(SLOPE, X, jax.random.key(0), deviation=0.0, samples=3)
    np.testing.assert_allclose(found, CAPTUM["gradient"], atol=1e-5)


def test_pieces_are_halved_until_the_sum_is_complete():
    x = jnp.abs(X)
    whole = float(x.sum())

    def bent(x):  # As rectifiers do, it bends in the middle of the line, where a single rule goes wrong.
        return jax.nn.relu(x.sum((1, 2, 3)) - 0.3 * whole)

    slope, empty = attribution.slopes(bent), jnp.zeros_like(x)
    once = attribution.integrated_gradients(bent, slope, x, empty, most=2, batch=2)
    found = attribution.integrated_gradients(bent, slope, x, empty, tolerance=1e-2, batch=2)
    assert once.gap > 1e-2 * 0.7 * whole > found.gap
    np.testing.assert_allclose(found.map, 0.7 * x, rtol=0.02)


def test_cells_keep_the_mean_and_quarters_are_counted_by_rows():
    values = np.random.default_rng(0).random((6, 9))
    np.testing.assert_allclose(attribution.cells(values, 3)[2:4, 3:6], values[2:4, 3:6].mean())
    for quarter, place in enumerate([(0, 0), (2, 5), (3, 3), (5, 8)]):
        peak = np.zeros((6, 9))
        peak[place] = 1
        assert [attribution.in_quarter(peak, other) for other in range(4)] == [q == quarter for q in range(4)]


def test_a_maximum_lies_in_a_box_or_beside_it():
    box = np.array([[2.0, 1.0, 5.0, 3.0], [7.0, 4.0, 9.0, 6.0]])  # left, top, right, bottom
    found = np.zeros((6, 9), bool)
    for place in np.ndindex(6, 9):
        peak = np.zeros((6, 9))
        peak[place] = 1
        found[place] = attribution.in_boxes(peak, box)
    expected = np.zeros((6, 9), bool)
    expected[1:3, 2:5] = expected[4:6, 7:9] = True
    np.testing.assert_array_equal(found, expected)


def test_deleting_and_inserting_go_from_one_picture_to_the_other():
    def sum_of_all(x):
        return x.sum((1, 2, 3))

    x = jnp.asarray(np.random.default_rng(0).random((6, 5, 1)), jnp.float32)
    by_value, at_random = x[..., 0], jnp.asarray(np.random.default_rng(1).random((6, 5)), jnp.float32)
    empty = jnp.zeros_like(x)
    gone = attribution.deletion(sum_of_all, x, empty, by_value)
    assert gone.value[0] == pytest.approx(float(x.sum()), rel=1e-5) and gone.value[-1] == 0
    assert gone.area < attribution.deletion(sum_of_all, x, empty, at_random).area
    come = attribution.deletion(sum_of_all, x, empty, by_value, insert=True)
    assert come.area > attribution.deletion(sum_of_all, x, empty, at_random, insert=True).area
    np.testing.assert_allclose(come.value + gone.value, x.sum(), rtol=1e-5)


def test_maximising_a_filter_finds_what_it_looks_for():
    """A filter of bright columns is answered by columns."""
    kernel = jnp.tile(jnp.array([-1.0, 1.0, 1.0, -1.0]), (4, 1))[:, :, None, None]

    def score(x):
        return jax.lax.conv_general_dilated(
            x, kernel, (4, 4), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ).mean()

    found = attribution.maximised(score, (16, 16, 1), jax.random.key(0), steps=60, jitter=0)
    start = attribution.maximised(score, (16, 16, 1), jax.random.key(0), steps=0, jitter=0)
    assert score(found[None]) > score(start[None]) + 3
    columns, rows = found[..., 0].mean(0), found[..., 0].mean(1)
    assert columns.std() > 3 * rows.std()
