"""What a photograph looked like before noise, few pixels, blur, holes or the loss of its colours.

A pyramid of convolutions for all of them (after U-Net, Ronneberger et al., 2015), DnCNN (Zhang et al., 2017) and a
small Restormer (Zamir et al., 2022), beside what photographs were restored with before. Noise is removed without being
told how strong it is.
    deeplearn train restoration                          # white noise of any strength
    deeplearn train restoration --preset superresolve    # also superresolve4, deblur, inpaint, colourise
    deeplearn train restoration --data.path photos       # your own; a tenth is the test
    deeplearn predict runs/latest photo.jpg              # writes photo.denoise.png beside it
"""

from dataclasses import dataclass, field
from typing import Literal

from deeplearn.data.doors import photos
from deeplearn.experiment import Run
from deeplearn.models.restorers import Name
from deeplearn.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of restoration."""

    damage: Literal["denoise", "superresolve", "deblur", "inpaint", "colourise"] = "denoise"
    """What is to be undone: white noise, few pixels, a Gaussian blur, square holes, grey."""
    data: photos.Data = field(default_factory=photos.Data)
    model: Name = "pyramid"
    width: int = 32
    """Channels of the model's finest level."""
    weakest: float = 5.0
    """Smallest strength that is learnt: deviation of the noise in 255ths, or of the blur in pixels."""
    strongest: float = 50.0
    """Largest strength that is learnt."""
    tested: float = 25.0
    """Strength that is tested."""
    factor: int = 2
    """By how much super-resolution multiplies each side."""
    holes: float = 0.11
    """Share of the pixels that 8x8 holes take away, before they overlap."""
    steps: int = 5000
    batch: int = 16
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(rate=2e-3, warmup=100, decay=1e-4, beta2=0.99, clip=0.5, average=0.998)
    )
