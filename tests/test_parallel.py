"""Meshes, placements, and what is refused before anything is compiled."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from deeplearn.errors import ConfigError
from deeplearn.models.conformer import Conformer
from deeplearn.models.transformer import Transformer
from deeplearn.models.vit import ViT
from deeplearn.parallel import check, make_mesh, placements, refuse_parts


def test_axes_that_are_not_named_have_size_1_and_no_text_means_all_on_data():
    assert dict(make_mesh("data=2,tensor=2").shape) == {"data": 2, "fsdp": 1, "tensor": 2}
    assert make_mesh("").shape["data"] == len(jax.devices())


@pytest.mark.parametrize("text", ["data=0", "rows=2", "data", "data=two", "data=99"])
def test_a_mesh_that_cannot_be_is_an_error(text):
    with pytest.raises(ConfigError):
        make_mesh(text)


def test_the_first_rule_that_matches_places_a_leaf():
    mesh = make_mesh("data=2,tensor=2")
    tree = {"attention": {"kernel": jnp.zeros((8, 6))}, "other": {"kernel": jnp.zeros((8, 6)), "bias": jnp.zeros(6)}}
    placed = placements(tree, mesh, rules=[("attention/kernel", ("tensor", None))])
    assert placed["attention"]["kernel"].spec == P("tensor", None)
    assert placed["other"]["kernel"].spec == P(None, "tensor")
    assert placed["other"]["bias"].spec == P(None)


def test_a_rule_of_more_axes_than_a_leaf_has_is_not_for_it():
    tree = {"query": {"kernel": jnp.zeros((8, 6))}, "out": {"kernel": jnp.zeros((8, 6))}}
    placed = placements(tree, make_mesh("data=2,tensor=2"))
    assert placed["query"]["kernel"].spec == placed["out"]["kernel"].spec == P(None, "tensor")


def test_an_axis_that_does_not_divide_stays_whole():
    placed = placements({"kernel": jnp.zeros((8, 5))}, make_mesh("data=2,tensor=2"))
    assert placed["kernel"].spec == P(None, None)


@pytest.mark.parametrize(
    ("spec", "how", "batch", "microbatches", "message"),
    [
        ("data=2", "jit", 3, 1, "multiple of 2"),
        ("data=2", "jit", 8, 8, "multiple of 16"),
        ("data=2,fsdp=2", "shard_map", 8, 1, "spreads data only"),
        ("data=2", "pmap", 8, 1, "uses every device"),
    ],
)
def test_what_cannot_work_is_refused(spec, how, batch, microbatches, message):
    with pytest.raises(ConfigError, match=message):
        check(make_mesh(spec), how, batch, microbatches)


def test_parts_of_a_batch_are_refused_to_coupled_losses_and_announced_to_batch_statistics():
    one, two = make_mesh("data=1"), make_mesh("data=2")
    assert refuse_parts(True, ["params", "batch_stats"], two, "jit", 1) is None
    assert refuse_parts(True, ["params"], one, "shard_map", 1) is None
    for mesh, how, microbatches in ((two, "shard_map", 1), (one, "jit", 2)):
        with pytest.raises(ConfigError, match="--microbatches 1"):
            refuse_parts(True, ["params"], mesh, how, microbatches)
        assert "differ" in refuse_parts(False, ["params", "batch_stats"], mesh, how, microbatches)
        assert refuse_parts(False, ["params"], mesh, how, microbatches) is None


def test_attention_is_sliced_by_whole_heads():
    """Half of a head would have to sum its products over devices."""
    rows, words = jnp.zeros((2, 16, 8)), jnp.ones((2, 6), jnp.int32)
    models = {  # heads of 5 numbers, which appear nowhere else
        "transformer": (Transformer(vocabulary=16, width=20, layers=1, heads=4, hidden=32), (words, words)),
        "conformer": (Conformer(symbols=6, layers=1, width=20, heads=4, kernel=8), (rows, jnp.array([16, 16]))),
        "vit": (ViT(classes=6, patch=8, depth=1, width=20, heads=4), (jnp.zeros((2, 16, 16, 3)),)),
        "flax's": (nn.MultiHeadDotProductAttention(num_heads=4, qkv_features=20), (rows,)),
    }
    for name, (model, inputs) in models.items():
        train = {} if name == "flax's" else {"train": False}
        shapes = jax.eval_shape(partial(model.init, **train), jax.random.key(0), *inputs)["params"]
        placed = placements(shapes, make_mesh("data=2,tensor=4"))
        sliced = []
        for (path, leaf), own in zip(jax.tree.leaves_with_path(shapes), jax.tree.leaves(placed), strict=True):
            axes = dict(zip(leaf.shape, own.spec, strict=True))
            if path[-1].key == "kernel" and {5, 15} & set(leaf.shape):
                sliced.append(axes[4])
                assert axes.get(5) is None and axes.get(15) is None, (name, leaf.shape, own.spec)
        assert sliced and set(sliced) == {"tensor"}, (name, sliced)
