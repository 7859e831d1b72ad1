"""SIMULATED voxels of the ventral stream, made from a network's layers: they say nothing about brains.

A method that maps voxels to layers has to find again where each was taken from; V1 comes from the first third of the
layers, V4 from the second, and the face, place and word areas (which also like their category) from the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from deeplearn.data.sets.digits import mnist5k
from deeplearn.data.sets.faces import orl
from deeplearn.data.sets.photographs import photographs

SCENES = ("china.jpg", "rocket.jpg", "motorcycle_left.png", "coffee.png", "astronaut.png", "camera.png")
TEXTURES = ("brick.png", "grass.png", "gravel.png", "moon.png", "hubble_deep_field.jpg", "ihc.png")
REGIONS = {"V1": (0, None), "V4": (1, None), "FFA": (2, 0), "PPA": (2, 1), "VWFA": (2, 2)}
"""Region -> (third of the layers, kind of stimulus that it likes)."""


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """Responses of V voxels to N stimuli, several times."""

    values: Float[np.ndarray, "R N V"]
    region: Shaped[np.ndarray, "V"]
    layer: Int[np.ndarray, "V"]
    """The layer that each voxel was made from."""


def stimuli(each: int, size: int, seed: int) -> tuple[UInt8[np.ndarray, "N S S 3"], Int[np.ndarray, "N"]]:
    """`each` real faces, scenes, numerals and textures in grey, of equal mean and contrast, and which kind (0 to 3)."""
    from PIL import Image

    rng, faces, digits = np.random.default_rng(seed), orl().image[..., 0], mnist5k().train.image[..., 0]
    grey = {name: image.mean(-1) for name, image in photographs((*SCENES, *TEXTURES)).items()}

    def crop(image: np.ndarray, low: float) -> np.ndarray:
        side = int(min(image.shape) * rng.uniform(low, 1.0))
        y, x = (rng.integers(0, length - side + 1) for length in image.shape)
        return image[y : y + side, x : x + side]

    def numeral() -> np.ndarray:
        """Two or three digits in a row."""
        row = np.concatenate([digits[rng.integers(len(digits))] for _ in range(rng.integers(2, 4))], axis=1)
        frame = np.zeros((row.shape[1] + 8, row.shape[1] + 8))
        y = rng.integers(0, len(frame) - 28)
        frame[y : y + 28, 4:-4] = row
        return frame

    def drawn(kind: int) -> np.ndarray:
        match kind:
            case 0:
                return faces[rng.integers(len(faces)), 10:102].astype(float)
            case 1:
                return crop(grey[SCENES[rng.integers(len(SCENES))]], 0.5)
            case 2:
                return numeral()
        return crop(grey[TEXTURES[rng.integers(len(TEXTURES))]], 0.25)

    images, kinds = [], np.repeat(np.arange(4), each)
    for kind in kinds:
        image = np.asarray(Image.fromarray(drawn(kind).astype(np.float32)).resize((size, size), Image.BILINEAR))
        image = (image - image.mean()) / (image.std() + 1e-3)
        images.append(np.clip(128 + 50 * image, 0, 255).astype(np.uint8))
    return np.repeat(np.stack(images)[..., None], 3, axis=-1), kinds


def simulate(
    layers: Sequence[Float[np.ndarray, "N h w C"]],
    kinds: Int[np.ndarray, "N"],
    *,
    voxels: int,
    repeats: int,
    seed: int,
    signal: bool = True,
) -> Simulated:
    """`voxels` of each region: random mixtures of the channels at one place of a layer of its third, and noise.

    15 to 60 % of the variance of a single response is signal, as in fMRI; without `signal` all is noise.
    """
    rng, values, region, made = np.random.default_rng(seed), [], [], []
    thirds = np.array_split(np.arange(len(layers)), 3)
    for name, (third, liked) in REGIONS.items():
        for _ in range(voxels):
            number = rng.choice(thirds[third])
            layer = layers[number]
            y, x = (rng.integers(length) for length in layer.shape[1:3])
            channels = layer[:, y, x]
            own = (channels / (channels.std(0) + 1e-6)) @ rng.normal(size=channels.shape[1])
            own = (own - own.mean()) / (own.std() + 1e-6)
            own = own if liked is None else own + 0.8 * (kinds == liked)
            share = rng.uniform(0.15, 0.6) * signal
            noise = rng.normal(size=(repeats, len(own)))
            values.append(np.sqrt(share) * (own - own.mean()) / own.std() + np.sqrt(1 - share) * noise)
            region.append(name)
            made.append(number)
    return Simulated(values=np.stack(values, axis=-1).astype(np.float32), region=np.array(region), layer=np.array(made))


def recovered(made: Simulated, best: Int[np.ndarray, "V"], layers: int) -> dict[str, float]:
    """Share of voxels whose best layer lies in the third of the layers they were made from, and in each region."""
    right = 3 * best // layers == np.array([REGIONS[name][0] for name in made.region])
    return {"third": float(right.mean()), **{name: float(right[made.region == name].mean()) for name in REGIONS}}
