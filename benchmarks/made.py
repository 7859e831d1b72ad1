"""Data of any size for the benchmark of growth: how they are written, and what of ours reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """One kind of data."""

    sizes: tuple[int, ...]
    """Each ten times the one before."""
    write: Callable[[Path, int, np.random.Generator], None]
    """(folder, size, generator): puts the data into the folder."""
    read: Callable[[Path], Any]
    """What is measured."""


def _table(folder: Path, size: int, rng: np.random.Generator) -> None:
    """Six numbers, two names, a day and a price in a row."""
    numbers, place, kind = rng.normal(size=(size, 6)).round(3), rng.integers(0, 50, size), rng.integers(0, 8, size)
    day = np.datetime64("2024-01-01") + rng.integers(0, 700, size).astype("m8[D]")
    price = np.exp(4 + 0.3 * numbers[:, 0] + 0.02 * place + 0.2 * rng.normal(size=size)).round(2)
    with (folder / "table.csv").open("w") as file:
        file.write("a,b,c,d,e,f,place,kind,day,price\n")
        for row in zip(numbers.tolist(), place, kind, day, price, strict=True):
            own, where, what, when, cost = row
            file.write(f"{','.join(map(str, own))},town {where},sort {what},{when},{cost}\n")


def _csv(folder: Path) -> None:
    from deeplearn.data.csvtable import read_csv

    read_csv(folder / "table.csv")


def _prices(folder: Path) -> None:
    """From the file to what the network of prices learns from and is tested on."""
    from deeplearn.data.csvtable import take
    from deeplearn.data.doors import prices as door

    data = door.Data(path=folder / "table.csv", target="price", date="day")
    problem = door.load(data, say=False)
    part = door.parts(problem, data)[1]
    fitted = door.fitted_on(problem, part, bins=48, harmonics=None, log=True)
    for rows in part:
        fitted.lesson(take(problem.table, rows), problem.price[rows])
    door.copies(problem, part)


def _scores(folder: Path, size: int, rng: np.random.Generator) -> None:
    """A model's intervals of so many rows, and how far as many others lay outside."""
    np.save(folder / "low.npy", rng.normal(size=(2, size)))
    np.save(folder / "scores.npy", rng.normal(size=(2, size // 2)))


def _intervals(folder: Path) -> None:
    from deeplearn.methods.conformal import crossed

    low, scores = np.load(folder / "low.npy"), np.load(folder / "scores.npy")
    crossed(low, low + 1, [*scores], 0.9)


def _errors(folder: Path, size: int, rng: np.random.Generator) -> None:
    """Errors of two systems on the same rows."""
    np.save(folder / "errors.npy", rng.normal(size=(2, size)))


def _bootstrap(folder: Path) -> None:
    from deeplearn.record.statistics import paired_bootstrap

    paired_bootstrap(*np.load(folder / "errors.npy"), seed=0)


def _pictures(folder: Path, size: int, rng: np.random.Generator) -> None:
    """Pictures of 48 x 48 in ten classes."""
    from PIL import Image

    for label in range(10):
        (folder / "pictures" / f"class {label}").mkdir(parents=True)
    for number in range(size):
        picture = Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8))
        picture.save(folder / "pictures" / f"class {number % 10}" / f"{number}.png")


def _images(folder: Path) -> None:
    """The split, and every picture that is learnt from once."""
    from deeplearn.data.doors import images

    data = images.Data(path=folder / "pictures")
    for _ in images.sources(data, batch=64, seed=0, choose=False).train.once():
        pass


def _sentences(folder: Path, size: int, rng: np.random.Generator) -> None:
    """Lines of eight words, few of which are frequent, of a vocabulary that grows; a third are variants of another."""
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(2000 + size // 20)])
    said = words[rng.zipf(1.3, (size - size // 3, 8)) % len(words)]
    like = said[rng.integers(0, len(said), size // 3)]
    like[:, 0] = rng.choice(words, len(like))
    (folder / "lines.txt").write_text("\n".join(" ".join(line) for line in [*said, *like]))


def _groups(folder: Path) -> None:
    from deeplearn.data.text import similar_groups

    similar_groups((folder / "lines.txt").read_text().split("\n"), 0.6)


def _runs(folder: Path, size: int, rng: np.random.Generator) -> None:
    """Finished runs of two hundred logged steps, of four widths."""
    from deeplearn.record.folder import Result, write_result

    for number in range(size):
        run = folder / "runs" / f"{number:04}"
        run.mkdir(parents=True)
        knobs = {"seed": number, "width": 64 * (1 + number % 4), "steps": 1000}
        lines = [{"step": s, "train/loss": 1 / s, "train/accuracy": 1 - 1 / s, "seconds": s} for s in range(5, 1001, 5)]
        (run / "config.json").write_text(json.dumps({"experiment": "classification", "config": knobs}))
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        metrics = {"test/accuracy": float(rng.normal(0.9, 0.01))}
        made = dict(experiment="classification", config=knobs, metrics=metrics, seconds=10.0, parameters=1000)
        write_result(run, Result(steps=1000, **made))


def _report(folder: Path) -> None:
    from deeplearn.record.reading import find_runs, load_run
    from deeplearn.record.report import page

    page([load_run(run) for run in find_runs([folder / "runs"])], folder / "page.html")


CASES = {
    "rows of a CSV file": Case((10_000, 100_000, 1_000_000), _table, _csv),
    "rows of prices": Case((10_000, 100_000, 1_000_000), _table, _prices),
    "intervals of prices": Case((10_000, 100_000, 1_000_000), _scores, _intervals),
    "errors beside a competitor's": Case((2000, 20_000, 200_000), _errors, _bootstrap),
    "pictures of a folder": Case((100, 1000, 10_000), _pictures, _images),
    "lines grouped by likeness": Case((1000, 10_000, 100_000, 1_000_000), _sentences, _groups),
    "runs of a report": Case((2, 20, 200), _runs, _report),
}
