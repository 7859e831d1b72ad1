"""What a photograph looked like before noise, few pixels, blur, holes or the loss of its colours.

A pyramid of convolutions for all of them (after U-Net, Ronneberger et al., 2015), DnCNN (Zhang et al., 2017) and a
small Restormer (Zamir et al., 2022), beside what photographs were restored with before. Noise is removed without being
told how strong it is: by default 31.2 dB on four photographs at a deviation of 25, in eight minutes on one core.
    deeplearn train restoration                          # white noise of any strength
    deeplearn train restoration --preset superresolve    # also superresolve4, deblur, inpaint, colourise
    deeplearn train restoration --data.path photos       # your own; a tenth is the test
    deeplearn predict runs/latest photo.jpg              # writes photo.denoise.png beside it
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from deeplearn.cli import run_file
from deeplearn.competitors.photos import chosen, restorers
from deeplearn.data import photofile
from deeplearn.data.augment import example_keys
from deeplearn.data.doors import photos
from deeplearn.data.image_folder import pictures_in
from deeplearn.data.inputs import attempted
from deeplearn.data.photofile import Photo
from deeplearn.data.source import Arrays
from deeplearn.errors import UsageError
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.knobs import Count, NotNegative
from deeplearn.methods import degrade
from deeplearn.methods.tiles import Whole, eightfold, tiled
from deeplearn.metrics import Mean
from deeplearn.models.restorers import Name, restorer
from deeplearn.optimizer import Optimizer, make
from deeplearn.record.figures import curves
from deeplearn.record.figures import images as sheet
from deeplearn.task import Batch, Task, linen
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

HOLE = 8
"""Side of a hole in pixels."""
ZOOM = 64
"""Side of the part of a photograph that is drawn large."""


@dataclass(frozen=True, kw_only=True)
class Data(photos.Data):
    """Which photographs, and what spoilt them: dB after one damage do not compare with dB after another."""

    damage: Literal["denoise", "superresolve", "deblur", "inpaint", "colourise"] = "denoise"
    """What is to be undone: white noise, few pixels, a Gaussian blur, square holes, grey."""
    tested: NotNegative = 25.0
    """Damage that is tested."""
    factor: Count = 2
    """By how much super-resolution multiplies each side."""
    draws: Count = 1
    """How often each test photograph is damaged anew."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of restoration."""

    data: Data = field(default_factory=Data)
    model: Name = "pyramid"
    width: Count = 32
    """Channels of the model's finest level."""
    weakest: NotNegative = 5.0
    """Least damage that is learnt: deviation of the noise in 255ths or of the blur in pixels, percentage of holes."""
    strongest: NotNegative = 50.0
    """Most damage that is learnt."""
    steps: int = 5000
    batch: int = 16
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(rate=2e-3, warmup=100, decay=1e-4, beta2=0.99, clip=0.5, average=0.998)
    )


