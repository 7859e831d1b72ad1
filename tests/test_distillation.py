"""A network that learns from a slow copy of itself: against arithmetic by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.distillation import SHARP, SLOW, distilling


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3)(x)


def two(key, batch):
    return batch | {"other": batch["x"][::-1] * 0.5}


TASK = distilling(
    Net(),
    inputs=lambda batch: (jnp.concatenate([batch["x"], batch["other"]]) if "other" in batch else batch["x"],),
    augment=two,
    code=3,
    prototypes=5,
    temperature=0.1,
    momentum=0.9,
)
BATCH = {
    "x": np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32),
    "mask": np.array([1, 1, 1, 0], np.float32),
    "index": np.arange(4, dtype=np.int32),
}


@pytest.fixture(scope="module")
def variables():
    """A copy that has fallen behind, and a centre that is not zero."""
    fresh = TASK.init(jax.random.key(0), BATCH)
    jax.tree.map(np.testing.assert_array_equal, fresh["teacher"], fresh["params"])
    ahead = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(1), x.shape), fresh["params"])
    return {**fresh, "params": ahead, "centre": jnp.linspace(-0.1, 0.1, 5)}


def cosines(params, x):
    dense = params["network"]["Dense_0"]
    codes = x @ np.asarray(dense["kernel"], np.float64) + np.asarray(dense["bias"])
    table = np.asarray(params["prototypes"], np.float64)
    return codes / np.linalg.norm(codes, axis=1, keepdims=True) @ (table / np.linalg.norm(table, axis=0))


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_the_loss_is_what_the_copy_says_of_the_other_view(variables):
    first, second = BATCH["x"].astype(np.float64), BATCH["x"][::-1].astype(np.float64) * 0.5
    word = [
        softmax((cosines(variables["teacher"], x) - np.asarray(variables["centre"])) / SHARP) for x in (first, second)
    ]
    ours = [np.log(softmax(cosines(variables["params"], x) / 0.1)) for x in (first, second)]
    each = [-(word[1] * ours[0]).sum(1), -(word[0] * ours[1]).sum(1)]
    found = TASK.loss(variables, BATCH, jax.random.key(2), True)
    np.testing.assert_allclose(found.loss.total, sum((own * BATCH["mask"]).sum() for own in each), rtol=1e-4)
    assert found.loss.count == 6


def test_the_copy_drifts_and_is_not_trained(variables):
    extra = TASK.loss(variables, BATCH, jax.random.key(2), True).extra
    drifted = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, variables["teacher"], variables["params"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), extra["teacher"], drifted)
    seen = np.concatenate([cosines(variables["teacher"], x)[:3] for x in (BATCH["x"], BATCH["x"][::-1] * 0.5)])
    centre = SLOW * np.asarray(variables["centre"]) + (1 - SLOW) * seen.mean(0)
    np.testing.assert_allclose(extra["centre"], centre, rtol=1e-4, atol=1e-6)
    slope = jax.grad(lambda known: TASK.loss({**variables, **known}, BATCH, jax.random.key(2), True).loss.total)
    still = slope({name: variables[name] for name in ("teacher", "centre")})
    assert all(not leaf.any() for leaf in jax.tree.leaves(still))


def test_codes_have_length_one_and_ask_nothing_of_the_copy(variables):
    codes = TASK.predict(variables, BATCH)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, rtol=1e-5)
    other = {**variables, "teacher": jax.tree.map(jnp.zeros_like, variables["teacher"])}
    np.testing.assert_array_equal(TASK.predict(other, BATCH), codes)
    assert TASK.loss(variables, BATCH, jax.random.key(2), False).loss.count == 0
