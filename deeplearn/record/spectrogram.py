"""Pictures of sounds: time to the right, frequency upwards, and above what is said when."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from deeplearn.record.figures import COLOURS, INK, canvas, dress

Label = tuple[str, float, float]
"""A text, and from when to when in seconds."""


def spectrograms(
    pictures: Sequence[tuple[str, Float[np.ndarray, "F M"], Sequence[Label], Float[np.ndarray, "F"] | None]],
    seconds: float,
    path: Path | None = None,
    *,
    title: str = "",
) -> str:
    """Log-mel spectrograms below each other.

    Args:
        pictures: (name, bands, what is said when, pitch in Hz or None; NaN where the voice has none).
        seconds: of one frame.
    """
    longest = max(len(bands) for _, bands, _, _ in pictures) * seconds
    with canvas(path, 7.0, 1.5 * len(pictures) + 0.4) as (figure, svg):
        rows = figure.subplots(len(pictures), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (name, bands, labels, pitch) in zip(rows, pictures, strict=True):
            end = len(bands) * seconds
            low, high = np.quantile(bands, [0.05, 0.995])
            grey = np.clip((bands.T - low) / max(high - low, 1e-6), 0, 1)
            axes.imshow(grey, origin="lower", aspect="auto", cmap="Greys", extent=(0, end, 0, bands.shape[1]))
            for text, start, stop in labels:
                axes.axvline(start, color=COLOURS[1], linewidth=0.6)
                axes.text((start + stop) / 2, bands.shape[1] * 1.02, text, ha="center", fontsize=7, color=INK)
            dress(axes, "seconds" if axes is rows[-1] else "", name, "")
            axes.set_xlim(0, longest)
            axes.set_yticks([])
            axes.grid(False)
            if pitch is not None:
                other = axes.twinx()
                other.plot(np.arange(len(pitch)) * seconds, pitch, color=COLOURS[0], linewidth=1.4)
                other.set_ylabel("Hz", color=COLOURS[0], fontsize=8)
                other.tick_params(colors=COLOURS[0], labelsize=7)
                other.set_ylim(50, 400)
        if title:
            figure.suptitle(title, fontsize=10, color=INK)
    return svg[0]


def spoken(
    bands: Float[np.ndarray, "F M"],
    phonemes: Sequence[str],
    duration: Int[np.ndarray, "U"],
    pitch: Float[np.ndarray, "F"],
    seconds: float,
    path: Path | None = None,
    *,
    title: str = "",
) -> str:
    """One spectrogram with its phonemes, each so many frames long, above it, and the pitch in Hz (0: none) in it."""
    edges = np.concatenate([[0], np.cumsum(duration)]) * seconds
    labels = [(name, *span) for name, span in zip(phonemes, pairwise(edges), strict=True)]
    return spectrograms([("", bands, labels, np.where(pitch > 0, pitch, np.nan))], seconds, path, title=title)
