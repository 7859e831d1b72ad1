"""Which objects a photograph shows, and where.

Maps of objects' centres and sides (CenterNet, Zhou et al., 2019; FCOS, Tian et al., 2019) or a set of boxes (DETR,
Carion et al., 2020), beside a support-vector machine that slides over the same pictures (Dalal & Triggs, 2005). By
default handwritten digits on photographs; no photograph and no digit of the test is among those that are learnt from.
Expected: average precision .878 at half an overlap, .634 over all (the machine: .390, .160), in 22 minutes on one core.
    deeplearn train detection
    deeplearn train detection --preset trees              # from the air, tested on other sites
    deeplearn train detection --data.path boxes.json      # your own, in COCO's format
    deeplearn train detection --data.path boxes.json --init pretrained:efficientnet-lite0    # a few photographs
    deeplearn predict runs/latest photo.jpg               # boxes, also as photo.boxes.json and photo.boxes.png
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from deeplearn.cli import run_file
from deeplearn.competitors.scenes import sliding
from deeplearn.data import photofile
from deeplearn.data.doors import scenes
from deeplearn.data.doors.scenes import Classes
from deeplearn.data.image_folder import pictures_in
from deeplearn.data.inputs import attempted
from deeplearn.data.pictures import shrunk
from deeplearn.evaluation import predict_all
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.knobs import Count, Range, Some
from deeplearn.methods import boxes, centres, sets
from deeplearn.methods.boxes import Found, Truth
from deeplearn.methods.centres import Detections, Maps
from deeplearn.methods.views import in_sizes
from deeplearn.metrics import Mean
from deeplearn.models.detectors import CentreDetector, Guess, SetDetector
from deeplearn.models.efficientnet import MEAN, STD
from deeplearn.models.pretrained import begun_below
from deeplearn.optimizer import Optimizer, make
from deeplearn.record.boxes import COLOURS, drawn
from deeplearn.record.figures import curves
from deeplearn.record.figures import images as sheet
from deeplearn.record.folder import write_text
from deeplearn.task import Batch, Task, Variables, linen, starting
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

STRIDE = 4
"""Pixels along the side of a cell of the detector's maps."""
COARSEST = 16
"""Pixels along the side of a cell of the coarsest level, of which a picture's sides are made multiples."""
MOST = 100
"""Detections of a picture at most, as COCO counts them."""
LARGEST = 2048
"""Longer side in pixels to which a photograph is shrunk, so that it fits into memory."""
SHADES = (COLOURS[1], COLOURS[4], COLOURS[0])
LEGEND = "green: found, orange: wrong, red: missed; those with most mistakes first, then usual ones"


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of detection."""

    data: scenes.Data = field(default_factory=scenes.Data)
    model: Literal["centres", "detr"] = "centres"
    """Maps of centres, or a set of boxes (Carion et al., 2020)."""
    width: Count = 32
    """Channels of the detector at a quarter of the picture's resolution."""
    init: str | None = None
    """A way down that was trained before and stays as it is: pretrained:efficientnet-lite0 (on ImageNet), or
    pretrained:FILE (.pth or .safetensors, of an efficientnet-lite0 by PyTorch's names, or as deeplearn export writes
    it). Only what lies above is learnt."""
    views: Some[Annotated[float, Range(low=0.25, high=4)]] = (1.0, 1.125, 1.25)
    """Sizes, as multiples of its own, in which a picture is looked at; what is found in them is fused."""
    steps: int = 5000
    batch: int = 16
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(rate=3e-3, warmup=100, decay=1e-2, clip=5.0, average=0.998)
    )


Fitted = Classes


def task(config: Config, fitted: Fitted) -> Task:
    """What is wrong with the maps, or with the sets of all stages, for each picture."""
    classes = len(fitted.classes)

    def inputs(batch: Batch) -> tuple[Float[Array, "B H W 3"]]:
        x = batch["image"].astype(jnp.float32) / 255
        return ((x - 0.5) * 4 if config.init is None else (x - MEAN) / STD,)  # the former about -2..2

    def of_maps(maps: Maps, batch: Batch) -> tuple[Mean, Mapping[str, Mean]]:
        loss = centres.loss(maps, batch["box"], batch["label"], batch["crowd"], STRIDE)
        return Mean.of(loss, batch["mask"]), {}

    def of_sets(stages: list[Guess], batch: Batch) -> tuple[Mean, Mapping[str, Mean]]:
        box = sets.centred(batch["box"]) / _sides(batch)
        losses = [sets.loss(*stage, batch["label"], box, batch["crowd"]) for stage in stages]
        return Mean.of(sum(losses[1:], losses[0]), batch["mask"]), {}

    if config.model == "centres":
        net, objective = CentreDetector(classes, config.width, trained=config.init is not None), of_maps
        predict = lambda maps, batch: centres.detections(maps, STRIDE, MOST)  # noqa: E731
    else:
        net, objective = SetDetector(classes, config.width, trained=config.init is not None), of_sets
        predict = lambda stages, batch: sets.detections(*stages[-1], _sides(batch), MOST)  # noqa: E731
    learns = linen(net, objective, inputs=inputs, predict=predict)

    def in_views(variables: Variables, batch: Batch) -> Detections:
        find = lambda image: learns.predict(variables, batch | {"image": image})  # noqa: E731
        return in_sizes(find, batch["image"].astype(jnp.float32), config.views, MOST)

    return replace(learns, predict=in_views)


