"""Inputs that each experiment of the shared suite can predict with, and one that it cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeplearn.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Samples:
    good: Sequence[str]
    bad: str
    files: bool = True
    """Whether inputs are files, which a folder may stand for."""
    joint: bool = False
    """Whether inputs are looked at together, so that one alone says something else."""


def samples(name: str, folder: Path, trained: Trained) -> Samples:
    """Three inputs, in a folder of their own where they are files, and a bad one beside it."""
    good = folder / "good"
    good.mkdir()
    if name == "translation":
        return Samples(good=["two hundred", "seven", "ninety one"], bad="", files=False)
    if name == "neurons":
        return Samples(good=["a and b", "a or not b", "not a"], bad="a and", files=False)
    if name == "synthesis":
        # Words of the grammar, whose sounds even a few recordings hold.
        return Samples(good=["press twenty", "the price is ninety euros", "room two"], bad="...", files=False)
    if name.endswith("one_measurement.py"):
        return Samples(good=["12.5", "14", "20.1"], bad="wide", files=False)
    if name == "prices":
        return _tables(good, folder / "bad.csv")
    if name in ("recognition", "vocoding"):
        return _sounds(good, folder / "bad.wav")
    if name == "brain":
        for i in range(3):
            size = len(trained.asset("scans.json")["subjects"][0]["weights"])
            np.save(good / f"{i}.npy", np.random.default_rng(i).normal(size=(2, size)))
        (folder / "bad.npy").write_text("nothing")
        return Samples(good=_sorted(good), bad=str(folder / "bad.npy"), files=False)
    return _pictures(good, folder / "bad.png", joint=name in ("retrieval", "verification"))


def _sorted(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.iterdir())]


def _tables(good: Path, bad: Path) -> Samples:
    from deeplearn.data.sets.houses import ames

    table = ames()
    for i in range(3):
        rows = zip(*(values[3 * i : 3 * i + 3].tolist() for values in table.values()), strict=True)
        (good / f"{i}.csv").write_text("\n".join(",".join(map(str, row)) for row in [tuple(table), *rows]) + "\n")
    bad.write_text("nothing\n1\n")
    return Samples(good=_sorted(good), bad=str(bad))


def _sounds(good: Path, bad: Path) -> Samples:
    from scipy.io import wavfile

    for i in range(3):
        wave = np.random.default_rng(i).normal(0, 1000, 8000 + 800 * i)
        wavfile.write(good / f"{i}.wav", 8000, wave.astype(np.int16))
    bad.write_text("nothing")
    return Samples(good=_sorted(good), bad=str(bad))


def _pictures(good: Path, bad: Path, joint: bool) -> Samples:
    from PIL import Image

    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (48, 56, 3), np.uint8)
        Image.fromarray(pixels).save(good / f"{i}.png")
    bad.write_text("nothing")
    return Samples(good=_sorted(good), bad=str(bad), joint=joint)
