"""What spoils a photograph (noise, blur, few pixels, holes, no colour), and how alike two photographs are.

All functions are pure and take images [..., H, W, C] in 0..1 under jit; what is linear is a product with a matrix of
each side, which costs next to nothing beside a network and needs no convolution of its own.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Image = Float[Array, "*B H W C"]
LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
"""Red's, green's and blue's part in brightness by ITU-R BT.601 with 16..235 of 255 for black..white, as in MATLAB."""
DETAIL = (-0.12940952, -0.22414387, 0.83651630, -0.48296291)
"""High-pass filter of Daubechies' wavelet with two vanishing moments: of a smooth image it leaves the noise alone."""


def noisy(key: Array, image: Image, sigma: Float[Array, "*B"], *, clip: bool = True) -> Image:
    """White Gaussian noise of that deviation (1 is white's distance from black); clipped to 0..1, as in a file."""
    noise = jax.random.normal(key, image.shape) * sigma[..., None, None, None]
    return jnp.clip(image + noise, 0, 1) if clip else image + noise


def resized(image: Image, height: int, width: int) -> Image:
    """Bicubic with antialiasing as MATLAB's `imresize`, on which papers of super-resolution rest: mirrored borders."""
    return _both(image, cubic(image.shape[-3], height), cubic(image.shape[-2], width))


def cubic(source: int, target: int) -> Float[np.ndarray, "target source"]:
    """The matrix that makes `target` pixels of `source` by Keys' cubic (1981, a = -1/2), wider where it shrinks."""
    scale = target / source
    narrow = min(scale, 1.0)
    place = (np.arange(target) + 0.5) / scale - 0.5
    reach = 2 / narrow
    taps = np.floor(place - reach)[:, None] + np.arange(math.ceil(2 * reach) + 2)  # [target, P]
    x = np.abs(place[:, None] - taps) * narrow
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weight = np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
    weight /= weight.sum(1, keepdims=True)
    mirrored = (taps % (2 * source)).astype(int)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target)[:, None], np.minimum(mirrored, 2 * source - 1 - mirrored)), weight)
    return matrix.astype(np.float32)


def blurred(image: Image, sigma: Float[Array, "*B"]) -> Image:
    """A Gaussian of that deviation in pixels; at the border its part inside of the image, at weight one."""

    def matrix(side: int) -> Float[Array, "*B side side"]:
        distance = jnp.expand_dims(_distance(side), tuple(range(sigma.ndim)))
        weight = jnp.exp(-0.5 * (distance / sigma[..., None, None]) ** 2)
        return weight / weight.sum(-1, keepdims=True)

    return _both(image, matrix(image.shape[-3]), matrix(image.shape[-2]))


def holes(
    key: Array, shape: tuple[int, int], amount: Float[Array, ""], *, most: int, side: int
) -> Float[Array, "H W 1"]:
    """1 inside of `amount` squares at random places, which may overlap, and 0 outside; of `most` squares at most."""
    row_key, column_key = jax.random.split(key)
    row = jax.random.randint(row_key, (most, 1), 0, shape[0] - side + 1)
    column = jax.random.randint(column_key, (most, 1), 0, shape[1] - side + 1)
    rows, columns = jnp.arange(shape[0])[None], jnp.arange(shape[1])[None]
    down, across = (rows >= row) & (rows < row + side), (columns >= column) & (columns < column + side)
    there = down & (jnp.arange(most) < jnp.round(amount).astype(jnp.int32))[:, None]
    # As a product of matrices: to write every square down at the size of the image takes gigabytes.
    count = there.T.astype(jnp.float32) @ across.astype(jnp.float32)
    return (count > 0.5)[..., None].astype(jnp.float32)


def filled(image: Image, hole: Float[Array, "*B H W 1"], reach: int = 6) -> Image:
    """A first guess in the holes: the known pixels' mean within `reach`, the image's where there are none."""
    near = [(_distance(side) <= reach).astype(np.float32) for side in image.shape[-3:-1]]
    known = 1 - hole
    total, count = _both(image * known, *near), _both(known, *near)
    everywhere = (image * known).sum((-3, -2), keepdims=True) / known.sum((-3, -2), keepdims=True).clip(1)
    guess = jnp.where(count > 0.5, total / count.clip(1), everywhere)
    return image * known + guess * hole


def grey(image: Image) -> Image:
    """Brightness in all three channels (BT.601, black 0 and white 1)."""
    return jnp.broadcast_to((image @ jnp.array([0.299, 0.587, 0.114]))[..., None], image.shape)


