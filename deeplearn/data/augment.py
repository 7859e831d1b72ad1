"""Random changes to training images that leave their class alone, on the device, inside the step.

Every function is pure. The randomness of an example comes from `fold_in(key, index)`, so it does not depend on its
place in the batch or on how the batch is spread over devices. Images are float [H, W, C] in 0..1 (only RandAugment
needs the range); a signal is an image of width one.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Int

from deeplearn.knobs import Amount, NotNegative, Range, Share

Batch = dict[str, Array]
Image = Float[Array, "H W C"]
Fill = Literal["constant", "nearest", "wrap"]
"""What lies outside an image: zeros, its outermost pixel, or its other side."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How strongly to change training images; everything is off by default."""

    shift: Share = 0.0
    """Largest move along each axis, as a share of the side."""
    rotate: Annotated[float, Range(low=0, high=180)] = 0.0
    """Largest rotation, in degrees."""
    scale: NotNegative = 0.0
    """Each side is scaled on its own by up to e^scale, either way."""
    shear: NotNegative = 0.0
    """Largest horizontal shear, as the tangent of its angle."""
    elastic: NotNegative = 0.0
    """Deviation of a pixel's displacement by elastic distortion, as a share of the side."""
    fill: Fill = "constant"
    """What a moved image uncovers."""
    flip: bool = False
    """Mirror left and right half of the time; not for digits or letters."""
    crop: Amount = 0
    """Pad with so many zeros on every side, then cut the old size out at random (CIFAR: 4)."""
    area: Annotated[float, Range(low=0, high=1, above=True)] = 1.0
    """Cut out a rectangle of this share of the area or more and scale it to the old size (ImageNet: 0.08)."""
    randaugment: Amount = 0
    """Operations of RandAugment, one after the other (ImageNet: 2)."""
    magnitude: Annotated[float, Range(low=0, high=10)] = 9.0
    """Strength of RandAugment, from 0 to 10."""
    brightness: NotNegative = 0.0
    """Values are multiplied by up to e^brightness, either way."""
    contrast: NotNegative = 0.0
    """Distances from the mean are multiplied by up to e^contrast, either way."""
    noise: NotNegative = 0.0
    """Deviation of white noise, in the units of the values."""
    cutout: Share = 0.0
    """Side of a square of zeros, as a share of the image's side."""
    mixup: NotNegative = 0.0
    """Parameter of the Beta distribution of the share of each of two mixed images (ImageNet: 0.2)."""
    cutmix: NotNegative = 0.0
    """Parameter of the Beta distribution of the area pasted in from another image (paper: 1)."""


def augmentation(a: Augment, classes: int) -> Callable[[Array, Batch], Batch]:
    """(key, batch) -> batch whose `image` went through all that `a` asks for; mixing adds `target` [B, classes]."""

    def change(key: Array, image: Image) -> Image:
        keys = iter(jax.random.split(key, 8 + a.randaugment))
        image = resized_crop(next(keys), image, a.area)
        image = crop(next(keys), image, a.crop)
        image = flip(next(keys), image) if a.flip else image
        image = warp(next(keys), image, a)
        for _ in range(a.randaugment):
            image = randaugment(next(keys), image, a.magnitude)
        image = gain(next(keys), image, a.brightness)
        image = contrast(next(keys), image, a.contrast)
        image = noise(next(keys), image, a.noise)
        return cutout(next(keys), image, a.cutout)

    def augment(key: Array, batch: Batch) -> Batch:
        own, pair = jax.random.split(key)
        batch = {**batch, "image": each(change, own, batch)}
        return mixed(pair, batch, classes, mixup=a.mixup, cutmix=a.cutmix) if a.mixup or a.cutmix else batch

    return augment