def _sides(batch: Batch) -> Float[Array, "1 1 4"]:
    """Of the picture as the network pads it, twice (width, height)."""
    height, width = (side + -side % COARSEST for side in batch["image"].shape[1:3])
    return jnp.array([width, height] * 2, jnp.float32).reshape(1, 1, 4)


def experiment(config: Config, fitted: Fitted | None = None) -> Experiment:
    """Learn from scenes or random squares of pictures; judge on whole pictures as COCO does."""
    data = scenes.load(config.data, config.batch, config.seed)
    fitted = fitted or data.classes
    learns = task(config, fitted)
    if (weights := config.init) is not None:
        learns = starting(learns, lambda fresh: begun_below(weights, fresh))
    return Experiment(
        task=learns,
        fitted=fitted,
        optimizer=make(config.optimizer, config.steps),
        train=data.train,
        evaluations={
            "validation": Evaluation(source=data.validation, score=score),
            "test": Evaluation(source=data.test, score=score, final=True),
        },
    )


def score(found: Detections, columns: Mapping[str, np.ndarray]) -> dict[str, float]:
    """COCO's numbers in the pictures' own pixels, and the precision at half an overlap if all classes were one."""
    predicted, truth = listed(found), objects(columns)
    predicted = [own._replace(box=own.box / zoom) for own, zoom in zip(predicted, columns["zoom"], strict=True)]
    return judged(predicted, truth)


def judged(found: Sequence[Found], truth: Sequence[Truth]) -> dict[str, float]:
    one = [[own._replace(label=np.zeros_like(own.label)) for own in part] for part in (found, truth)]
    return boxes.coco(found, truth) | {"ap50_one_class": boxes.coco(*one)["ap50"]}


def listed(found: Detections) -> list[Found]:
    """Picture by picture, without doubles."""
    return [Found(*(part[own.score > 0] for part in own)) for own in map(Detections._make, zip(*found, strict=True))]


def objects(columns: Mapping[str, np.ndarray]) -> list[Truth]:
    """Picture by picture, without what fills up the columns, in the pictures' own pixels."""
    rows = zip(*(columns[name] for name in ("box", "label", "crowd", "area", "zoom")), strict=True)
    return [
        Truth(box[label >= 0] / zoom, label[label >= 0], crowd[label >= 0], area[label >= 0])
        for box, label, crowd, area, zoom in rows
    ]


def main(config: Config, work: Workspace) -> dict[str, Any]:
    """One fit; from which score on a detection is shown is chosen on the validation part."""
    trained, results = work.fit(lambda fitted: experiment(config, fitted), config)
    if not work.reading:
        held = scenes.load(config.data, config.batch, config.seed).validation
        seen = listed(predict_all(trained.task, trained.variables, held, spread=not config.exact))
        found = [own._replace(box=own.box / zoom) for own, zoom in zip(seen, held.columns["zoom"], strict=True)]
        work.keep({"threshold.json": boxes.threshold(found, objects(held.columns))})
    return results


