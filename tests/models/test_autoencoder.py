"""The objectives of deep clustering equal slow oracles; the models keep shapes and start where they are told to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.models import autoencoder as ae

KEY = jax.random.key(0)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_soft_assignment_and_target_equal_the_formulas():
    code, centres, size = normal(6, 3), normal(4, 3, seed=1), np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    soft = np.array([[1 / (1 + np.sum((z - c) ** 2)) for c in centres] for z in code])
    soft /= soft.sum(1, keepdims=True)
    np.testing.assert_allclose(ae.student(jnp.asarray(code), jnp.asarray(centres)), soft, rtol=1e-5)
    target = np.array([[q**2 / f for q, f in zip(row, size, strict=True)] for row in soft])
    target /= target.sum(1, keepdims=True)
    found = ae.sharpened(jnp.asarray(soft, jnp.float32), jnp.asarray(size))
    np.testing.assert_allclose(found, target, rtol=1e-5)
    divergence = (target * np.log(target / soft)).sum(1)
    np.testing.assert_allclose(ae.divergence(found, jnp.asarray(soft, jnp.float32)), divergence, rtol=1e-3, atol=1e-6)


def test_the_target_has_no_gradient():
    gradient = jax.grad(lambda soft: ae.sharpened(soft, jnp.ones(3)).sum())(jax.nn.softmax(jnp.asarray(normal(2, 3))))
    np.testing.assert_array_equal(gradient, 0)


def prior() -> ae.Prior:
    return ae.Prior(jnp.array([0.3, 0.7]), jnp.array([[-1.0], [2.0]]), jnp.array([[0.5], [1.5]]))


def gaussian(z: np.ndarray, mean: float, variance: float) -> np.ndarray:
    return np.exp(-((z - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def test_responsibilities_are_bayes_rule():
    z = np.linspace(-3, 3, 7)
    joint = np.stack([0.3 * gaussian(z, -1, 0.5), 0.7 * gaussian(z, 2, 1.5)], axis=1)
    found = ae.responsibilities(jnp.asarray(z[:, None], jnp.float32), prior())
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_the_latent_divergence_equals_an_integral():
    mean, variance, soft = 0.4, 0.3, np.array([0.6, 0.4])
    z = np.linspace(-12, 12, 20001)
    q = gaussian(z, mean, variance)
    inside = sum(
        share * (np.log(q + 1e-300) + np.log(share) - np.log(weight) - np.log(gaussian(z, m, v) + 1e-300))
        for share, weight, m, v in zip(soft, (0.3, 0.7), (-1, 2), (0.5, 1.5), strict=True)
    )
    expected = np.trapezoid(q * inside, z)
    outputs = ae.Variational(
        code=jnp.array([[mean]]),
        log_variance=jnp.log(jnp.array([[variance]])),
        reconstruction=jnp.zeros((1, 1)),
        soft=jnp.asarray(soft, jnp.float32)[None],
        prior=prior(),
    )
    assert float(ae.latent_divergence(outputs)[0]) == pytest.approx(expected, rel=1e-4)


def test_contrast_equals_a_loop():
    first, second, temperature = normal(4, 3), normal(4, 3, seed=1), 0.5
    codes = np.concatenate([first, second])
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    losses = []
    for i in range(8):
        others = [np.exp(codes[i] @ codes[j] / temperature) for j in range(8) if j != i]
        losses.append(-np.log(np.exp(codes[i] @ codes[(i + 4) % 8] / temperature) / sum(others)))
    expected = (np.array(losses[:4]) + np.array(losses[4:])) / 2
    found = ae.contrast(jnp.asarray(first), jnp.asarray(second), temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("shape", "channels"), [((8, 8, 1), ()), ((9, 7, 2), (4, 6)), ((5, 1, 1), ())])
def test_reconstructions_have_the_shape_of_the_input(shape, channels):
    model = ae.Autoencoder(ae.Encoder((16,), 3, channels), ae.Decoder(shape, (16,), channels))
    x = jnp.asarray(normal(2, *shape))
    found, _ = model.init_with_output(KEY, x, train=False)
    assert found.code.shape == (2, 3)
    assert found.reconstruction.shape == x.shape


def small() -> ae.Autoencoder:
    return ae.Autoencoder(ae.Encoder((8,), 2), ae.Decoder((4, 1, 1), (8,)))


def test_dec_starts_at_the_given_centres_and_follows_sizes_in_training_only():
    centres, x = normal(3, 2), jnp.asarray(normal(5, 4, 1, 1))
    model = ae.DEC(small(), centres)
    variables = model.init(KEY, x, train=False)
    np.testing.assert_array_equal(variables["params"]["centres"], centres)
    _, still = model.apply(variables, x, train=False, mutable=["sizes"])
    np.testing.assert_array_equal(still["sizes"]["size"], variables["sizes"]["size"])
    out, moved = model.apply(variables, x, train=True, mutable=["sizes"])
    np.testing.assert_allclose(moved["sizes"]["size"], 0.99 / 3 + 0.01 * out.soft.mean(0), rtol=1e-5)


def test_vade_samples_in_training_only():
    x = jnp.asarray(normal(5, 4, 1, 1))
    model = ae.VaDE(small(), ae.Prior(np.full(3, 1 / 3), normal(3, 2), np.ones((3, 2))))
    variables = model.init(KEY, x, train=False)
    still = model.apply(variables, x, train=False)
    np.testing.assert_allclose(still.soft, ae.responsibilities(still.code, still.prior), rtol=1e-6)
    one, other = (model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(i)}) for i in range(2))
    np.testing.assert_array_equal(one.code, other.code)
    assert not np.allclose(one.reconstruction, other.reconstruction)


def test_the_members_of_an_ensemble_are_encoders_of_their_own():
    x = jnp.asarray(normal(5, 4, 1, 1))
    model = ae.Ensemble(ae.Encoder((8,), 2, norm="batch"), 3)
    variables = model.init(KEY, x, train=False)
    found = model.apply(variables, x, train=False)
    assert found.shape == (5, 3, 2)
    for member in range(3):
        own = jax.tree.map(lambda leaf, member=member: leaf[member], variables)
        own = {name: tree["member"] for name, tree in own.items()}
        np.testing.assert_allclose(found[:, member], model.member.apply(own, x, train=False), rtol=1e-5, atol=1e-6)
    assert not np.allclose(found[:, 0], found[:, 1])
    # Each on its own loss: what one member is told does not reach the others.
    gradient = jax.grad(lambda v: model.apply(v, x, train=False)[:, 1].sum())(variables)["params"]["member"]
    moved = np.abs(gradient["code"]["kernel"]).sum((1, 2))
    assert moved[1] > 0 and moved[0] == moved[2] == 0


def test_the_loss_of_dec_is_that_of_idec_without_reconstruction():
    x = jnp.asarray(normal(5, 4, 1, 1))
    model = ae.DEC(small(), normal(3, 2))
    out = model.apply(model.init(KEY, x, train=False), x, train=False)
    error = ae.squared_error(out.reconstruction, x)
    np.testing.assert_allclose(ae.embedded(out, x, 2.0) - ae.embedded(out, x, 0.0), 2 * error, rtol=1e-5)


def test_a_warm_start_replaces_one_part_alone():
    from deeplearn.metrics import Mean
    from deeplearn.task import linen, warm

    batch = {"image": jnp.asarray(normal(5, 4, 1, 1)), "mask": jnp.ones(5)}
    learnt = small().init(jax.random.key(7), batch["image"], train=False)
    model = ae.DEC(small(), normal(3, 2))
    task = linen(model, lambda out, b: (Mean.of(out.soft[:, 0], b["mask"]), {}), inputs=lambda b: (b["image"],))
    fresh, begun = task.init(KEY, batch), warm(task, "autoencoder", learnt).init(KEY, batch)
    jax.tree.map(np.testing.assert_array_equal, begun["params"]["autoencoder"], learnt["params"])
    np.testing.assert_array_equal(begun["params"]["centres"], fresh["params"]["centres"])
    jax.tree.map(np.testing.assert_array_equal, begun["sizes"], fresh["sizes"])
