"""The PyTorch twins compute the same loss and gradients. Skipped without PyTorch, which is a peer only."""

import pytest

pytest.importorskip("torch")

import jax

from benchmarks.cases import cases
from benchmarks.peers import twin


@pytest.mark.parametrize("name", list(twin.TWINS))
def test_twins_have_the_same_loss_and_gradients(name):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = twin.differences(name, cases()[name])
    assert found.pop("loss") < 1e-5
    assert max(found.values()) < 1e-3, {key: value for key, value in found.items() if value >= 1e-3}
