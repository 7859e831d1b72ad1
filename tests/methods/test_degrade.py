"""Photographs are spoilt and compared as the reference tools do it."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from deeplearn.methods import degrade

# MATLAB's imresize on these pixels, as recorded in the tests of GNU Octave's image package; MATLAB rounds to 8 bits.
PIXELS = """
    116 227 153  69 146 194  59 130 139 106
      2  47 137 249  90  75  16  24 158  44
    155  68  46  84 166 156  69 204  32 152
     71 221 137 230 210 153 192 115  30 118
    107 143 108  52  51  73 101  21 175  90
     54 158 143  77  26 168 113 229 165 225
      9  47 133 135 130 207 236  43  19  73
    129  60  59 243  64 181 249  56  32  86
"""
HALF = """
    105 140 126  81 109
    110 134 153 114  93
    108 108  94 127 146
     67 126 162 149  62
"""
SKIMAGE = [23.047660808680178, 0.6013911977046494, 26.06976071108186, 0.5626200997238584]
LARGER = "116 187 237 171 94 61 135 191 187 75 91 142 140 124 108"  # the first row of 1.5 times the size


def grid(text: str) -> np.ndarray:
    return np.array([row.split() for row in text.strip().splitlines()], np.float32)


def photo(seed: int = 0) -> jax.Array:
    """[32, 48, 3] soft shapes in 0..1."""
    rng = np.random.default_rng(seed)
    image = gaussian_filter(rng.normal(size=(32, 48, 3)), (3, 3, 0))
    return jnp.asarray((image - image.min()) / (image.max() - image.min()), jnp.float32)


def test_bicubic_equals_matlab():
    pixels = jnp.asarray(grid(PIXELS))[..., None]
    np.testing.assert_allclose(degrade.resized(pixels, 4, 5)[..., 0], grid(HALF), atol=1)
    np.testing.assert_allclose(degrade.resized(pixels, 12, 15)[0, :, 0], grid(LARGER)[0], atol=1)
    row = degrade.resized(jnp.array([10.0, 6.0]).reshape(1, 2, 1), 1, 3)
    np.testing.assert_allclose(row.ravel(), [10.27777777777777, 8, 5.72222222222222], rtol=1e-6)


def test_psnr_and_ssim_equal_scikit_image():
    """skimage 0.26: peak_signal_noise_ratio; structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False), both with data_range=1; rgb2ycbcr."""
    a = photo()
    b = degrade.rounded(a + 0.1 * jnp.sin(jnp.arange(a.size, dtype=jnp.float32)).reshape(a.shape))
    y = [degrade.luma(image) for image in (a, b)]
    ssim = jax.jit(degrade.ssim)
    found = [degrade.psnr(a, b), ssim(a, b), degrade.psnr(*y), ssim(*y)]
    np.testing.assert_allclose(found, SKIMAGE, rtol=1e-6)


def test_error_is_counted_where_asked():
    a, where = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2, 8, 8, 1), bool).at[:, 2:4].set(True)
    b = jnp.where(where, 0.1, 0.5)
    np.testing.assert_allclose(degrade.psnr(a, b, where), 20, rtol=1e-5)
    np.testing.assert_allclose(degrade.psnr(*(degrade.cropped(x[:, 1:5, :4], 1) for x in (a, b))), 20, rtol=1e-5)


def test_noise_has_the_deviation_that_is_asked_for_and_found():
    sigma = jnp.array([5, 25]) / 255
    clean = jnp.broadcast_to(photo() * 0.2 + 0.4, (2, 32, 48, 3))
    noisy = jax.jit(degrade.noisy)(jax.random.key(0), clean, sigma)
    np.testing.assert_allclose((noisy - clean).std((1, 2, 3)), sigma, rtol=0.05)
    np.testing.assert_allclose(jax.jit(degrade.noise_level)(noisy), sigma, rtol=0.1)


def test_blur_equals_scipys():
    """Away from the border, beyond which the two take other pixels."""
    found = degrade.blurred(photo(), jnp.float32(1.5))
    expected = gaussian_filter(np.asarray(photo()), (1.5, 1.5, 0), truncate=8)
    np.testing.assert_allclose(found[12:-12, 12:-12], expected[12:-12, 12:-12], atol=1e-6)
    np.testing.assert_allclose(degrade.blurred(jnp.ones((1, 9, 9, 1)), jnp.ones(1)), 1, rtol=1e-5)


def test_holes_are_squares_and_are_filled_from_around():
    keys = jax.random.split(jax.random.key(0), 50)
    holes = jax.jit(jax.vmap(lambda key: degrade.holes(key, (9, 10), jnp.float32(1), most=3, side=8)))(keys)
    assert holes.shape == (50, 9, 10, 1) and (holes.sum((1, 2, 3)) == 64).all()
    assert holes.any(0).all()  # every pixel can be inside of one
    ramp = jnp.broadcast_to(jnp.linspace(0, 0.3, 10).reshape(1, 1, 10, 1), (50, 9, 10, 3))
    spoilt = jnp.where(holes > 0, 9.0, ramp)
    fill = jax.jit(degrade.filled)
    filled = fill(spoilt, holes)
    assert jnp.abs(filled - ramp).max() < 0.3  # of the values around, not of what was there
    np.testing.assert_array_equal(jnp.where(holes > 0, 0.0, filled), jnp.where(holes > 0, 0.0, ramp))
    np.testing.assert_allclose(fill(spoilt, jnp.ones_like(holes)), 0)  # nothing is known


def test_grey_keeps_what_is_grey():
    grey = jnp.broadcast_to(photo()[..., :1], (32, 48, 3))
    np.testing.assert_allclose(degrade.grey(grey), grey, atol=1e-6)
