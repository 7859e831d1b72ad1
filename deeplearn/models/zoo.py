"""The image models by the names of their papers."""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from deeplearn.errors import ConfigError
from deeplearn.models.alexnet import AlexNet
from deeplearn.models.cnn import CNN
from deeplearn.models.efficientnet import EfficientNetLite
from deeplearn.models.layers import Norm, max_pool
from deeplearn.models.lenet import LeNet
from deeplearn.models.mixer import Mixer
from deeplearn.models.mlp import MLP
from deeplearn.models.resnet import ResNet
from deeplearn.models.vgg import VGG
from deeplearn.models.vit import ViT

Name = Literal[
    "mlp", "cnn", "lenet5", "lenet", "alexnet", "vgg11", "vgg16", "resnet18", "resnet34", "resnet50",
    "vit-ti16", "vit-s16", "vit-b16", "mixer-s16", "mixer-b16", "efficientnet-lite0",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Model:
    """An architecture and where to depart from it; a field left at None is the architecture's own."""

    name: Name = "cnn"
    """The architecture."""
    width: int | None = None
    """Channels of the first stage (cnn, resnet) or of every token (vit, mixer)."""
    depth: int | None = None
    """Convolutions in each stage (cnn) or blocks (vit, mixer)."""
    levels: int | None = None
    """Resolutions that are looked at, each half of the one before (cnn)."""
    kernel: int | None = None
    """Side of a convolution's window (cnn)."""
    patch: int | None = None
    """Pixels along the side of a patch (vit, mixer)."""
    stem: Literal["imagenet", "cifar"] | None = None
    """First layers of a resnet: for large images or for small ones."""
    norm: Norm | None = None
    """Normalisation (cnn, vgg, resnet)."""
    dropout: float | None = None
    """Share of units that are dropped (mlp, cnn, alexnet, vgg, vit, efficientnet)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters are float32."""


def build(model: Model, classes: int) -> nn.Module:
    """The Linen module; ConfigError where the architecture lacks a knob that was set."""
    module = architecture(model.name, classes)
    knobs = {
        "width": model.width,
        "depth": model.depth,
        "levels": model.levels,
        "kernel": model.kernel,
        "patch": model.patch,
        "stem": model.stem,
        "norm": model.norm,
        "dropout": model.dropout,
    }
    given = {key: value for key, value in knobs.items() if value is not None}
    for key in given:
        if not hasattr(module, key):
            raise ConfigError(f"model.name={model.name} has no {key}: leave model.{key} out")
    return module.clone(dtype=jnp.dtype(model.dtype), **given)


def architecture(name: Name, classes: int) -> nn.Module:
    """The module with its paper's sizes."""
    match name:
        case "mlp":
            return MLP(classes)
        case "cnn":
            return CNN(classes)
        case "lenet5":
            return LeNet(classes)
        case "lenet":
            return LeNet(classes, activation=nn.relu, pool=max_pool)
        case "alexnet":
            return AlexNet(classes)
        case "vgg11":
            return VGG(classes, stages=(1, 1, 2, 2, 2))
        case "vgg16":
            return VGG(classes, stages=(2, 2, 3, 3, 3))
        case "resnet18":
            return ResNet(classes, stages=(2, 2, 2, 2))
        case "resnet34":
            return ResNet(classes, stages=(3, 4, 6, 3))
        case "resnet50":
            return ResNet(classes, stages=(3, 4, 6, 3), bottleneck=True)
        case "vit-ti16":
            return ViT(classes, width=192, depth=12, heads=3)
        case "vit-s16":
            return ViT(classes, width=384, depth=12, heads=6)
        case "vit-b16":
            return ViT(classes, width=768, depth=12, heads=12)
        case "mixer-s16":
            return Mixer(classes, width=512, depth=8, token_width=256, channel_width=2048)
        case "mixer-b16":
            return Mixer(classes, width=768, depth=12, token_width=384, channel_width=3072)
        case "efficientnet-lite0":
            return EfficientNetLite(classes)
