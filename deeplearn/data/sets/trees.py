"""Trees seen from the air: 951 hand-drawn boxes on photographs of three sites, out of the DeepForest wheel (MIT).

Weinstein et al., "DeepForest: A Python package for RGB deep learning tree crown delineation" (2020); photographs of
the National Ecological Observatory Network, 10 cm a pixel.
"""

import xml.etree.ElementTree as ET

import numpy as np

from deeplearn.data.package import package
from deeplearn.data.pictures import Picture

TRAIN = ("2019_YELL_2_528000_4978000_image_crop2",)
VALIDATION = ("2019_YELL_2_541000_4977000_image_crop",)
TEST = ("OSBS_029", "SOAP_061")
"""Of two other sites, in Florida and in California, where the forest is another one."""


def trees(names: tuple[str, ...]) -> list[Picture]:
    """The photographs of that name with their trees.

    Raises:
        DataError: the wheel is neither in the cache nor reachable.
    """
    from PIL import Image

    sha256 = "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54"
    folder = package("deepforest", "2.1.0", sha256, "deepforest") / "data"
    found = []
    for name in names:
        image = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"))
        corners = [
            [float(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax")]
            for box in ET.parse(folder / f"{name}.xml").iter("bndbox")
        ]
        height, width = image.shape[:2]
        box = np.array(corners, np.float32).clip(0, np.array([width, height, width, height], np.float32))
        sides = box[:, 2:] - box[:, :2]
        found.append(Picture(image, box, np.zeros(len(box), np.int32), np.zeros(len(box), bool), sides.prod(1)))
    return found