def noise_level(image: Image) -> Float[Array, "*B"]:
    """The deviation of white noise in an image, from the median of its finest diagonal details (Donoho, 1994)."""
    taps = jnp.array(DETAIL)
    rows = sum(taps[i] * image[..., i : image.shape[-3] - 3 + i : 2, :, :] for i in range(4))
    details = sum(taps[i] * rows[..., i : image.shape[-2] - 3 + i : 2, :] for i in range(4))
    # Half of a normal distribution lies within 0.6745 deviations; the channels' estimates are averaged.
    return (jnp.median(jnp.abs(details), axis=(-3, -2)) / 0.67448975).mean(-1)


def luma(image: Image) -> Float[Array, "*B H W 1"]:
    """Y of Y'CbCr (BT.601), 16/255 for black to 235/255 for white: what papers of super-resolution measure."""
    return (image @ jnp.array(LUMA) + 16 / 255)[..., None]


def rounded(image: Image) -> Image:
    """As an 8-bit file keeps it."""
    return jnp.round(jnp.clip(image, 0, 1) * 255) / 255


def cropped(image: Image, border: int) -> Image:
    """Without so many pixels on every side, which super-resolution does not count."""
    return image[..., border : image.shape[-3] - border, border : image.shape[-2] - border, :]


def psnr(a: Image, b: Image, where: Bool[Array, "*B H W 1"] | None = None) -> Float[Array, "*B"]:
    """Peak signal-to-noise ratio in dB of each pair of images, over all pixels and channels or those of `where`."""
    weight = jnp.ones_like(a) if where is None else jnp.broadcast_to(where, a.shape).astype(a.dtype)
    error = ((a - b) ** 2 * weight).sum((-3, -2, -1)) / weight.sum((-3, -2, -1)).clip(1e-9)
    return -10 * jnp.log10(error.clip(1e-12))  # Equal images have 120 dB.


def ssim(a: Image, b: Image) -> Float[Array, "*B"]:
    """Structural similarity (Wang et al., 2004): an 11x11 Gaussian window of deviation 1.5, means over channels."""
    place = jnp.arange(-5.0, 6.0)
    window = jnp.exp(-0.5 * (place / 1.5) ** 2)
    window = window / window.sum()

    def mean(x: Image) -> Image:
        """Of every window that lies inside of the image."""
        rows = sum(window[i] * x[..., i : x.shape[-3] - 10 + i, :, :] for i in range(11))
        return sum(window[i] * rows[..., i : x.shape[-2] - 10 + i, :] for i in range(11))

    # Centred first: a variance as the difference of two means of squares loses float32's digits.
    middle = (a.mean((-3, -2, -1), keepdims=True) + b.mean((-3, -2, -1), keepdims=True)) / 2
    a, b = a - middle, b - middle
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    light_a, light_b, c1, c2 = mean_a + middle, mean_b + middle, 0.01**2, 0.03**2
    light = (2 * light_a * light_b + c1) / (light_a**2 + light_b**2 + c1)
    return (light * (2 * cov + c2) / (var_a + var_b + c2)).mean((-3, -2, -1))


@partial(jax.jit, static_argnames="border")  # Window by window, the similarity would be 110 programs.
def measures(
    restored: Image, image: Image, where: Bool[Array, "*B H W 1"] | None = None, border: int = 0
) -> dict[str, Float[Array, "*B"]]:
    """What papers state of each pair of images in 0..1: PSNR in dB of all pixels or those of `where`, the same as a
    file of 8 bits keeps them and of brightness without a border; and the structural similarity."""
    bright = [cropped(luma(x), border) for x in (restored, image)]
    return {
        "psnr": psnr(restored, image, where),
        "psnr_8bit": psnr(rounded(restored), image, where),
        "psnr_y": psnr(*bright, where if border == 0 else None),
        "ssim": ssim(restored, image),
    }


def _distance(side: int) -> Float[np.ndarray, "side side"]:
    """Pixels between each two places of a side."""
    return np.abs(np.subtract.outer(np.arange(side), np.arange(side))).astype(np.float32)


def _both(image: Image, rows: Float[Array, "... h H"], columns: Float[Array, "... w W"]) -> Float[Array, "*B h w C"]:
    """The matrices applied to the columns and to the rows of every channel."""
    return jnp.einsum("...hH,...HWC,...wW->...hwC", rows, image, columns, precision="highest")