def baseline(config: Config) -> dict[str, dict[str, float]]:
    """Gradient histograms of windows that slide over the same pictures at several sizes, and a linear SVM."""
    data = scenes.load(config.data, config.batch, config.seed)
    found = sliding(data, MOST)
    return {"HOG + SVM": {f"test/{name}": value for name, value in judged(found, objects(data.test.columns)).items()}}


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """A row for each object of each photograph of any size; also as a COCO file and as a picture beside it."""
    least = trained.asset("threshold.json")
    read, rows = attempted(map(str, pictures_in(inputs)), photofile.read)
    for path, photo in read:
        image = np.round(photo.colour * 255).astype(np.uint8)
        small, zoom = shrunk(image, LARGEST)
        (found,) = listed(trained.predict({"image": small[None]}, batch=1))
        keep = found.score >= least
        found = Found(found.box[keep] / zoom, found.score[keep], found.label[keep])
        names = [trained.fitted.classes[label] for label in found.label]
        results = [
            {"image": path, "label": name, "category_id": trained.fitted.ids[label], "score": float(chance)}
            | {"bbox": [float(left), float(top), float(right - left), float(bottom - top)]}
            for (left, top, right, bottom), chance, label, name in zip(*found, names, strict=True)
        ]
        place = Path(path)
        write_text(place.with_suffix(".boxes.json"), json.dumps(results, indent=1) + "\n")
        captions = [f"{name} {chance:.2f}" for name, chance in zip(names, found.score, strict=True)]
        drawn(image, found.box, captions).save(place.with_suffix(".boxes.png"))
        sides = ("left", "top", "width", "height")
        rows += [
            {name: row[name] for name in ("image", "label", "score")} | dict(zip(sides, row["bbox"], strict=True))
            for row in results
        ]
    return rows


def figures(trained: Trained, folder: Path) -> None:
    """Test pictures, those with most mistakes first: found, missed and wrong boxes; and precision against recall."""
    data = scenes.load(trained.config.data, trained.config.batch, trained.config.seed).test
    found, truth = listed(predict_all(trained.task, trained.variables, data)), objects(data.columns)
    found = [own._replace(box=own.box / zoom) for own, zoom in zip(found, data.columns["zoom"], strict=True)]
    precision = np.nanmean(boxes.curves(found, truth).precision[..., 0], axis=2)  # [T, R]
    lines = {f"overlap {boxes.OVERLAPS[t]:.2f}": (boxes.RECALLS, precision[t]) for t in (0, 5, 8)}
    curves(lines, folder / "figures" / "precision.svg", x="recall", y="precision")
    least = trained.asset("threshold.json")
    sure = [Found(*(part[own.score >= least] for part in own)) for own in found]
    pictures = [
        marked(image, zoom, *pair)
        for image, zoom, *pair in zip(data.columns["image"], data.columns["zoom"], sure, truth, strict=True)
    ]
    shown = [pictures[row][0] for row in worst_and_usual([wrong for _, wrong in pictures])]
    columns = max(1, min(8, len(shown), 1200 // shown[0].shape[1]))  # of a sheet's 1200 dots, so that none shrinks
    sheet(shown, folder / "figures" / "pictures.png", columns=columns, inches=8 / columns, title=LEGEND)


def worst_and_usual(mistakes: Sequence[int]) -> list[int]:
    """Rows of the 16 pictures with most mistakes and of 16 with usually many, each once."""
    order = np.argsort(mistakes, kind="stable")[::-1].tolist()
    return list(dict.fromkeys([*order[:16], *order[len(order) // 2 :][:16]]))


def marked(
    image: UInt8[np.ndarray, "H W 3"], zoom: float, found: Found, truth: Truth
) -> tuple[Float[np.ndarray, "H W 3"], int]:
    """A picture with its right, wrong and missed boxes, and how many of the latter two there are."""
    right = (boxes.iou(found.box, truth.box) > 0.5) & (found.label[:, None] == truth.label)  # [D, G]
    missed = ~right.any(0) & ~truth.crowd
    box = np.concatenate([found.box, truth.box[missed]]) * zoom
    kinds = np.concatenate([np.where(right.any(1), 0, 1), np.full(missed.sum(), 2)])
    picture = drawn(image, box, [""] * len(box), [SHADES[kind] for kind in kinds])
    return np.asarray(picture) / 255, int((kinds > 0).sum())


TAKES_FILES = True
PRESETS = {
    "digits": Config(),
    "detr": Config(model="detr", optimizer=Optimizer(rate=1e-3, warmup=200, decay=1e-2, clip=1.0, average=0.998)),
    "hour": Config(width=48, steps=6500, batch=32),
    # One picture to learn from: most squares lie on its trees rather than on its meadows, and in strong colours, blurs
    # and sizes, since other sites have other ones; and it is looked at in smaller sizes, too.
    "trees": Config(
        data=scenes.Data(name="trees", whole=400, aimed=0.8, vary=1.0),
        views=(0.6, 0.75, 0.9, 1.1, 1.3),
        init="pretrained:efficientnet-lite0",
        steps=1800,
    ),
}
EXPECTED = {"test/ap50": (0.878, 0.03), "test/ap": (0.634, 0.03)}
SMOKE = {"steps": 8, "batch": 4, "width": 4, "data.scenes": 8, "views": (1.0, 1.25)}

if __name__ == "__main__":
    run_file(__file__)
