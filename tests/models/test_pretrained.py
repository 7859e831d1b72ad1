"""Pretrained networks compute what their authors' code computes; weights of another network are refused."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from deeplearn import catalog
from deeplearn.data.sets import imagenet
from deeplearn.errors import ConfigError, DataError
from deeplearn.models.efficientnet import EfficientNetLite
from deeplearn.models.pretrained import RESNET, begun, begun_below, pretrained, read_variables, renamed
from deeplearn.models.zoo import Model, architecture

LOGITS = np.load(Path(__file__).parent / "files" / "efficientnet_lite0.npy")
"""What the package efficientnet_lite_pytorch gives for `images` with the same weights."""


def images():
    """Two pictures [96, 96, 3] of smoothed noise in 0..255."""
    x = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype(np.float32)
    return (x + np.roll(x, 1, 1) + np.roll(x, 1, 2) + np.roll(x, 2, 1)) / 4


@pytest.fixture(scope="module")
def ready():
    return pretrained("efficientnet-lite0")


def test_efficientnet_lite0_equals_its_authors_network(ready):
    x = (jnp.asarray(images()) / 255 - ready.mean) / ready.std
    logits = jax.jit(lambda x: ready.module.apply(ready.variables, x, train=False))(x)
    np.testing.assert_allclose(logits, LOGITS, atol=1e-4)
    assert len(ready.classes) == len(set(ready.classes)) == 1000
    assert (ready.classes[281], ready.classes[967]) == ("tabby", "espresso")


def test_weights_of_another_network_are_refused(ready):
    path = imagenet.efficientnet_lite0()
    with pytest.raises(DataError, match=r"head/bias has the shape \(1000,\), not \(10,\)"):
        read_variables(path, EfficientNetLite(10), (224, 224, 3))
    with pytest.raises(DataError, match=r"holds _conv_stem\.weight, which this network does not have"):
        read_variables(path, architecture("resnet18", 1000), (224, 224, 3))
    with pytest.raises(ConfigError, match=r"PyTorch's names of a VGG"):
        read_variables(path, architecture("vgg11", 1000), (224, 224, 3))
    with pytest.raises(ConfigError, match="there is efficientnet-lite0"):
        pretrained("efficientnet-b7")


@pytest.mark.parametrize(("name", "convolutions"), [("resnet18", 2), ("resnet50", 3)])
def test_torchvisions_names_of_a_resnet_are_all_of_ours(name, convolutions):
    """Every leaf of ours has one name there; torchvision's logits were compared once: within 1e-6 of the largest."""
    module = architecture(name, 1000)
    shapes = jax.eval_shape(
        lambda key: module.init(key, jnp.zeros((1, 64, 64, 3), jnp.float32), train=False), jax.random.key(0)
    )
    blocks = [(stage, block) for stage, count in enumerate(module.stages, 1) for block in range(count)]
    owners = ["conv1", "bn1", "fc"]
    owners += [f"layer{s}.{b}.{k}{i}" for s, b in blocks for i in range(1, convolutions + 1) for k in ("conv", "bn")]
    first = 1 if convolutions == 3 else 2  # the stage whose first block changes the number of channels
    owners += [f"layer{s}.0.downsample.{k}" for s in range(first, 5) for k in (0, 1)]
    weights = {}
    for owner in owners:
        if "conv" in owner or owner.endswith("downsample.0"):
            weights[f"{owner}.weight"] = np.zeros((1, 1, 1, 1), np.float32)
        elif owner == "fc":
            weights |= {"fc.weight": np.zeros((1, 1)), "fc.bias": np.zeros(1)}
        else:
            kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            weights |= {f"{owner}.{kind}": np.zeros(1) for kind in kinds}
    ours = renamed(weights, RESNET, Path("resnet.pth"))
    assert ours.keys() == flatten_dict(shapes, sep="/").keys()


def test_our_own_exported_weights_are_read_by_our_names(tmp_path):
    save = pytest.importorskip("safetensors.numpy").save_file
    module = architecture("lenet5", 10)
    variables = module.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1), jnp.float32), train=False)
    save(
        {name: np.asarray(leaf) for name, leaf in flatten_dict(variables, sep="/").items()}, tmp_path / "a.safetensors"
    )
    jax.tree.map(
        np.testing.assert_array_equal, read_variables(tmp_path / "a.safetensors", module, (28, 28, 1)), variables
    )


def test_a_head_for_other_classes_begins_afresh_on_what_was_learnt(ready):
    module = EfficientNetLite(3)
    fresh = {
        "params": {"trunk": {}, "head": {"kernel": np.zeros((1280, 3)), "bias": np.zeros(3)}},
        "batch_stats": {"trunk": {}},
    }
    found = begun("pretrained:efficientnet-lite0", module, fresh, (64, 64, 3))
    assert found["params"]["head"] is fresh["params"]["head"]
    for kind in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, found[kind]["trunk"], ready.variables[kind]["trunk"])
    with pytest.raises(ConfigError, match="init imagenet is not known"):
        begun("imagenet", module, fresh, (64, 64, 3))
    with pytest.raises(ConfigError, match="init imagenet is not known"):
        begun_below("imagenet", fresh)


@pytest.mark.parametrize("name", ["classification", "retrieval"])
def test_who_predicts_does_not_need_the_weights_that_training_began_with(name):
    recipe = catalog.load(name)
    config = recipe.Config(model=Model(name="resnet18", init="pretrained:gone.pth"))
    begins = recipe.experiment(config)
    batch = begins.train.at(0)
    assert jax.eval_shape(recipe.task(config, begins.fitted).init, jax.random.key(0), batch)
    with pytest.raises(DataError, match=r"gone\.pth"):
        jax.eval_shape(begins.task.init, jax.random.key(0), batch)
