"""Which objects a photograph shows, and where.

Maps of objects' centres and sides (CenterNet, Zhou et al., 2019; FCOS, Tian et al., 2019), beside a support-vector
machine that slides over the same pictures (Dalal & Triggs, 2005). By default handwritten digits on photographs; no
photograph and no digit of the test is among those that are learnt from.
    deeplearn train detection
    deeplearn train detection --preset trees              # from the air, tested on other sites
    deeplearn train detection --data.path boxes.json      # your own, in COCO's format
    deeplearn predict runs/latest photo.jpg               # boxes, also as photo.boxes.json and photo.boxes.png
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplearn.cli import run_file
from deeplearn.data.doors import scenes
from deeplearn.data.doors.scenes import Classes
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.knobs import Count
from deeplearn.methods import boxes, centres
from deeplearn.methods.centres import Detections, Maps
from deeplearn.metrics import Mean
from deeplearn.models.detectors import CentreDetector
from deeplearn.optimizer import Optimizer, make
from deeplearn.task import Batch, Task, linen

STRIDE = 4
"""Pixels along the side of a cell of the detector's maps."""
MOST = 100
"""Detections of a picture at most, as COCO counts them."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of detection."""

    data: scenes.Data = field(default_factory=scenes.Data)
    width: Count = 32
    """Channels of the detector at a quarter of the picture's resolution."""
    steps: int = 5000
    batch: int = 16
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(rate=3e-3, warmup=100, decay=1e-2, clip=5.0, average=0.998)
    )


Fitted = Classes


def task(config: Config, fitted: Fitted) -> Task:
    """The sum of what is wrong with centres, boxes and how well these are said to fit, for each picture."""

    def inputs(batch: Batch) -> tuple[Float[Array, "B H W 3"]]:
        return ((batch["image"].astype(jnp.float32) / 255 - 0.5) * 4,)  # about -2..2

    def objective(maps: Maps, batch: Batch) -> tuple[Mean, Mapping[str, Mean]]:
        loss = centres.loss(maps, batch["box"], batch["label"], batch["crowd"], STRIDE)
        return Mean.of(loss, batch["mask"]), {}

    def predict(maps: Maps, batch: Batch) -> Detections:
        return centres.detections(maps, STRIDE, MOST)

    return linen(CentreDetector(len(fitted.classes), config.width), objective, inputs=inputs, predict=predict)


def experiment(config: Config, fitted: Fitted | None = None) -> Experiment:
    """Learn from scenes or random squares of pictures; judge on whole pictures as COCO does."""
    data = scenes.load(config.data, config.batch, config.seed)
    fitted = fitted or data.classes
    return Experiment(
        task=task(config, fitted),
        fitted=fitted,
        optimizer=make(config.optimizer, config.steps),
        train=data.train,
        evaluations={
            "validation": Evaluation(source=data.validation, score=score),
            "test": Evaluation(source=data.test, score=score, final=True),
        },
    )


def score(found: Detections, columns: Mapping[str, np.ndarray]) -> dict[str, float]:
    """COCO's numbers in the pictures' own pixels, and the precision at half an overlap if all classes are one."""
    pairs = [*zip(*matched(found, columns), strict=True)]
    one = [(f._replace(label=np.zeros_like(f.label)), t._replace(label=np.zeros_like(t.label))) for f, t in pairs]
    agnostic = boxes.coco(*zip(*one, strict=True))
    return boxes.coco(*zip(*pairs, strict=True)) | {"ap50_one_class": agnostic["ap50"]}


def matched(found: Detections, columns: Mapping[str, np.ndarray]) -> tuple[list[boxes.Found], list[boxes.Truth]]:
    """Detections and objects picture by picture, without what fills up their columns."""
    predicted, truth = [], []
    for row, zoom in enumerate(columns["zoom"]):
        real, there = columns["label"][row] >= 0, found.score[row] > 0
        predicted.append(boxes.Found(found.box[row][there] / zoom, found.score[row][there], found.label[row][there]))
        truth.append(
            boxes.Truth(
                columns["box"][row][real] / zoom, *(columns[name][row][real] for name in ("label", "crowd", "area"))
            )
        )
    return predicted, truth


SMOKE = {"steps": 8, "batch": 4, "width": 4, "data.scenes": 8}

if __name__ == "__main__":
    run_file(__file__)