def spoilt(config: Config, keys: Array, image: Float[Array, "B H W 3"], strength: Float[Array, "B"]) -> Batch:
    """What is `given` after damage of that strength, each image by its own key, and a `hint` of what is known of it."""
    height, width = image.shape[1:3]
    hint = jnp.zeros((*image.shape[:3], 1))
    match config.data.damage:
        case "denoise":
            sigma = strength / 255
            return {"given": jax.vmap(degrade.noisy)(keys, image, sigma), "hint": hint + sigma[:, None, None, None]}
        case "superresolve":
            few = degrade.resized(image, height // config.data.factor, width // config.data.factor)
            return {"given": degrade.resized(degrade.rounded(few), height, width), "hint": hint}
        case "deblur":  # A camera's noise is left over, without which a blur could be divided out.
            blurred = degrade.blurred(image, strength)
            return {"given": jax.vmap(degrade.noisy)(keys, blurred, jnp.full(len(image), 2 / 255)), "hint": hint}
        case "inpaint":
            each = height * width / HOLE**2 / 100
            draw = partial(degrade.holes, shape=(height, width), most=math.ceil(each * config.strongest), side=HOLE)
            hole = jax.vmap(lambda key, share: draw(key, amount=each * share))(keys, strength)
            return {"given": degrade.filled(image, hole), "hint": hole}
        case "colourise":
            return {"given": degrade.grey(image), "hint": hint}


def task(config: Config, fitted: None = None) -> Task:
    """The Charbonnier distance to what was there; of holes inside of them only, and nothing else is changed."""

    def lost(batch: Batch) -> Bool[Array, "B H W 1"]:
        return batch["hint"] > 0 if config.data.damage == "inpaint" else jnp.ones_like(batch["hint"], bool)

    def augment(key: Array, batch: Batch) -> Batch:
        keys = example_keys(key, batch)
        image = batch["image"].astype(jnp.float32) / 255
        strength = jax.vmap(lambda k: jax.random.uniform(k, minval=config.weakest, maxval=config.strongest))(keys)
        return batch | spoilt(config, keys, image, strength)

    def objective(restored: Float[Array, "B H W 3"], batch: Batch) -> tuple[Mean, Mapping[str, Mean]]:
        image = batch["image"].astype(jnp.float32) / 255
        # Quadratic up to an error of about 0.01, whose mean decides the PSNR, and linear from there on.
        error = jnp.sqrt((restored - image) ** 2 + 1e-4).mean(-1, keepdims=True)
        psnr = degrade.psnr(restored.clip(0, 1), image, lost(batch))
        return Mean.of(error.mean((1, 2, 3), where=lost(batch)), batch["mask"]), {"psnr": Mean.of(psnr, batch["mask"])}

    return linen(
        restorer(config.model, config.width),
        objective,
        inputs=lambda batch: (batch["given"], batch["hint"]),
        augment=augment,
        predict=lambda restored, batch: jnp.where(lost(batch), restored.clip(0, 1), batch["given"]),
    )


def columns(config: Config, image: UInt8[np.ndarray, "N H W 3"], *, blind: bool = True) -> dict[str, np.ndarray]:
    """Photographs to judge on, spoilt once and for all; the strength of noise is measured, or told."""
    image = np.tile(image, (config.data.draws, 1, 1, 1))
    keys = example_keys(jax.random.key(0), {"index": np.arange(len(image))})
    strength = np.full(len(image), config.data.tested, np.float32)
    found = jax.jit(partial(spoilt, config))(keys, image.astype(np.float32) / 255, strength)
    if config.data.damage == "denoise" and blind:
        level = jax.jit(degrade.noise_level)(found["given"])
        found["hint"] = jnp.broadcast_to(level[:, None, None, None], found["hint"].shape)
    return {"image": image} | {name: np.asarray(column) for name, column in found.items()}


def score(
    config: Config, names: Sequence[str], restored: Float[np.ndarray, "N H W 3"], held: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """The means of all measures over photographs (of pixels in holes where there are any), and each one's PSNR."""
    image = held["image"].astype(np.float32) / 255
    where = held["hint"] > 0 if config.data.damage == "inpaint" else None
    border = config.data.factor if config.data.damage == "superresolve" else 0  # There pixels were made up.
    values = degrade.measures(restored, image, where, border)
    values |= {f"psnr {name}": values["psnr"][row :: len(names)] for row, name in enumerate(names)}
    return {name: float(value.mean()) for name, value in values.items()}


def experiment(config: Config) -> Experiment:
    """Validation on corners of the photographs that are learnt from, tests on others."""
    data = photos.load(config.data, config.batch, config.seed)
    nothing = np.zeros((config.data.crop, config.data.crop, 1), np.float32)
    # Squares are spoilt while they are trained on, anew each time.
    whole = lambda record, rng: record | {"given": record["image"] / np.float32(255), "hint": nothing}  # noqa: E731
    held = {"validation": data.validation, **data.test}
    evaluations = {}
    for name, image in held.items():
        own = partial(score, config, data.names[name]) if name in data.names else None
        source = Arrays(columns=columns(config, image), batch=4, name=name)
        evaluations[name] = Evaluation(source=source, score=own, final=own is not None)
    return Experiment(
        task=task(config),
        optimizer=make(config.optimizer, config.steps),
        train=replace(data.train, transform=whole),
        evaluations=evaluations,
    )


def network(trained: Trained) -> Whole:
    """[B, H, W, 4], what is left and what is known -> [B, H, W, 3]; one by one, for large ones take memory."""
    return lambda x: trained.predict({"given": x[..., :3], "hint": x[..., 3:]}, batch=1)


def _inputs(held: Mapping[str, np.ndarray]) -> Float[np.ndarray, "N H W 4"]:
    return np.concatenate([held["given"], held["hint"]], axis=-1)


def main(config: Config, work: Workspace) -> dict[str, Any]:
    """One fit; its tests also with the mean over eight positions of the photograph, and with the noise told."""
    trained, results = work.fit(lambda fitted: experiment(config), config)
    data = photos.load(config.data, config.batch, config.seed)
    for name, image in data.test.items():
        held = columns(config, image)
        results[f"{name}/psnr_x8"] = score(config, (), eightfold(network(trained))(_inputs(held)), held)["psnr"]
        if config.data.damage == "denoise":
            held = columns(config, image, blind=False)
            results[f"{name}/psnr_told"] = score(config, (), network(trained)(_inputs(held)), held)["psnr"]
    return results


def baseline(config: Config) -> dict[str, dict[str, float]]:
    """What classical methods make of the same photographs; their strengths are chosen on the validation corners."""
    data = photos.load(config.data, config.batch, config.seed)
    valid = columns(config, data.validation, blind=False)
    found: dict[str, dict[str, float]] = {}
    for name, settings in restorers(config.data.damage, config.data.tested).items():
        restore = chosen(settings, valid["given"], valid["hint"], valid["image"] / np.float32(255))
        found[name] = {}
        for test, image in data.test.items():
            held = columns(config, image, blind=False)
            values = score(config, data.names[test], restore(held["given"], held["hint"]), held)
            found[name] |= {f"{test}/{key}": value for key, value in values.items()}
    return found


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """Each photograph restored and written beside itself: any size, with its transparency, bits and colour profile."""
    target = lambda path: Path(path).with_suffix(f".{trained.config.data.damage}.png")  # noqa: E731
    made, rows = attempted(map(str, pictures_in(inputs)), lambda path: produce(trained, path, target(path)))
    return rows + [row for _, row in made]


def produce(trained: Trained, path: str, target: Path) -> dict[str, Any]:
    """A photograph restored and written to a file that ends in .png."""
    if target.suffix != ".png":
        raise UsageError(f"{target}: restored photographs are PNG, which loses nothing; let it end in .png.")
    config, photo, hint, row = trained.config, photofile.read(path), 0.0, {"image": path, "restored": str(target)}
    match config.data.damage:
        case "denoise":
            hint = float(degrade.noise_level(photo.colour))
            row["noise"] = 255 * hint
        case "superresolve":
            photo = enlarged(photo, config.data.factor)
        case "inpaint":
            hint = photofile.holes(path, photo)
            filled = np.asarray(degrade.filled(photo.colour, hint))
            photo = replace(photo, colour=filled, alpha=None if photo.alpha is None else photo.alpha + hint[..., 0])
    restored = tiled(network(trained), np.concatenate([photo.colour, photo.colour[..., :1] * 0 + hint], axis=-1))
    photofile.write(target, replace(photo, colour=restored))
    return row


def enlarged(photo: Photo, factor: int) -> Photo:
    """By bicubic interpolation, also of its transparency."""
    height, width = (factor * side for side in photo.colour.shape[:2])
    larger = lambda x: np.asarray(degrade.resized(x, height, width)).clip(0, 1)  # noqa: E731
    alpha = None if photo.alpha is None else larger(photo.alpha[..., None])[..., 0]
    return replace(photo, colour=larger(photo.colour), alpha=alpha)


def figures(trained: Trained, folder: Path) -> None:
    """Test photographs before and after, and for noise of any strength how good they become."""
    config = replace(trained.config, data=replace(trained.config.data, draws=1))
    data = photos.load(config.data, config.batch, config.seed)
    held, names = columns(config, data.test["test"][:4]), data.names["test"]
    clean, restored = held["image"] / np.float32(255), network(trained)(_inputs(held))
    part, pictures, captions = slice(clean.shape[1] // 3, clean.shape[1] // 3 + ZOOM), [], []
    for name, *whole in zip(names, held["given"], restored, clean, strict=False):
        before, after = (float(degrade.psnr(x, whole[2])) for x in whole[:2])
        pictures += [*whole, 0.5 + 4 * (whole[1] - whole[2]), *(x[part, part] for x in whole)]
        captions += [f"{name}\n{before:.2f} dB", f"restored\n{after:.2f} dB", "original", "error, fourfold"]
        captions += ["a part", "restored", "original"]
    title = "Test photographs before and after, and the peak signal-to-noise ratio of each in dB"
    sheet(pictures, folder / "figures" / "restored.png", captions=captions, columns=7, title=title)
    strengths = np.linspace(config.weakest, config.strongest, 7 if config.data.damage == "denoise" else 0)
    lines: dict[str, list[float]] = {"restored": [], "noisy": []}
    for strength in strengths:
        spoiling = replace(config.data, tested=float(strength))
        held = columns(replace(config, data=spoiling), data.test["test"])
        for name, image in (("restored", network(trained)(_inputs(held))), ("noisy", held["given"])):
            lines[name].append(float(degrade.psnr(image, held["image"] / np.float32(255)).mean()))
    if len(strengths):
        series = {name: (strengths, values) for name, values in lines.items()}
        curves(series, folder / "figures" / "noise.svg", x="deviation of the noise in 255ths", y="PSNR in dB")


TAKES_FILES = True
PRESETS = {
    "denoise": Config(),
    "superresolve": Config(data=Data(damage="superresolve")),
    "superresolve4": Config(data=Data(damage="superresolve", factor=4)),
    "deblur": Config(data=Data(damage="deblur", tested=2.0), weakest=0.5, strongest=3.0),
    # 40 holes in a test photograph of 256x256; ten times, since where they fall decides more than who fills them.
    "inpaint": Config(data=Data(damage="inpaint", tested=3.9, draws=10), weakest=2.0, strongest=12.0),
    "colourise": Config(data=Data(damage="colourise")),
    # Zhang et al. (2017), section 4.1: grey images of BSD68 at 25: 29.23 dB (one level), 29.16 (any level).
    "dncnn": Config(
        model="dncnn", width=64, data=Data(crop=40), batch=128, steps=80_000, optimizer=Optimizer(rate=1e-3)
    ),
    "restormer-lite": Config(model="restormer", optimizer=Optimizer(rate=1e-3, warmup=100, average=0.998)),
}
EXPECTED = {"test/psnr": (31.2, 0.2)}
SMOKE = {
    "steps": 8,
    "batch": 8,
    "width": 4,
    "weakest": 24.0,
    "strongest": 26.0,
    "optimizer.rate": 1e-2,
    "data.crop": 32,
    "data.square": 32,
}

if __name__ == "__main__":
    run_file(__file__)
