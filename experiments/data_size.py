"""How accuracy grows with the number of training images: a convolutional network and an RBF-SVM on the same images.

The network needs fewer images for the same accuracy: its lead is largest with a hundred and still there with all.
    deeplearn train data_size                       # up to 3200 images of MNIST, about ten minutes on two cores
    deeplearn train data_size --data.name digits --sizes 50 100 200 400 700
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from deeplearn import catalog
from deeplearn.cli import run_file
from deeplearn.competitors.images import classifiers, compete
from deeplearn.competitors.search import effort
from deeplearn.data.doors import images
from deeplearn.data.doors.images import Pixels
from deeplearn.experiment import Experiment
from deeplearn.knobs import Count, Some
from deeplearn.models.zoo import Model
from deeplearn.record.reading import load_run
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

classification = catalog.load("classification")
Fitted = Pixels


@dataclass(frozen=True, kw_only=True)
class Config(classification.Config):
    """Those of classification; the sizes take the place of data.limit."""

    sizes: Some[Count] = (50, 100, 200, 400, 800, 1600, 3200)
    """Numbers of training images."""
    data: images.Data = field(default_factory=lambda: images.Data(name="mnist5k"))
    model: Model = field(default_factory=lambda: Model(name="cnn", width=16))
    steps: int = 600


def at(config: Config, size: int) -> Config:
    return replace(config, data=replace(config.data, limit=size))


def experiment(config: Config, fitted: Fitted | None = None) -> Experiment:
    """The network on the largest number of images: the one that `deeplearn predict` uses."""
    return classification.experiment(at(config, max(config.sizes)), fitted)


def main(config: Config, work: Workspace) -> dict[str, float]:
    """One fit a size; the largest is the run's own."""
    found = {}
    for size in sorted(config.sizes):
        name = "" if size == max(config.sizes) else f"size-{size}"
        _, results = work.fit(partial(classification.experiment, at(config, size)), config, name)
        found[f"{accuracy(config)} at {size}"] = results[accuracy(config)]
    return found


def accuracy(config: Config) -> str:
    """Of the part that is judged on: the test, or while knobs are chosen the validation."""
    return "validation/accuracy" if config.choose else "test/accuracy"


def baseline(config: Config) -> dict[str, dict[str, float]]:
    """The SVM on the very same images of every size; its settings are searched for on the validation part."""
    splits, one = images.load(config.data, config.seed), classifiers()["RBF-SVM"]
    scores = {}
    for size in sorted(config.sizes):
        own = splits._replace(train=images.training_part(at(config, size).data, splits, config.seed))
        scores[f"{accuracy(config)} at {size}"] = compete(
            "RBF-SVM", one, own, choose=config.choose, refit=False, effort=effort(config.steps)
        )
    return {"RBF-SVM": scores}


def figures(trained: Trained, folder: Path) -> None:
    """Accuracy of both over the number of images."""
    from deeplearn.record.figures import curves

    result, sizes = load_run(folder).result, np.array(sorted(trained.config.sizes))
    names = [f"{accuracy(trained.config)} at {size}" for size in sizes]
    series = {"CNN": (sizes, np.array([result.metrics[name] for name in names]))}
    if result.seeds:
        low, high = (np.array([getattr(result.seeds[name], end) for name in names]) for end in ("low", "high"))
        series["CNN"] = (*series["CNN"], low, high)
    for competitor, scores in result.baseline.items():
        series[competitor] = (sizes, np.array([scores[name] for name in names]))
    curves(
        series,
        folder / "figures" / "data_size.svg",
        x="training images",
        y=accuracy(trained.config),
        log_x=True,
        markers=True,
    )


task, apply = classification.task, classification.apply
SMOKE = {"steps": 8, "sizes": (50, 100), "model.width": 8, "model.depth": 1}

if __name__ == "__main__":
    run_file(__file__)