def views(a: Augment, borrow: float = 0.0) -> Callable[[Array, Batch], Batch]:
    """(key, batch) -> batch with a second view, `other`, of each example: two pictures of the same thing.

    Args:
        borrow: how often the second view is that of one of the images in the column `near` [B, J, H, W, C] instead
            (Dwibedi et al., 2021).
    """
    change = augmentation(a, classes=0)

    def borrowed(key: Array, own: Image, near: Float[Array, "J H W C"]) -> Image:
        coin, which = jax.random.split(key)
        other = near[jax.random.randint(which, (), 0, len(near))]
        return jnp.where(jax.random.bernoulli(coin, borrow), other, own)

    def augment(key: Array, batch: Batch) -> Batch:
        first, second, third = jax.random.split(key, 3)
        other = batch["image"]
        if borrow:
            other = jax.vmap(borrowed)(example_keys(third, batch), other, batch["near"])
        return change(first, batch) | {"other": change(second, batch | {"image": other})["image"]}

    return augment


def each(change: Callable[[Array, Image], Image], key: Array, batch: Batch) -> Float[Array, "B H W C"]:
    """`change(key, image)` on every image of the batch, with the example's own key."""
    return jax.vmap(change)(example_keys(key, batch), batch["image"])


def pose(image: Image, which: Int[Array, ""]) -> Image:
    """A square image in one of the eight ways to lay it down: turned by `which` quarters, from 4 on mirrored first."""
    image = jnp.where(which >= 4, image[:, ::-1], image)
    return jax.lax.switch(which % 4, [functools.partial(jnp.rot90, k=quarters) for quarters in range(4)], image)


def example_keys(key: Array, batch: Batch) -> Array:
    """[B] keys that depend on the examples only."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(batch["index"])


def warp(key: Array, image: Image, a: Augment) -> Image:
    """Shift, rotation, scaling, shear and elastic distortion as one bilinear resampling."""
    if not (a.shift or a.rotate or a.scale or a.shear or a.elastic):
        return image
    affine_key, elastic_key = jax.random.split(key)
    extent = jnp.array([side - 1 for side in image.shape[:2]], jnp.float32)
    draw = jax.random.uniform(affine_key, (6,), minval=-1.0)
    angle, shear = jnp.deg2rad(a.rotate) * draw[0], a.shear * draw[1]
    offset, scale = a.shift * extent * draw[2:4], jnp.exp(a.scale * draw[4:6])
    matrix = rotation(angle) @ jnp.eye(2).at[1, 0].set(shear) * scale[None]
    place = affine(image, matrix, offset)
    if a.elastic:
        place = place + a.elastic * extent[:, None, None] * smooth_noise(elastic_key, image.shape[:2])
    return resample(image, place, a.fill)


def rotation(angle: Float[Array, ""]) -> Float[Array, "2 2"]:
    """The rotation matrix of an angle in radians."""
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    return jnp.stack([cosine, -sine, sine, cosine]).reshape(2, 2)


def affine(image: Image, matrix: Float[Array, "2 2"], offset: Float[Array, "2"]) -> Float[Array, "2 H W"]:
    """Where each pixel comes from: centre + matrix (pixel - centre) + offset, in (row, column) order."""
    height, width = image.shape[:2]
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2], jnp.float32)[:, None, None]
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")).astype(jnp.float32)
    return jnp.tensordot(matrix, grid - centre, axes=1) + centre + offset[:, None, None]


def smooth_noise(key: Array, shape: tuple[int, int], width: float = 1 / 7) -> Float[Array, "2 H W"]:
    """Two fields of unit-variance noise, smooth over `width` of a side (Simard et al., 2003: 4 of 28 pixels)."""

    def blur(side: int) -> Float[Array, "side side"]:
        place = jnp.arange(side, dtype=jnp.float32)
        weights = jnp.exp(-0.5 * ((place[:, None] - place[None]) / (width * side)) ** 2)
        return weights / jnp.sqrt((weights**2).sum(1, keepdims=True))  # keeps the variance at one

    return jnp.einsum("ab,cd,kbd->kac", blur(shape[0]), blur(shape[1]), jax.random.normal(key, (2, *shape)))


def resample(image: Image, place: Float[Array, "2 H W"], fill: Fill) -> Image:
    """The image read at (row, column) `place`, linear between pixels."""
    channel = jax.vmap(lambda plane: map_coordinates(plane, list(place), order=1, mode=fill), in_axes=-1, out_axes=-1)
    return channel(image)


def flip(key: Array, image: Image) -> Image:
    """Left and right exchanged, half of the time."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def crop(key: Array, image: Image, padding: int) -> Image:
    """The old size out of the image with `padding` zeros on every side."""
    if not padding:
        return image
    start = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    return jax.lax.dynamic_slice(padded, (start[0], start[1], 0), image.shape)


