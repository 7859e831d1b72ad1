"""Predictions and objects are matched as sets: their order does not matter."""

import jax
import jax.numpy as jnp
import numpy as np

from deeplearn.methods import sets

BOX = jnp.array([[[0.2, 0.3, 0.2, 0.2], [0.7, 0.6, 0.3, 0.2], [0.5, 0.5, 0, 0]]])
LABEL = jnp.array([[2, 0, -1]])
NOBODY = jnp.zeros((1, 3), bool)
LOSS = jax.jit(sets.loss)


def predictions(shift: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Five predictions, of which the fourth and the first are the objects'."""
    found = jnp.full((1, 5, 4), 0.4).at[0, 3].set(BOX[0, 0] + shift).at[0, 0].set(BOX[0, 1])
    return jnp.full((1, 5, 3), -8.0).at[0, 3, 2].set(8.0).at[0, 0, 0].set(8.0), found


def test_corners_and_centres_are_each_others_inverse():
    np.testing.assert_allclose(sets.centred(sets.corners(BOX)), BOX, atol=1e-6)


def test_every_object_gets_its_prediction_whatever_the_order():
    logits, found = predictions()
    matching = jax.jit(sets.matching)
    assert matching(logits[0], found[0], LABEL[0], BOX[0])[:2].tolist() == [3, 0]
    right = LOSS(logits, found, LABEL, BOX, NOBODY)
    assert right[0] < 0.01
    order, other = jnp.array([4, 2, 0, 1, 3]), jnp.array([1, 2, 0])
    again = LOSS(logits[:, order], found[:, order], LABEL[:, other], BOX[:, other], NOBODY)
    np.testing.assert_allclose(again, right, rtol=1e-5)
    assert LOSS(*predictions(0.2), LABEL, BOX, NOBODY)[0] > 1
    doubled = logits.at[0, 1, 2].set(8.0), found.at[0, 1].set(BOX[0, 0])
    assert LOSS(*doubled, LABEL, BOX, NOBODY)[0] > 2  # a second prediction of an object is wrong


def test_what_nobody_is_asked_to_find_is_no_object():
    logits, found = predictions()
    assert LOSS(jnp.full_like(logits, -8.0), found, LABEL, BOX, LABEL >= 0)[0] < 0.01
