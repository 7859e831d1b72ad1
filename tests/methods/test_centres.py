"""Maps of centres say where the objects are, and are read as they were written."""

import jax
import jax.numpy as jnp
import numpy as np

from deeplearn.methods import centres
from deeplearn.methods.centres import Maps

STRIDE = 4
BOX = jnp.array([[[5.0, 9.0, 25.0, 33.0], [40.0, 8.0, 60.0, 30.0], [0, 0, 0, 0]]])
LABEL = jnp.array([[1, 0, -1]])


def perfect() -> Maps:
    """Maps of 12 x 16 cells with two classes that say exactly what is there."""
    target = jax.vmap(lambda box, label: centres.targets(box, label, (12, 16, 2), STRIDE))(BOX, LABEL)
    middle = centres.cells(12, 16, STRIDE)[None]
    sides = jnp.concatenate([middle - target.box[..., :2], target.box[..., 2:] - middle], axis=-1) / STRIDE
    sure = jnp.where(target.peak, 12.0, -12.0)
    return Maps(sure, sides, jnp.full(sides.shape[:3], 12.0))


def test_what_is_written_is_read():
    found = jax.jit(lambda maps: centres.detections(maps, STRIDE, 5))(perfect())
    np.testing.assert_allclose(found.score[0], [1, 1, 0, 0, 0], atol=1e-2)
    order = np.argsort(-found.label[0, :2])
    np.testing.assert_allclose(found.box[0, :2][order], BOX[0, :2], atol=1e-4)
    assert found.label[0, :2][order].tolist() == [1, 0]


def test_nothing_is_wrong_with_what_is_right_and_much_with_what_is_not():
    nobody = jnp.zeros((1, 3), bool)
    loss = jax.jit(lambda maps, label, crowd: centres.loss(maps, BOX, label, crowd, STRIDE))
    assert loss(perfect(), LABEL, nobody)[0] < 0.01
    moved = perfect()._replace(sides=perfect().sides + 1.0)
    assert loss(moved, LABEL, nobody)[0] > 0.2
    assert loss(perfect(), 1 - LABEL, nobody)[0] > 5
    empty = Maps(jnp.full((1, 12, 16, 2), -12.0), perfect().sides, perfect().fit)
    assert loss(empty, jnp.full((1, 3), -1), nobody)[0] < 0.01
    # What nobody is asked to find is no object, however surely it is there.
    assert loss(empty, LABEL, LABEL >= 0)[0] < 0.01


def test_a_network_learns_from_finite_gradients_where_nothing_is():
    gradient = jax.grad(
        lambda maps: centres.loss(maps, BOX, jnp.full((1, 3), -1), jnp.zeros((1, 3), bool), STRIDE).sum()
    )
    assert all(jnp.isfinite(leaf).all() for leaf in gradient(perfect()))