def resized_crop(key: Array, image: Image, area: float) -> Image:
    """A rectangle of `area` to 1 of the image, sides 3:4 to 4:3, scaled to the old size (Szegedy et al., 2015)."""
    if area >= 1.0:
        return image
    share, ratio, row, column = jax.random.uniform(key, (4,))
    share, stretch = area + (1 - area) * share, jnp.exp(jnp.log(4 / 3) * (ratio - 0.5))
    zoom = jnp.maximum(1.0, jnp.stack([stretch, 1 / stretch]) / jnp.sqrt(share))
    sides = jnp.array(image.shape[:2], jnp.float32)
    offset = -jnp.stack([row, column]) * sides * (zoom - 1)
    return jax.image.scale_and_translate(image, image.shape, (0, 1), zoom, offset, "linear")


def gain(key: Array, image: Image, strength: float) -> Image:
    """Brighter or darker."""
    return image * jnp.exp(strength * jax.random.uniform(key, minval=-1.0)) if strength else image


def contrast(key: Array, image: Image, strength: float) -> Image:
    """More or less contrast."""
    return blend(image.mean(), image, jnp.exp(strength * jax.random.uniform(key, minval=-1.0))) if strength else image


def noise(key: Array, image: Image, deviation: float) -> Image:
    """White Gaussian noise."""
    return image + deviation * jax.random.normal(key, image.shape) if deviation else image


def cutout(key: Array, image: Image, side: float) -> Image:
    """A square of zeros whose centre lies anywhere in the image (DeVries & Taylor, 2017)."""
    return jnp.where(box(key, image, jnp.float32(side)), jnp.float32(0), image) if side else image


def box(key: Array, image: Image, side: Float[Array, ""]) -> Array:
    """bool [H, W, 1]: inside a box of `side` times the image's sides; what stands out of the image is cut off."""
    centre = jax.random.uniform(key, (2,))
    places = [(jnp.arange(size, dtype=jnp.float32) + 0.5) / size for size in image.shape[:2]]
    inside = [jnp.abs(place - middle) <= side / 2 for place, middle in zip(places, centre, strict=True)]
    return (inside[0][:, None] & inside[1][None])[..., None]


def blend(start: Array, end: Image, amount: Float[Array, ""]) -> Image:
    """start at 0, end at 1, and beyond either."""
    return start + amount * (end - start)


GREY = 128 / 255
"""What the reference's RandAugment puts where a moved image uncovers nothing."""


def randaugment(key: Array, image: Image, magnitude: float) -> Image:
    """One operation of RandAugment (Cubuk et al., 2020), drawn evenly; values stay in 0..1.

    The paper's fourteen without equalise, which needs a histogram. Magnitude 10 is its full scale. Strength grows with
    the magnitude everywhere, as in torchvision (in the reference solarise and posterise weaken), and signs are random
    wherever they make sense.
    """
    choice, sign = jax.random.split(key)
    level = magnitude / 10 * jax.random.rademacher(sign, (), jnp.float32)  # in -1..1
    chosen = tuple(operations(image, level).values())
    return jnp.clip(jax.lax.switch(jax.random.randint(choice, (), 0, len(chosen)), chosen), 0.0, 1.0)


