"""What the layers of an image network answer: of a pretrained one by name, or of a run of image classification."""

from collections.abc import Sequence
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from deeplearn.models import pretrained as weights
from deeplearn.models.efficientnet import EfficientNetLite, Trunk
from deeplearn.models.pretrained import Variables


@dataclass(frozen=True, kw_only=True)
class Network:
    """A trained network, and what its images must look like."""

    module: nn.Module
    variables: Variables
    shape: tuple[int, ...]
    """[H, W, C] of its images."""
    mean: Sequence[float] | float
    """Of pixels in 0..1: what is subtracted from an image."""
    std: Sequence[float] | float
    """What the rest is divided by."""
    classes: tuple[str, ...] = ()
    """What its answers are called, where it names classes."""


def pretrained(name: str) -> Network:
    """A network that somebody else trained. Raises ConfigError where there is none of that name."""
    ready = weights.pretrained(name)
    shape = (ready.size, ready.size, 3)
    return Network(
        module=ready.module,
        variables=ready.variables,
        shape=shape,
        mean=ready.mean,
        std=ready.std,
        classes=ready.classes,
    )


def layers(network: Network, x: Float[Array, "B H W C"]) -> list[tuple[str, Array]]:
    """(name, activations [B, ...]) of each part of a network, from the input on."""
    if isinstance(network.module, EfficientNetLite):
        trunk = {name: leaves["trunk"] for name, leaves in network.variables.items()}
        return list(Trunk().apply(trunk, x, train=False).items())
    _, state = network.module.apply(
        network.variables,
        x,
        train=False,
        capture_intermediates=lambda module, _: len(module.path) == 1,
        mutable=["intermediates"],
    )
    found = {name: own["__call__"][0] for name, own in state["intermediates"].items() if name != "__call__"}
    return [(name, own) for name, own in found.items() if isinstance(own, jax.Array)]


def prepared(network: Network, images: Sequence[UInt8[np.ndarray, "H W *C"]]) -> Float[np.ndarray, "N H W C"]:
    """Pictures of any size, grey or in colour, as the network takes them."""
    from PIL import Image

    height, width, channels = network.shape
    mode = "RGB" if channels == 3 else "L"
    flat = [image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image for image in images]
    resized = [Image.fromarray(image).convert(mode).resize((width, height), Image.BICUBIC) for image in flat]
    pixels = np.stack([np.asarray(image, np.float32).reshape(network.shape) for image in resized]) / 255
    return ((pixels - np.asarray(network.mean)) / np.asarray(network.std)).astype(np.float32)


def features(
    network: Network, images: UInt8[np.ndarray, "N H W 3"], side: int, batch: int = 32
) -> dict[str, Float[np.ndarray, "N h w C"]]:
    """Every layer's activations of all images, averaged over places to at most `side` x `side`."""
    pixels = prepared(network, images)
    names: list[str] = []

    @jax.jit
    def answers(x: Array) -> list[Array]:
        found = layers(network, x)
        names[:] = [name for name, _ in found]
        return [_pooled(own, side) for _, own in found]

    padded = np.concatenate([pixels, np.zeros((-len(pixels) % batch, *network.shape), np.float32)])
    parts = [jax.tree.map(np.asarray, answers(jnp.asarray(own))) for own in np.split(padded, len(padded) // batch)]
    return {name: np.concatenate(own)[: len(pixels)] for name, own in zip(names, zip(*parts, strict=True), strict=True)}


def _pooled(x: Array, side: int) -> Float[Array, "B h w C"]:
    """Means over windows; where they do not fit, the last rows and columns are left out."""
    if x.ndim == 3:
        x = x[:, :, None]  # places in a row
    if x.ndim == 2:
        return x[:, None, None]
    across, down = (max(1, length // side) for length in x.shape[1:3])
    rows, columns = x.shape[1] // across, x.shape[2] // down
    cut = x[:, : rows * across, : columns * down].astype(jnp.float32)
    return cut.reshape(x.shape[0], rows, across, columns, down, -1).mean((2, 4))
