"""What the layers of a pretrained network say of pictures of any size, as codes."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from deeplearn.models.efficientnet import Trunk
from deeplearn.models.pretrained import Pretrained

Place = tuple[str, int]
"""(layer, side of the grid of cells that its map is averaged over); a side of 1 is the global mean."""


def features(
    ready: Pretrained, pictures: UInt8[np.ndarray, "N H W C"], places: Sequence[Place], batch: int = 32
) -> dict[Place, Float[np.ndarray, "N D"]]:
    """Codes of grey or colour pictures, stretched to the size that the network knows; D = side * side * channels."""
    trunk = {name: tree["trunk"] for name, tree in ready.variables.items()}

    @jax.jit
    def program(pictures: Array) -> list[Array]:
        x = pictures.astype(jnp.float32) / 255
        x = jax.image.resize(x, (x.shape[0], ready.size, ready.size, x.shape[-1]), "cubic")
        x = jnp.broadcast_to((x - ready.mean) / ready.std, (*x.shape[:3], 3))
        found = Trunk().apply(trunk, x, train=False)
        return [gridded(found[layer], side) for layer, side in places]

    parts = []
    for start in range(0, len(pictures), batch):
        rows = pictures[start : start + batch]
        padded = np.concatenate([rows, np.repeat(rows[-1:], batch - len(rows), axis=0)])  # one shape, one program
        parts.append([np.asarray(code)[: len(rows)] for code in program(padded)])
    return {place: np.concatenate(codes) for place, codes in zip(places, zip(*parts, strict=True), strict=True)}


def gridded(x: Float[Array, "B H W C"], side: int) -> Float[Array, "B D"]:
    """Means over side x side cells whose borders lie at whole pixels."""
    rows, columns = (np.round(np.linspace(0, size, side + 1)).astype(int) for size in x.shape[1:3])
    cells = [
        x[:, top:bottom, left:right].mean((1, 2))
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(columns)
    ]
    return jnp.concatenate(cells, axis=-1)
