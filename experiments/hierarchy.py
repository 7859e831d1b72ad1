"""What the layers of an image network see: first sticks and circles, at the end tails and ears.

Of EfficientNet-Lite0, of a run of image classification, or of a network that is trained first: how well each depth
tells strokes, parts of faces and things apart (a linear machine on held-out pictures); filters that are Gabor functions
(in windows as small as 3 x 3 random ones are, too); what an answer rests on by Grad-CAM, integrated gradients,
SmoothGrad and occlusion, and if those maps are right: by completeness, by deleting and inserting what they name, by
pointing at one of four pictures side by side or at digits in scenes, and by what is left of them when the weights are
random.
    deeplearn train hierarchy
    deeplearn train hierarchy --preset digits
    deeplearn train hierarchy --preset scenes
    deeplearn train hierarchy --network runs/classification-...
    deeplearn predict runs/latest photo.jpg
    deeplearn explain runs/latest photo.jpg
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from deeplearn import catalog, explain
from deeplearn import trained as runs
from deeplearn.cli import run_file
from deeplearn.data.augment import Augment
from deeplearn.data.doors import images
from deeplearn.data.doors.images import Pixels
from deeplearn.data.image_folder import pictures_in, read_image
from deeplearn.data.inputs import attempted
from deeplearn.data.pictures import Picture
from deeplearn.data.sets import photographs, stages
from deeplearn.data.sets.digit_scenes import digit_scenes
from deeplearn.explain import Explainer, Maps
from deeplearn.knobs import Amount, Count
from deeplearn.methods import gabor, probing, rsa
from deeplearn.methods.exemplars import exemplars
from deeplearn.models import activations
from deeplearn.models.activations import Network
from deeplearn.models.zoo import Model
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

classification = catalog.load("classification")
Fitted = Pixels
THINGS = (
    "chelsea.png", "coffee.png", "kodim23.png", "monarch.png", "rocket.jpg", "motorcycle_left.png", "sail.png",
    "camera.png",
)  # fmt: skip
"""Photographs of things that ImageNet has names for."""
METHODS = ("Grad-CAM", "integrated gradients", "SmoothGrad", "occlusion")
CELLS = 14
"""Along a side: what is deleted and inserted are areas that can be seen, the same for every order."""
EXEMPLARS = 3


@dataclass(frozen=True, kw_only=True)
class Config(classification.Config):
    """Knobs of the look inside; those of classification are for a network of our own."""

    network: str = "efficientnet-lite0"
    """Whose layers: efficientnet-lite0 (trained on ImageNet), the folder of a run of image classification, or own:
    one that is trained first."""
    data: images.Data = field(default_factory=lambda: images.Data(name="mnist5k"))
    model: Model = field(default_factory=lambda: Model(name="cnn", width=16))
    augment: Augment = field(default_factory=lambda: classification.Config().augment)
    steps: int = 400
    size: Count | None = None
    """Side in pixels of its pictures, where not its own."""
    pictures: Count = 8
    """That are explained."""
    stimuli: Count = 400
    """Of strokes, of parts and of things, half of them to learn from."""
    mosaics: Count = 24
    """Of four pictures, for the pointing game; none where the network takes pictures of one size alone."""
    scenes: Count = 200
    """Of several digits, in which each is pointed at; only for a network of --data.name digit-photos."""
    depths: Count = 4
    """Layers whose units are drawn."""
    units: Count = 4
    """Of each of them."""
    ascent: Amount = 64
    """Updates of a picture that a unit answers to most."""


def own(config: Config) -> Any:
    """The knobs of the classifier that is looked at; None for a network by name."""
    if config.network == explain.OWN:
        return config
    return runs.recipe_of(Path(config.network))[1] if Path(config.network).exists() else None


def shown(config: Config, count: int, names: Sequence[str] = THINGS) -> list[np.ndarray]:
    """Pictures that the network has not learnt from: photographs, or of a run the images it is tested on."""
    if (run := own(config)) is None:
        return list(photographs.photographs(names[:count]).values())
    return list(images.held_images(run.data, run.seed, choose=False, most=count).image)


def staged(config: Config) -> dict[str, stages.Stage]:
    """Strokes, parts, and things: digits on photographs, or the classes of a run."""
    found = {
        "strokes": stages.strokes(config.stimuli, 64, config.seed),
        "parts": stages.parts(min(1 + config.stimuli // 201, 10)),
    }
    if (run := own(config)) is None:
        return found | {"things": stages.things(config.stimuli)}
    splits, half = images.load(run.data, run.seed), config.stimuli // 2
    rng, image, label = np.random.default_rng(config.seed), [], []
    for part in (splits.train, splits.test):  # at random: files may hold one class after the other
        rows = np.sort(rng.permutation(len(part.label))[:half])
        image.append(part.image[rows])
        label.append(part.label[rows])
    learnt = np.repeat([True, False], [len(own) for own in label])
    return found | {"things": stages.Stage(np.concatenate(image), np.concatenate(label), learnt, splits.test.classes)}


def crowded(config: Config, network: Network) -> Sequence[Picture]:
    """Scenes of several digits, as detection is tested on, where the network knows digits on photographs."""
    run = own(config)
    if run is None or run.data.path or run.data.name != "digit-photos" or not explain.any_size(network):
        return []
    return digit_scenes("validation" if run.choose else "test", config.scenes)


def told(network: Network, found: Mapping[str, stages.Stage]) -> tuple[list[str], dict[str, probing.Curve]]:
    """The layers, and how well each tells the pictures of every stage apart by its means over the picture."""
    every = [image for stage in found.values() for image in stage.image]
    layers = activations.features(network, every, 1)
    ends = np.cumsum([len(stage.label) for stage in found.values()])
    parts = {name: np.split(values.reshape(len(values), -1), ends[:-1]) for name, values in layers.items()}
    curves = {
        name: probing.by_depth([split[number] for split in parts.values()], stage.label, stage.learnt)
        for number, (name, stage) in enumerate(found.items())
    }
    return list(layers), curves


def depth_scores(curves: Mapping[str, probing.Curve]) -> dict[str, float]:
    """Accuracies of the first, the last and (by the learnt part) the best layer, and where that lies, from 0 to 1."""
    scores = {}
    for name, (accuracy, best) in curves.items():
        scores |= {f"{name}/first layer": float(accuracy[0]), f"{name}/last layer": float(accuracy[-1])}
        scores |= {f"{name}/best layer": float(accuracy[best]), f"{name}/depth": best / max(len(accuracy) - 1, 1)}
    return scores


class Seen(NamedTuple):
    """A network, what it is shown, and what it takes that for."""

    by: Explainer
    random: Explainer
    """With the same programs; its weights are shuffled."""
    x: Float[Array, "N H W C"]
    units: list[int]


def network_of(config: Config, trained: Trained | None) -> Network:
    """Of what was trained here, or else by its name or folder."""
    if trained is not None and config.network == explain.OWN:
        return explain.of_run(trained)
    return explain.network_of(config.network, size=config.size)


def seen(config: Config, trained: Trained | None) -> Seen:
    by = explain.explainer(network_of(config, trained))
    x = by.pixels(shown(config, config.pictures))
    random = replace(by, network=explain.shuffled(by.network, x, config.seed))
    return Seen(by, random, x, np.asarray(by.logits(x)).argmax(1).tolist())


def main(config: Config, work: Workspace) -> dict[str, Any]:
    """What the layers tell, and whether the explanations hold."""
    trained, scores = None, {}
    if config.network == explain.OWN:
        trained, results = work.fit(partial(classification.experiment, config), config)
        scores["network/accuracy"] = results["test/accuracy"]
    elif Path(config.network).exists():
        runs.refuse_unended(Path(config.network))
    (by, random, x, units), found = seen(config, trained), staged(config)
    work.data("pictures", {"pixels": np.asarray(x)})
    for name, stage in found.items():
        work.data(name, {"image": stage.image, "label": stage.label})
    explained, blank = [], []
    for number, (one, unit) in enumerate(zip(x, units, strict=True), 1):
        print(f"explaining picture {number} of {len(x)}", end="\r", file=sys.stderr, flush=True)
        explained.append(explain.maps(by, one, unit))
        blank.append(explain.maps(random, one, unit, most=1))
    print(f"measuring what each depth tells of {sum(len(own.label) for own in found.values())} images", file=sys.stderr)
    names, curves = told(by.network, found)
    kept = {"layers": names, **{name: curve.accuracy.tolist() for name, curve in curves.items()}}
    work.keep({"depth.json": kept, "maps.npz": {method: stacked(explained, method) for method in METHODS}})
    scores |= {"explained/gap": max(one.gap for one in explained)}
    for method in METHODS:
        ours, theirs = stacked(explained, method), stacked(blank, method)
        scores[f"{method}/deletion"], scores[f"{method}/insertion"] = explain.areas(by, x, units, list(ours), CELLS)
        alike = rsa.spearman(*(part.reshape(len(x), -1).astype(np.float64) for part in (ours, theirs)))
        scores[f"{method}/randomised"] = float(np.mean(alike))
    if (right := explain.pointing(by, x, units, config.mosaics, config.seed)) is not None:
        scores["Grad-CAM/pointing"] = right
    if scenes := crowded(config, by.network):
        scores["Grad-CAM/pointing in scenes"] = explain.pointed(by, scenes).hits
    return scores | {"gabor/share": gabor.share(explain.first_kernel(by.network))} | depth_scores(curves)


def stacked(explained: Sequence[Maps], method: str) -> Float[np.ndarray, "N H W"]:
    return np.stack([one.maps[method] for one in explained])


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """Cells in random order, by edges, from the centre; the network with its weights shuffled; filters of noise."""
    from scipy.ndimage import gaussian_gradient_magnitude

    by, random, x, units = seen(config, runs.load(config.workdir) if config.network == explain.OWN else None)
    height, width = x.shape[1:3]
    rng = np.random.default_rng(config.seed)
    noise = rng.random((len(x), CELLS, CELLS)).astype(np.float32)
    away = np.hypot(*np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij"))
    orders = {
        "random order": [jax.image.resize(one, (height, width), "nearest") for one in noise],
        "edges": [gaussian_gradient_magnitude(np.asarray(one).mean(-1), 1) for one in x],
        "centre first": [-away] * len(x),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, order in orders.items():
        ends = zip(("deletion", "insertion"), explain.areas(by, x, units, order, CELLS), strict=True)
        found[name] = {f"{method}/{what}": value for what, value in ends for method in METHODS}
    _, curves = told(random.network, staged(config))
    noise = rng.standard_normal((*explain.first_kernel(by.network).shape[:3], 1000))
    found |= {
        "weights shuffled": depth_scores(curves),
        "random filters": {"gabor/share": gabor.share(noise)},
        "maps that ignore the class": {"Grad-CAM/pointing": 0.25},
    }
    if scenes := crowded(config, by.network):
        blind = explain.pointed(random, scenes)
        found["weights shuffled"]["Grad-CAM/pointing in scenes"] = blind.hits
        found["maps that ignore the class"]["Grad-CAM/pointing in scenes"] = blind.chance
    return found


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """The likeliest class of each image file, and the probabilities of the five likeliest."""
    by = explain.explainer(network_of(trained.config, trained))
    *size, channels = by.network.shape
    read, rows = attempted(map(str, pictures_in(inputs)), lambda path: read_image(path, tuple(size), channels))
    for path, image in read:
        likely = explain.top(by, by.pixels([image]))[0]
        row = {"image": path, "label": likely[0][1], "probability": likely[0][2]}
        rows.append(row | {"probabilities": {name: chance for _, name, chance in likely}})
    return rows


def figures(trained: Trained, folder: Path) -> None:
    """Filters, units with what they answer to, maps by method, and what each depth tells."""
    from deeplearn.record.explain import overlaid
    from deeplearn.record.figures import curves
    from deeplearn.record.figures import images as sheet

    config, place = trained.config, folder / "figures"
    network = network_of(config, trained)
    kernel = np.moveaxis(explain.first_kernel(network), -1, 0)
    shares = gabor.fit(gabor.monochrome(np.moveaxis(kernel, 0, -1))).share
    order = np.argsort(-shares, kind="stable")
    squares = [own / (2 * np.abs(own).max()) + 0.5 for own in kernel[order]]
    sheet(
        squares,
        place / "filters.svg",
        captions=[f"{share:.2f}" for share in shares[order]],
        title="Filters of the first layer, by the share that a Gabor function explains",
    )
    # Units of the last layer may be silent at the grey that drawing starts from, and would stay so.
    names, stored = explain.stages_of(network)[:-1], trained.asset("maps.npz")
    layers = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, config.depths).astype(int))]
    every = (*THINGS, *(name for name in (*photographs.TRAIN, *photographs.TEST) if name not in THINGS))
    x = activations.prepared(network, shown(config, 3 * config.pictures, every))
    answers, view = explain.answers(network, x, layers), x * np.asarray(network.std) + np.asarray(network.mean)
    pictures, captions = [], []
    for layer, maps in zip(layers, answers, strict=True):
        units = exemplars(maps, view, config.units, EXEMPLARS)
        numbers = [unit.number for unit in units]
        best = explain.favourites(network, layer, numbers, config.ascent, config.seed)
        for unit, own in zip(units, best, strict=True):
            pictures += [own, *unit.parts]
            captions += [f"{layer.rpartition('/')[2].removesuffix('_norm')} {unit.number}", *[""] * len(unit.parts)]
    title = "What units answer to most: drawn for them, then parts of photographs"
    sheet(pictures, place / "units.svg", captions=captions, columns=2 * (1 + EXEMPLARS), title=title)
    grey = [np.round(np.clip(own, 0, 1) * 255).astype(np.uint8) for own in view[: len(stored[METHODS[0]])]]
    rows = [[own / 255, *(overlaid(stored[name][i], own) / 255 for name in METHODS)] for i, own in enumerate(grey)]
    heads = ["", *METHODS, *[""] * (len(rows) - 1) * (1 + len(METHODS))]
    title = "What the answer depends on, by method"
    sheet(
        [one for row in rows for one in row], place / "maps.svg", captions=heads, columns=1 + len(METHODS), title=title
    )
    told = {name: np.array(own) for name, own in trained.asset("depth.json").items() if name != "layers"}
    series = {name: (np.linspace(0, 1, len(own)), own) for name, own in told.items()}
    curves(series, place / "depth.svg", x="depth, from the first to the last layer", y="accuracy", markers=True)


TAKES_FILES = True
PRESETS = {
    "efficientnet-lite0": Config(),
    "digits": Config(network=explain.OWN, pictures=16),  # five thousand of MNIST's
    # Of 64 pixels; four levels, so that a map's cells are 8 pixels and every size of picture can be looked at.
    "scenes": Config(
        network=explain.OWN,
        data=images.Data(name="digit-photos"),
        model=Model(name="cnn", width=16, levels=4),
        augment=replace(classification.Config().augment, brightness=0.2, contrast=0.2),
        steps=6000,
        pictures=16,
    ),
}
EXPECTED = {"Grad-CAM/pointing": (1.0, 0.05), "strokes/best layer": (0.99, 0.05)}
SMOKE = {
    "network": explain.OWN, "data.name": "digits", "model.width": 8, "model.depth": 1, "pictures": 4, "stimuli": 40,
    "mosaics": 2, "depths": 1, "units": 1, "ascent": 4,
}  # fmt: skip

if __name__ == "__main__":
    run_file(__file__)
