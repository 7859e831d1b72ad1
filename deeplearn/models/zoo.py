"""The image models by the names of their papers."""

from dataclasses import dataclass, fields
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplearn.errors import ConfigError, note
from deeplearn.knobs import Count, Rest
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
    width: Count | None = None
    """Channels of the first stage (cnn, resnet) or of every token (vit, mixer)."""
    depth: Count | None = None
    """Convolutions in each stage (cnn) or blocks (vit, mixer)."""
    levels: Count | None = None
    """Resolutions that are looked at, each half of the one before (cnn)."""
    kernel: Count | None = None
    """Side of a convolution's window (cnn)."""
    patch: Count | None = None
    """Pixels along the side of a patch (vit, mixer)."""
    stem: Literal["imagenet", "cifar"] | None = None
    """First layers of a resnet: for large images or for small ones."""
    norm: Norm | None = None
    """Normalisation (cnn, vgg, resnet)."""
    pool: Literal["token", "mean"] | None = None
    """What the class is read off: an extra token, or the mean of the patches (vit)."""
    position: Literal["learned", "sincos2d"] | None = None
    """How a patch's place is written: in a table that is trained, or as waves (vit)."""
    rep_size: Count | None = None
    """Units of a layer with tanh in front of the head (vit)."""
    dropout: Rest | None = None
    """Share of units that are dropped (mlp, cnn, alexnet, vgg, vit, efficientnet)."""
    init: str | None = None
    """Weights to start from: pretrained:efficientnet-lite0, or pretrained:FILE (.pth or .safetensors, of a resnet or an
    efficientnet by PyTorch's names, or as deeplearn export writes them). The head begins afresh. They were learnt on
    colour pictures scaled by --data.scale range."""
    remat: bool = False
    """Compute each block again in the backward pass, to save memory for more work (resnet, vit, mixer)."""
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
        "pool": model.pool,
        "position": model.position,
        "rep_size": model.rep_size,
        "dropout": model.dropout,
        "remat": model.remat or None,
    }
    given = {name: value for name, value in knobs.items() if value is not None}
    for name in given.keys() - {field.name for field in fields(module)}:
        raise ConfigError(f"model.name={model.name} has no {name}: leave model.{name} out")
    return module.clone(dtype=jnp.dtype(model.dtype), **given)


def advise(model: Model) -> None:
    """Say that bfloat16 is no gain on a CPU: a ResNet-18 took a tenth longer than in float32, on one that has it."""
    if model.dtype == "bfloat16" and jax.default_backend() == "cpu":
        note("note: model.dtype bfloat16 has been slower than float32 on CPUs; it pays on GPUs and TPUs")


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
