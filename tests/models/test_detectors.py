"""Detectors take pictures of any sides and promise the shapes that their losses read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.models.detectors import CentreDetector, SetDetector
from deeplearn.models.efficientnet import Trunk
from deeplearn.models.pretrained import begun_below, pretrained
from deeplearn.models.pyramid import LASTS, padded

IMAGE = jnp.zeros((2, 33, 50, 3))


def shapes(net):
    out, _ = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, train=False), IMAGE)
    return out


@pytest.mark.parametrize("trained", [False, True])
def test_maps_have_cells_of_four_pixels(trained):
    maps = shapes(CentreDetector(3, 8, trained=trained))
    assert maps.heat.shape == (2, 12, 16, 3) and maps.sides.shape == (2, 12, 16, 4) and maps.fit.shape == (2, 12, 16)


@pytest.mark.parametrize("trained", [False, True])
def test_every_stage_guesses_and_the_first_in_every_cell(trained):
    stages = shapes(SetDetector(3, 8, queries=5, trained=trained))
    assert [stage.logits.shape for stage in stages] == [(2, 48, 3), *[(2, 5, 3)] * 3]
    assert all(stage.box.shape == (*stage.logits.shape[:2], 4) for stage in stages)


def test_nothing_is_fixed_and_nothing_more_is_learnt_on_a_way_down_of_its_own():
    variables = jax.eval_shape(lambda x: CentreDetector(1, 32).init(jax.random.key(0), x, train=False), IMAGE)
    assert variables.keys() == {"params"}
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 660_662


def test_levels_of_a_trained_way_down_are_those_of_the_network_it_is_from():
    """In training too, whose batches do not move its statistics; an image of any sides."""
    net = CentreDetector(1, 8, trained=True)
    image = jax.random.normal(jax.random.key(1), IMAGE.shape)
    fresh = jax.jit(lambda x: net.init(jax.random.key(0), x, train=False))(image)
    begun = begun_below("pretrained:efficientnet-lite0", fresh)
    assert begun["params"] is fresh["params"]
    trunk = {kind: tree["trunk"] for kind, tree in pretrained("efficientnet-lite0").variables.items()}
    seen = jax.jit(lambda x: Trunk().apply(trunk, x, train=False))(padded(image, 16))

    @jax.jit
    def looked(x):
        kept, sides = ["fixed", "intermediates"], lambda module, _: (module.name or "").startswith("side")
        return net.apply(begun, x, train=True, mutable=kept, capture_intermediates=sides)[1]

    state = looked(image)
    jax.tree.map(np.testing.assert_array_equal, state["fixed"], begun["fixed"])
    for i, name in enumerate(LASTS):
        (found,) = state["intermediates"]["pyramid"][f"side{i}"]["__call__"]
        side = begun["params"]["pyramid"][f"side{i}"]
        wanted = seen[name] @ side["kernel"][0, 0] + side["bias"].reshape(1, 1, 1, -1)
        np.testing.assert_allclose(found, wanted, atol=1e-4 * float(jnp.abs(wanted).max()))
