"""Boxes drawn on pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

COLOURS = ((230, 60, 30), (0, 158, 115), (0, 114, 178), (204, 121, 167), (230, 159, 0))


def drawn(
    image: UInt8[np.ndarray, "H W 3"],
    box: Float[np.ndarray, "N 4"],
    captions: Sequence[str],
    colours: Sequence[tuple[int, int, int]] = COLOURS[:1],
) -> Any:
    """The image as Pillow has it, with boxes (left, top, right, bottom) and a caption at each; colours repeat."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    width = max(1, round(min(picture.size) / 300))
    size = max(9, round(min(picture.size) / 40))
    for number, (sides, caption) in enumerate(zip(box.tolist(), captions, strict=True)):
        colour = colours[number % len(colours)]
        pen.rectangle(sides, outline=colour, width=width)
        place = (sides[0] + width + 1, max(0.0, sides[1] - size - 1))
        pen.text(place, caption, fill=colour, font_size=size)
    return picture
