"""Photographs that ship inside of packages: 21 of scikit-image, scikit-learn and SPORCO.

Those of scikit-image are in the public domain (CC0, NASA) or CC BY, those of scikit-learn CC BY; those of SPORCO are
Kodak's and Waterloo's test images, free of restrictions by its README. The packages' own licences lie beside them.
"""

import importlib.util
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deeplearn.data.package import package

TRAIN = {
    "china.jpg": 8, "flower.jpg": 6, "motorcycle_left.png": 8, "camera.png": 2, "coins.png": 2, "ihc.png": 1,
    "hubble_deep_field.jpg": 1, "retina.jpg": 1, "brick.png": 1, "grass.png": 1, "gravel.png": 1, "moon.png": 1,
}  # fmt: skip
"""To learn from, with how often: photographs of things and places more than textures and what instruments see. The
motorcycle's right view is left out: it shows what a part of the left one that is kept for validation shows."""
TEST = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
"""To test on."""
CLASSIC = ("barbara.png", "kodim23.png", "monarch.png", "sail.png", "tulips.png")
"""Those that papers show (Kodak, Set14): to test on in restoration."""


def photographs(names: Iterable[str]) -> dict[str, np.ndarray]:
    """Name -> uint8 [H, W, 3]; grey ones have three equal channels.

    Raises:
        DataError: a wheel is neither in the cache nor reachable.
    """
    from PIL import Image

    return {name: np.asarray(Image.open(_path(name)).convert("RGB")) for name in names}


def _path(name: str) -> Path:
    if name in ("china.jpg", "flower.jpg"):
        return Path(importlib.util.find_spec("sklearn").origin).parent / "datasets/images" / name
    if name in CLASSIC:
        sha256 = "a5b600be67a062e8efc5e90484cd7043c72f04f84209f435ae711e4fd33f87f8"
        return package("sporco", "0.2.2.post1", sha256, "sporco") / "data" / name
    sha256 = "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af"
    return package("scikit-image", "0.26.0", sha256, "skimage", platform="manylinux_2_28_x86_64") / "data" / name
