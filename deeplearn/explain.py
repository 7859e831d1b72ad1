"""Why a network takes a picture for what it does: maps of the picture, compiled once for all pictures and classes.

by = explainer(network_of("runs/latest"))
maps(by, by.pixels([photograph])[0], unit=3)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from deeplearn import trained as runs
from deeplearn.data.image_folder import pictures_in, read_image
from deeplearn.data.pictures import Picture
from deeplearn.errors import ConfigError, UsageError
from deeplearn.methods import attribution
from deeplearn.metrics import Mean
from deeplearn.models import activations
from deeplearn.models.activations import Network
from deeplearn.models.zoo import build
from deeplearn.record.explain import Shown, page
from deeplearn.reestimate import reestimated
from deeplearn.task import Variables, linen
from deeplearn.trained import Trained

CLASSIFIERS = ("classification", "data_size")
"""Experiments whose runs are networks that name what a picture shows."""
OWN = "own"
"""What hierarchy calls a network that it trains first."""
BATCH = 8
"""Pictures at a time: one shape, so one program, for everything that is asked."""
GRID = 7
"""Squares that are covered, along a side."""
LARGEST = 96
"""Side in pixels of what is drawn for a unit."""
NOISE = 0.1
"""Deviation of SmoothGrad's noise, as a share of the range of pixels (Smilkov et al., 2017, take .1 to .2)."""


def network_of(where: str | Path, *, size: int | None = None, trust: bool = False) -> Network:
    """The network of this name (efficientnet-lite0), or of a run of image classification or of hierarchy.

    Args:
        size: side in pixels of its pictures instead of its own.

    Raises:
        UsageError: the folder holds no run, or one whose network names no class of a picture, or sees it without maps.
        ConfigError: there is no network of that name.
    """
    if not Path(where).exists():
        return _sized(activations.pretrained(str(where)), size)
    recipe, config = runs.recipe_of(Path(where), trust=trust)
    if recipe.name == "hierarchy" and config.network != OWN:
        return network_of(config.network, size=size or config.size)
    if recipe.name not in (*CLASSIFIERS, "hierarchy"):
        text = f"{where} is a run of {recipe.name}, whose network names no class of a picture"
        raise UsageError(f"{text}; give a run of {', '.join(CLASSIFIERS)} or hierarchy.")
    return _sized(of_run(runs.opened(recipe, config)), size)


def of_run(run: Trained) -> Network:
    """The network of a trained classifier of images. Raises UsageError where it sees pictures without maps."""
    pixels = run.fitted
    network = Network(
        module=build(run.config.model, len(pixels.classes)),
        variables=run.variables,
        shape=pixels.shape,
        mean=pixels.mean,
        std=pixels.std,
        classes=pixels.classes,
    )
    if pixels.shape[1] == 1 or not maps_of(network):
        raise UsageError(f"{run.folder} has a network without maps of a picture; give one that convolves, such as cnn.")
    return network


def _sized(network: Network, size: int | None) -> Network:
    if size is None:
        return network
    found = replace(network, shape=(size, size, network.shape[2]))
    if not any_size(network):
        raise ConfigError(f"this network takes pictures of {network.shape[:2]} alone; leave --size out.")
    return found


def any_size(network: Network) -> bool:
    """Whether its parameters serve pictures of other sizes, too."""

    def shapes(side: int) -> Any:
        x = jax.ShapeDtypeStruct((1, side, side, network.shape[2]), jnp.float32)
        tree = jax.eval_shape(lambda key, x: network.module.init(key, x, train=False), jax.random.key(0), x)
        return jax.tree.map(lambda leaf: leaf.shape, tree)

    return shapes(network.shape[0]) == shapes(2 * network.shape[0])


def maps_of(network: Network) -> dict[str, tuple[int, ...]]:
    """Path of each module that returns maps -> [1, h, w, D], from the input on."""
    return attribution.layers(network.module, network.variables, jnp.zeros((1, *network.shape), jnp.float32))


def stages_of(network: Network) -> list[str]:
    """Paths of the outermost modules that return maps, from the input on."""
    paths = list(maps_of(network))
    return [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]


def first_kernel(network: Network) -> Float[np.ndarray, "h w C D"]:
    """The filters that look at the picture itself."""
    leaf = network.variables["params"]
    for name in next(iter(maps_of(network))).split("/"):
        leaf = leaf[name]
    return np.asarray(leaf["kernel"])


def answers(network: Network, x: Float[np.ndarray, "N H W C"], layers: Sequence[str]) -> list[np.ndarray]:
    """The maps [N, h, w, D] of each of the layers."""

    @jax.jit
    def program(variables: Variables, x: Array) -> list[Array]:
        return [attribution.perturbed(network.module, variables, x, layer, None)[1] for layer in layers]

    parts = [program(network.variables, one[None]) for one in x]
    return [np.concatenate(own) for own in zip(*parts, strict=True)]