def operations(image: Image, level: Float[Array, ""]) -> dict[str, Callable[[], Image]]:
    """RandAugment's by name, at a level of -1..1; those of tones as in PIL, but for its rounding."""
    size = jnp.abs(level)
    still, eye = jnp.zeros(2), jnp.eye(2)
    extent = jnp.array(image.shape[:2], jnp.float32)
    luma = jnp.array([0.299, 0.587, 0.114] if image.shape[-1] == 3 else [1 / image.shape[-1]] * image.shape[-1])
    grey = (image @ luma)[..., None]

    def moved(matrix: Array, offset: Array = still) -> Image:
        return resample(image - GREY, affine(image, matrix, offset), "constant") + GREY

    def autocontrast() -> Image:
        low, high = image.min((0, 1), keepdims=True), image.max((0, 1), keepdims=True)  # [1, 1, C]
        return jnp.where(high > low, (image - low) / jnp.maximum(high - low, 1e-6), image)

    def posterised() -> Image:  # the highest bits of a byte, eight to four of them
        lost = 2.0 ** jnp.round(4 * size)
        return jnp.floor(jnp.round(image * 255) / lost) * lost / 255

    def sharpened() -> Image:
        kernel = jnp.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], jnp.float32) / 13  # PIL's SMOOTH, which leaves the rim
        smooth = jax.vmap(lambda x: jax.scipy.signal.convolve(x, kernel, "same"), in_axes=-1, out_axes=-1)(image)
        rows, columns = ((jnp.arange(side) % (side - 1) > 0) for side in image.shape[:2])
        inside = (rows[:, None] & columns[None])[..., None]
        return jnp.where(inside, blend(smooth, image, 1 + 0.9 * level), image)

    return {
        "identity": lambda: image,
        "autocontrast": autocontrast,
        "posterise": posterised,
        "sharpness": sharpened,
        "solarise": lambda: jnp.where(image < 1 - size, image, 1 - image),
        "colour": lambda: blend(grey, image, 1 + 0.9 * level),
        "contrast": lambda: blend(grey.mean(), image, 1 + 0.9 * level),
        "brightness": lambda: image * (1 + 0.9 * level),
        "rotate": lambda: moved(rotation(jnp.deg2rad(30.0) * level)),
        "shear along rows": lambda: moved(eye.at[1, 0].set(0.3 * level)),
        "shear along columns": lambda: moved(eye.at[0, 1].set(0.3 * level)),
        "move rows": lambda: moved(eye, still.at[0].set(0.45 * level) * extent),  # 100 of 224 pixels
        "move columns": lambda: moved(eye, still.at[1].set(0.45 * level) * extent),
    }


def mixed(key: Array, batch: Batch, classes: int, *, mixup: float = 0.0, cutmix: float = 0.0) -> Batch:
    """Mixup (Zhang et al., 2018) or CutMix (Yun et al., 2019), and where both are on, a coin decides for each example.

    The partner of an example is its neighbour in the batch (of this device's share under shard_map and pmap), a random
    one since batches are shuffled; a padded neighbour is not mixed in. Adds `target` [B, classes], rows sum to 1.
    """
    image, label, mask = batch["image"], batch["label"], batch["mask"]
    other, other_mask = jnp.roll(image, 1, axis=0), jnp.roll(mask, 1)

    def blended(key: Array, own: Image, other: Image) -> tuple[Image, Array]:
        share = jax.random.beta(key, mixup, mixup)
        return blend(other, own, share), share

    def pasted(key: Array, own: Image, other: Image) -> tuple[Image, Array]:
        area_key, box_key = jax.random.split(key)
        inside = box(box_key, own, jnp.sqrt(jax.random.beta(area_key, cutmix, cutmix)))
        return jnp.where(inside, other, own), 1 - inside.mean()

    def mix(key: Array, own: Image, other: Image) -> tuple[Image, Array]:
        coin, key = jax.random.split(key)
        if mixup and cutmix:
            return jax.lax.cond(jax.random.bernoulli(coin), blended, pasted, key, own, other)
        return blended(key, own, other) if mixup else pasted(key, own, other)

    new, share = jax.vmap(mix)(example_keys(key, batch), image, other)
    real = (mask > 0) & (other_mask > 0)
    share = jnp.where(real, share, jnp.float32(1))[:, None]
    one_hot = jax.nn.one_hot(label, classes, dtype=jnp.float32)
    target = share * one_hot + (1 - share) * jnp.roll(one_hot, 1, axis=0)
    return {**batch, "image": jnp.where(real[:, None, None, None], new, image), "target": target}
