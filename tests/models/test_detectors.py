"""Detectors take pictures of any sides and promise the shapes that their losses read."""

import jax
import jax.numpy as jnp

from deeplearn.models.detectors import CentreDetector, SetDetector

IMAGE = jnp.zeros((2, 33, 50, 3))


def shapes(net):
    out, _ = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, train=False), IMAGE)
    return out


def test_maps_have_cells_of_four_pixels():
    maps = shapes(CentreDetector(3, 8))
    assert maps.heat.shape == (2, 12, 16, 3) and maps.sides.shape == (2, 12, 16, 4) and maps.fit.shape == (2, 12, 16)


def test_every_stage_guesses_and_the_first_in_every_cell():
    stages = shapes(SetDetector(3, 8, queries=5))
    assert [stage.logits.shape for stage in stages] == [(2, 48, 3), *[(2, 5, 3)] * 3]
    assert all(stage.box.shape == (*stage.logits.shape[:2], 4) for stage in stages)
