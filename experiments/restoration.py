"""What a photograph looked like before noise, few pixels, blur, holes or the loss of its colours.

A pyramid of convolutions for all of them (after U-Net, Ronneberger et al., 2015), DnCNN (Zhang et al., 2017) and a
small Restormer (Zamir et al., 2022), beside what photographs were restored with before. Noise is removed without being
told how strong it is.
    deeplearn train restoration                          # white noise of any strength
    deeplearn train restoration --preset superresolve    # also superresolve4, deblur, inpaint, colourise
    deeplearn train restoration --data.path photos       # your own; a tenth is the test
    deeplearn predict runs/latest photo.jpg              # writes photo.denoise.png beside it
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from deeplearn.cli import run_file
from deeplearn.data import photofile
from deeplearn.data.augment import example_keys
from deeplearn.data.doors import photos
from deeplearn.data.source import Arrays
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.methods import degrade
from deeplearn.methods.tiles import eightfold, tiled
from deeplearn.metrics import Mean
from deeplearn.models.restorers import Name, restorer
from deeplearn.optimizer import Optimizer, make
from deeplearn.task import Batch, Task, linen
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

HOLE = 8
"""Side of a hole in pixels."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of restoration."""

    damage: Literal["denoise", "superresolve", "deblur", "inpaint", "colourise"] = "denoise"
    """What is to be undone: white noise, few pixels, a Gaussian blur, square holes, grey."""
    data: photos.Data = field(default_factory=photos.Data)
    model: Name = "pyramid"
    width: int = 32
    """Channels of the model's finest level."""
    weakest: float = 5.0
    """Smallest strength that is learnt: deviation of the noise in 255ths, or of the blur in pixels."""
    strongest: float = 50.0
    """Largest strength that is learnt."""
    tested: float = 25.0
    """Strength that is tested."""
    factor: int = 2
    """By how much super-resolution multiplies each side."""
    holes: float = 0.11
    """Share of the pixels that holes of 8x8 take away, where they do not overlap."""
    steps: int = 5000
    batch: int = 16
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(rate=2e-3, warmup=100, decay=1e-4, beta2=0.99, clip=0.5, average=0.998)
    )


class Spoilt(NamedTuple):
    """What is left of images, and what is known of the damage."""

    given: Float[Array, "B H W 3"]
    hint: Float[Array, "B H W 1"]


def spoilt(config: Config, keys: Array, image: Float[Array, "B H W 3"], strength: Float[Array, "B"]) -> Spoilt:
    """The damage of that strength done to each image by its own key."""
    height, width = image.shape[1:3]
    hint = jnp.zeros((*image.shape[:3], 1))
    match config.damage:
        case "denoise":
            sigma = strength / 255
            return Spoilt(jax.vmap(degrade.noisy)(keys, image, sigma), hint + sigma[:, None, None, None])
        case "superresolve":
            few = degrade.resized(image, height // config.factor, width // config.factor)
            return Spoilt(degrade.resized(degrade.rounded(few), height, width), hint)
        case "deblur":  # A camera's noise is left over, without which a blur could be divided out.
            blurred = degrade.blurred(image, strength)
            return Spoilt(jax.vmap(degrade.noisy)(keys, blurred, jnp.full(len(image), 2 / 255)), hint)
        case "inpaint":
            count = round(config.holes * height * width / HOLE**2)
            draw = lambda key: degrade.holes(key, height, width, count=count, side=HOLE)  # noqa: E731
            hole = jax.vmap(draw)(keys)
            return Spoilt(degrade.filled(image, hole), hole)
        case "colourise":
            return Spoilt(degrade.grey(image), hint)


def task(config: Config, fitted: None = None) -> Task:
    """The Charbonnier distance to what was there; of holes inside of them only."""

    def augment(key: Array, batch: Batch) -> Batch:
        keys = example_keys(key, batch)
        image = batch["image"].astype(jnp.float32) / 255
        strength = jax.vmap(lambda k: jax.random.uniform(k, minval=config.weakest, maxval=config.strongest))(keys)
        return batch | spoilt(config, keys, image, strength)._asdict()

    def inputs(batch: Batch) -> tuple[Array, Array]:
        image = batch["image"].astype(jnp.float32) / 255  # Only the shapes count where nothing is spoilt yet.
        return batch.get("given", image), batch.get("hint", image[..., :1])

    def objective(restored: Float[Array, "B H W 3"], batch: Batch) -> tuple[Mean, Mapping[str, Mean]]:
        image = batch["image"].astype(jnp.float32) / 255
        where = batch["hint"] > 0 if config.damage == "inpaint" else jnp.ones_like(batch["hint"], bool)
        # Quadratic up to an error of about 0.01, whose mean decides the PSNR, and linear from there on.
        error = jnp.sqrt((restored - image) ** 2 + 1e-4).mean(-1, keepdims=True) * where
        loss = error.sum((1, 2, 3)) / where.sum((1, 2, 3)).clip(1)
        psnr = degrade.psnr(restored.clip(0, 1), image, where)
        return Mean.of(loss, batch["mask"]), {"psnr": Mean.of(psnr, batch["mask"])}

    return linen(
        restorer(config.model, config.width),
        objective,
        inputs=inputs,
        augment=augment,
        predict=lambda restored, batch: restored.clip(0, 1),
    )


def columns(config: Config, image: UInt8[np.ndarray, "N H W 3"], *, blind: bool = True) -> dict[str, np.ndarray]:
    """Photographs to judge on, spoilt once and for all; the strength of noise is measured, or told."""
    keys = example_keys(jax.random.key(0), {"index": np.arange(len(image))})
    strength = np.full(len(image), config.tested, np.float32)
    given, hint = jax.jit(partial(spoilt, config))(keys, image.astype(np.float32) / 255, strength)
    if config.damage == "denoise" and blind:
        hint = jnp.broadcast_to(degrade.noise_level(given)[:, None, None, None], hint.shape)
    return {"image": image, "given": np.asarray(given), "hint": np.asarray(hint)}


def score(
    config: Config, names: Sequence[str], restored: Float[np.ndarray, "N H W 3"], held: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """What papers state besides: of the 8-bit file; structural similarity; brightness alone, without the border where
    pixels were made up; and every photograph."""
    image = held["image"].astype(np.float32) / 255
    where = held["hint"] > 0 if config.damage == "inpaint" else None
    border = config.factor if config.damage == "superresolve" else 0
    bright = [degrade.cropped(degrade.luma(x), border) for x in (restored, image)]
    values = {
        "psnr": degrade.psnr(restored, image, where),
        "psnr_8bit": degrade.psnr(degrade.rounded(restored), image, where),
        "ssim": degrade.ssim(restored, image),
        "psnr_y": degrade.psnr(*bright, where),
    }
    found = {name: float(value.mean()) for name, value in values.items()}
    return found | {f"psnr {name}": float(value) for name, value in zip(names, values["psnr"], strict=True)}


def experiment(config: Config) -> Experiment:
    """Validation on corners of the photographs that are learnt from, tests on others."""
    data = photos.load(config.data, config.batch, config.seed)
    evaluations = {
        "validation": Evaluation(source=Arrays(columns=columns(config, data.validation), batch=16, name="corners"))
    }
    for name, image in data.test.items():
        source = Arrays(columns=columns(config, image), batch=4, name=name)
        own = partial(score, config, data.names[name])
        evaluations[name] = Evaluation(source=source, score=own, final=True)
    return Experiment(
        task=task(config), optimizer=make(config.optimizer, config.steps), train=data.train, evaluations=evaluations
    )


if __name__ == "__main__":
    run_file(__file__)