def shuffled(network: Network, x: Float[Array, "N H W C"], seed: int) -> Network:
    """The network with the weights of each kernel in random order: all that was learnt is gone, their scale is not.

    Its batch statistics are those of some pictures. A layer's own weights serve as its random ones, as Adebayo et al.
    (2018) draw new ones: both say what an untrained network would show.
    """
    rng = np.random.default_rng(seed)
    mix = lambda leaf: rng.permutation(np.ravel(leaf)).reshape(leaf.shape) if leaf.ndim > 1 else leaf  # noqa: E731
    mixed = {**network.variables, "params": jax.tree.map(mix, dict(network.variables["params"]))}
    if "batch_stats" in mixed:
        task = linen(network.module, lambda outputs, _: (Mean.of(outputs), {}), inputs=lambda batch: (batch["image"],))
        mixed["batch_stats"] = reestimated(task, mixed, [{"image": x}])
    return replace(network, variables=mixed)


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """A network and its compiled programs, all functions of (variables, pictures, ...)."""

    network: Network
    forward: Callable[[Variables, Array], Array]
    """Pictures [B, H, W, C] -> logits [B, K]."""
    backward: Callable[[Variables, Array, Array], Array]
    """Pictures [B, H, W, C] and a class -> the gradient of its logit."""
    cam: Callable[[Variables, Array, Array], Array]
    """A picture [H, W, C] and a class -> Grad-CAM at the last layer with a map, of the picture's size."""

    def pixels(self, images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> Float[Array, "N H W C"]:
        """Photographs of any size as the network takes them."""
        return jnp.asarray(activations.prepared(self.network, images))

    def logits(self, x: Float[Array, "N H W C"]) -> Float[Array, "N K"]:
        return _chunked(lambda part: self.forward(self.network.variables, part), x)

    def logit(self, unit: int) -> attribution.Logit:
        return lambda x: self.logits(x)[:, unit]

    def chance(self, unit: int) -> attribution.Logit:
        return lambda x: jax.nn.softmax(self.logits(x))[:, unit]

    def slope(self, unit: int) -> attribution.Slope:
        return lambda x: _chunked(lambda part: self.backward(self.network.variables, part, jnp.int32(unit)), x)

    def grad_cam(self, x: Float[Array, "H W C"], unit: int) -> Float[Array, "H W"]:
        return self.cam(self.network.variables, x, jnp.int32(unit))


def _chunked(program: Callable[[Array], Array], x: Float[Array, "N ..."]) -> Float[Array, "N ..."]:
    """A program that takes `BATCH` rows, on any number of them."""
    full = jnp.concatenate([x, jnp.repeat(x[-1:], -len(x) % BATCH, axis=0)])
    return jnp.concatenate([program(full[first : first + BATCH]) for first in range(0, len(full), BATCH)])[: len(x)]


def explainer(network: Network) -> Explainer:
    layer = list(maps_of(network))[-1]

    def forward(variables: Variables, x: Array) -> Array:
        return network.module.apply(variables, x, train=False).astype(jnp.float32)

    def backward(variables: Variables, x: Array, unit: Array) -> Array:
        return attribution.slopes(lambda x: forward(variables, x)[:, unit])(x)

    def cam(variables: Variables, x: Array, unit: Array) -> Array:
        small = attribution.grad_cam(network.module, variables, x, layer, lambda outputs: outputs[0, unit])
        return attribution.enlarged(small, x.shape[:2])

    return Explainer(network=network, forward=jax.jit(forward), backward=jax.jit(backward), cam=jax.jit(cam))


class Maps(NamedTuple):
    """What an answer rests on, by method; each [H, W]."""

    maps: dict[str, Float[np.ndarray, "H W"]]
    gap: float
    """How far integrated gradients are from complete, as a share of the difference of the logits."""


def maps(by: Explainer, x: Float[Array, "H W C"], unit: int, *, tolerance: float = 1e-3, most: int = 192) -> Maps:
    """The maps of a picture for a class. Baseline and cover are the mean colour; channels are added, not averaged."""
    logit, slope, baseline = by.logit(unit), by.slope(unit), jnp.zeros_like(x)
    whole = attribution.integrated_gradients(logit, slope, x, baseline, tolerance, most, BATCH)
    deviation = NOISE / float(np.mean(by.network.std))
    smooth = attribution.smooth_gradient(slope, x, jax.random.key(0), deviation, batch=BATCH)
    side = -(-x.shape[0] // GRID)
    found = {
        "Grad-CAM": by.grad_cam(x, unit),
        "integrated gradients": whole.map.sum(-1),
        "SmoothGrad": jnp.abs(smooth).sum(-1),
        "occlusion": attribution.occlusion(logit, x, side, side, batch=BATCH),
    }
    ends = logit(jnp.stack([x, baseline]))
    return Maps({name: np.asarray(own) for name, own in found.items()}, float(whole.gap / jnp.abs(ends[0] - ends[1])))


def areas(
    by: Explainer, x: Float[Array, "N H W C"], units: Sequence[int], orders: Sequence[Float[Array, "H W"]], side: int
) -> list[float]:
    """[deletion, insertion]: the mean probability while cells go over into a blurred picture, or come out of it.

    Args:
        orders: a map of each picture; cells of high values come first.
        side: cells along a side.
    """
    from scipy.ndimage import gaussian_filter

    found = []
    for one, unit, order in zip(x, units, orders, strict=True):
        blurred = jnp.asarray(gaussian_filter(np.asarray(one), (one.shape[0] / 20, one.shape[1] / 20, 0)))
        ranked = attribution.cells(order, min(side, *one.shape[:2]))
        found.append(
            [attribution.deletion(by.chance(unit), one, blurred, ranked, insert=way).area for way in (False, True)]
        )
    return np.mean(found, axis=0).tolist()


def pointing(by: Explainer, x: Float[Array, "N H W C"], units: Sequence[int], mosaics: int, seed: int) -> float | None:
    """How often Grad-CAM's maximum lies on the right one of four pictures of four classes, by chance one in four; None
    where there are no four classes, or the network takes pictures of one size alone.
    """
    _, distinct = np.unique(units, return_index=True)
    if len(distinct) < 4 or not any_size(by.network):
        return None
    rng, hits = np.random.default_rng(seed), []
    for _ in range(mosaics):
        rows = rng.choice(distinct, 4, replace=False)
        mosaic = jnp.concatenate([jnp.concatenate(list(x[rows[i : i + 2]]), 1) for i in (0, 2)])
        hits += [attribution.in_quarter(by.grad_cam(mosaic, units[row]), place) for place, row in enumerate(rows)]
    return float(np.mean(hits))


class Pointed(NamedTuple):
    """The pointing game in scenes with several objects: each class of a scene is pointed at once."""

    hits: float
    """How often Grad-CAM's maximum lies in a box of the class."""
    chance: float
    """How often a map would that knows where all objects are, but not which."""


def pointed(by: Explainer, scenes: Sequence[Picture]) -> Pointed:
    """Of objects whose classes are numbered as the network's; scenes stay as large as they are."""
    hits, chances = [], []
    for scene in scenes:
        x = jnp.asarray(activations.prepared(replace(by.network, shape=scene.image.shape), [scene.image])[0])
        for label in np.unique(scene.label):
            box = scene.box[scene.label == label]
            hits.append(attribution.in_boxes(by.grad_cam(x, int(label)), box))
            chances.append(len(box) / len(scene.box))
    return Pointed(float(np.mean(hits)), float(np.mean(chances)))


def favourites(
    network: Network, layer: str, units: Sequence[int], steps: int, seed: int
) -> Float[np.ndarray, "U S S C"]:
    """In 0..1, what each unit of a layer answers to most; of small pictures, where the network takes them."""
    side = min(network.shape[0], LARGEST) if any_size(network) else network.shape[0]
    mean, std = (jnp.asarray(value, jnp.float32).reshape(1, 1, 1, -1) for value in (network.mean, network.std))

    @jax.jit
    def pictures(variables: Variables, units: Array) -> Array:
        def score(x: Array, unit: Array) -> Array:
            return attribution.perturbed(network.module, variables, (x - mean) / std, layer, None)[1][..., unit].mean()

        def one(unit: Array) -> Array:
            shape, key = (side, side, network.shape[2]), jax.random.key(seed)
            return attribution.maximised(partial(score, unit=unit), shape, key, steps, jitter=side // 12)

        return jax.lax.map(one, units)

    return np.asarray(pictures(network.variables, jnp.asarray(units)))


def top(by: Explainer, x: Float[Array, "N H W C"], count: int = 5) -> list[list[tuple[int, str, float]]]:
    """The likeliest classes of each picture: (number, name, probability)."""
    chances = np.asarray(jax.nn.softmax(by.logits(x)))
    orders = np.argsort(-chances, axis=1, kind="stable")[:, :count]
    return [
        [(int(unit), by.network.classes[unit], float(own[unit])) for unit in order]
        for own, order in zip(chances, orders, strict=True)
    ]


def explain(where: str | Path, inputs: Sequence[str], output: Path, *, trust: bool = False) -> Path:
    """One page about the pictures: what the network takes each for, and the maps of its likeliest class.

    Raises:
        UsageError: the run has no network that names what a picture shows.
        DataError: a picture cannot be read.
    """
    files = pictures_in(inputs)
    by = explainer(network_of(where, trust=trust))
    height, width, channels = by.network.shape
    shown = []
    for file in files:
        image = read_image(file, (height, width), channels)
        x = by.pixels([image])[0]
        likely = top(by, x[None])[0]
        found = maps(by, x, likely[0][0])
        chances = [(name, chance) for _, name, chance in likely]
        shown.append(Shown(name=str(file), image=image, chances=chances, maps=found.maps, gap=found.gap))
    return page(str(where), shown, output)
