"""One self-contained HTML page about what a network looks at in pictures: it loads nothing and runs no script."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num, UInt8

from deeplearn.plain import LONGEST, plain
from deeplearn.record.folder import write_text
from deeplearn.record.report import engine

FOR, AGAINST = (213, 94, 0), (0, 114, 178)
"""The orange and the blue of `figures.COLOURS`."""
STRONGEST = 99.0
"""Percentile of a map that has the full colour: a single pixel would make all others pale."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture and what is said of it."""

    name: str
    image: UInt8[np.ndarray, "H W C"]
    chances: Sequence[tuple[str, float]]
    """Classes and their probabilities, the likeliest first."""
    maps: Mapping[str, Float[np.ndarray, "H W"]]
    """By method, for the likeliest class; signed."""
    gap: float
    """Of integrated gradients, as a share of the difference of the logits."""


def page(run: str, pictures: Sequence[Shown], out: Path) -> Path:
    """Write the page to `out`; returns the path. StorageError where the disk is full or read-only."""
    shown = [
        {
            "name": plain(one.name, LONGEST),
            "chances": [(plain(name, LONGEST), chance) for name, chance in one.chances],
            "image": _address(_colours(one.image)),
            "maps": {name: _address(overlaid(own, one.image)) for name, own in one.maps.items()},
            "gap": one.gap,
        }
        for one in pictures
    ]
    text = engine().get_template("explain.html.jinja").render(run=plain(run, LONGEST), pictures=shown)
    write_text(Path(out), text, "--output")
    return Path(out)


def overlaid(map: Float[np.ndarray, "H W"], image: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W 3"]:
    """A pale grey picture under the map: orange where it is positive, blue where it is negative."""
    grey = 160 + 0.35 * image.mean(-1, keepdims=True)  # pale, so that a colour is the map's
    strength = np.clip(np.abs(map) / max(np.percentile(np.abs(map), STRONGEST), 1e-12), 0, 1)[..., None]
    colour = np.where((map > 0)[..., None], np.array(FOR), np.array(AGAINST))
    return np.round(grey + strength * (colour - grey)).astype(np.uint8)


def _colours(image: Num[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W 3"]:
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def _address(image: UInt8[np.ndarray, "H W 3"]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
