"""What photographs were restored with before networks learnt to; needs scikit-image, and the package bm3d for BM3D."""

import importlib.util
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

Restore = Callable[[Float[np.ndarray, "N H W 3"], Float[np.ndarray, "N H W 1"]], Float[np.ndarray, "N H W 3"]]
"""(what is left of images, what is known of the damage) -> restored images in 0..1."""
AS_GIVEN = {
    "denoise": "noisy", "superresolve": "bicubic", "deblur": "blurred", "inpaint": "mean around", "colourise": "grey"
}  # fmt: skip
"""What nothing being done is called, for each kind of damage."""


def restorers(damage: str, strength: float) -> dict[str, list[Restore]]:
    """Competitor -> its settings to choose among; those whose packages are not installed are left out.

    Args:
        damage: denoise, superresolve, deblur, inpaint or colourise.
        strength: of the blur that competitors are told, deviation in pixels; that of noise is their hint.
    """
    found: dict[str, list[Restore]] = {AS_GIVEN[damage]: [lambda given, hint: given]}
    if not importlib.util.find_spec("skimage"):
        return found
    match damage:
        case "denoise":
            found |= {"total variation": [_tv(weight) for weight in (0.7, 1.0, 1.3)]}
            found |= {"non-local means": [_nlm(share) for share in (0.6, 0.8, 1.0)]}
            if importlib.util.find_spec("bm3d") and importlib.util.find_spec("bm4d"):
                found |= {"BM3D": [_bm3d()]}
        case "deblur":
            found |= {"Wiener": [_wiener(strength, balance) for balance in (0.003, 0.01, 0.03, 0.1)]}
            found |= {"Richardson-Lucy": [_richardson_lucy(strength, rounds) for rounds in (5, 10, 20)]}
        case "inpaint":
            found |= {"biharmonic": [_biharmonic()]}
    return found


def chosen(settings: Sequence[Restore], given: np.ndarray, hint: np.ndarray, image: np.ndarray) -> Restore:
    """The setting that comes nearest to the images of a validation part."""
    if len(settings) == 1:
        return settings[0]
    return min(settings, key=lambda restore: float(((restore(given, hint) - image) ** 2).mean()))


def _each(function: Callable[..., Float[np.ndarray, "H W 3"]]) -> Restore:
    """One image after the other, clipped to 0..1."""
    return lambda given, hint: np.stack(
        [np.clip(function(*pair), 0, 1).astype(np.float32) for pair in zip(given, hint, strict=True)]
    )


def _tv(weight: float) -> Restore:
    """Chambolle (2004), its weight in deviations of the noise."""
    from skimage.restoration import denoise_tv_chambolle

    return _each(lambda image, hint: denoise_tv_chambolle(image, weight * float(hint.mean()), channel_axis=-1))


def _nlm(share: float) -> Restore:
    """Buades et al. (2005), its cut-off in deviations of the noise."""
    from skimage.restoration import denoise_nl_means

    def denoise(image: np.ndarray, hint: np.ndarray) -> np.ndarray:
        sigma = float(hint.mean())
        return denoise_nl_means(
            image, patch_size=5, patch_distance=6, h=share * sigma, sigma=sigma, fast_mode=True, channel_axis=-1
        )

    return _each(denoise)


def _bm3d() -> Restore:
    """Dabov et al. (2007) for colours; the package's licence allows research only."""
    import bm3d

    return _each(lambda image, hint: bm3d.bm3d_rgb(image, float(hint.mean())))


def _kernel(sigma: float) -> Float[np.ndarray, "K K"]:
    place = np.arange(-round(4 * sigma), round(4 * sigma) + 1)
    line = np.exp(-0.5 * (place / sigma) ** 2)
    return np.outer(line, line) / line.sum() ** 2


def _wiener(sigma: float, balance: float) -> Restore:
    """Wiener (1949) in the form of Orieux et al. (2010), told the blur."""
    from skimage.restoration import wiener

    return _each(_by_channel(lambda plane: wiener(plane, _kernel(sigma), balance)))


def _richardson_lucy(sigma: float, rounds: int) -> Restore:
    """Richardson (1972) and Lucy (1974), told the blur."""
    from skimage.restoration import richardson_lucy

    return _each(_by_channel(lambda plane: richardson_lucy(plane, _kernel(sigma), rounds)))


def _by_channel(function: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda image, hint: np.stack([function(plane) for plane in np.moveaxis(image, -1, 0)], axis=-1)


def _biharmonic() -> Restore:
    """Damelin & Hoang (2018)."""
    from skimage.restoration import inpaint_biharmonic

    return _each(lambda image, hint: inpaint_biharmonic(image, hint[..., 0] > 0, channel_axis=-1))
