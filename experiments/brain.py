"""Which layer of a deep network explains which part of the temporal lobe, and what a region tells apart.

Three kinds of data. Volumes under named conditions (by default Haxby et al., 2001): conditions decoded in runs that
were not learnt from, crossnobis distances (Walther et al., 2016), a searchlight. 92 images whose dissimilarities in IT
are known (Kriegeskorte et al., 2008): every layer's similarity to them, the layer chosen by other subjects. Voxels that
saw images: encoding models of layers and of their mixtures (banded ridge regression); simulated ones say if the map is
right. What is chosen (layers, penalties, what whitens patterns) is chosen without what it is tested on; the searchlight
and the map choose nothing but the whitening by shrunk covariance, and penalties for the map.
    deeplearn train brain
    deeplearn train brain --preset images92 --data.path FOLDER      # its files: see the error without --data.path
    deeplearn train brain --preset simulated
    deeplearn train brain --preset images92 --data.path FOLDER --network runs/classification-...
    deeplearn train brain --data.path own.npz                       # responses, runs, conditions or stimuli, subjects
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn import trained as runs
from deeplearn.cli import run_file
from deeplearn.competitors.patterns import explained_by_pixels, linear_svm, similarities
from deeplearn.data.doors.responses import Alike, Data, Scans, Viewed, alike, load, read_patterns
from deeplearn.data.image_folder import pictures_in, read_image
from deeplearn.data.inputs import attempted
from deeplearn.data.sets import voxels
from deeplearn.errors import ConfigError, UsageError
from deeplearn.experiment import Run
from deeplearn.knobs import Count, NotNegative, Positive, Some
from deeplearn.methods import decoding, encoding, rsa
from deeplearn.metrics import Named
from deeplearn.models import activations
from deeplearn.models.zoo import build
from deeplearn.record import brains
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of the comparison with brains."""

    data: Data = field(default_factory=Data)
    network: str = "efficientnet-lite0"
    """Whose layers: efficientnet-lite0 (trained on ImageNet), or the folder of a run of image classification."""
    side: Count = 7
    """Places by places to which a layer's activations are averaged."""
    draws: Count = 200
    """Of permutations, bootstraps and random halves."""
    splits: Count = 4
    """Of the stimuli into halves: one chooses and fits, the other tests."""
    radius: NotNegative = 2.0
    """Of the searchlight, in voxels."""
    stimuli: Count = 150
    """Simulated: images of each of the four kinds."""
    voxels: Count = 40
    """Simulated: of each of the five regions."""
    mixtures: Count = 16
    """Of early, middle and late layers that banded ridge regression tries, beside each alone."""
    penalties: Some[Positive] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    """Of ridge regressions and of reweighting, tried on data that are not tested on."""


def network(config: Config) -> activations.Network:
    """The network by name or run folder. Raises ConfigError where the run has no classifier of images."""
    folder = Path(config.network)
    if not folder.exists():
        return activations.pretrained(config.network)
    recipe, run = runs.recipe_of(folder)[0], runs.load(folder)
    if recipe.name not in ("classification", "data_size"):
        raise ConfigError(f"{folder} is no run of image classification; give one, or efficientnet-lite0.")
    module, own = build(run.config.model, len(run.fitted.classes)), run.fitted
    return activations.Network(module=module, variables=run.variables, shape=own.shape, mean=own.mean, std=own.std)


def responses(config: Config) -> list[Scans] | list[Viewed] | Alike | None:
    """What the knobs name; None for voxels that are still to be simulated."""
    return None if config.data.name == "simulated" and config.data.path is None else load(config.data)


def main(config: Config, work: Workspace) -> Mapping[str, Any]:
    """By the kind of the data; nothing is trained that is kept."""
    match responses(config):
        case [Scans(), *_] as people:
            return decoded(config, people, work)
        case Alike() as data:
            return compared(config, data, work)
        case [Viewed(), *_] as people:
            return viewed(config, people, work)
    return simulated(config, work)


def decoded(config: Config, people: Sequence[Scans], work: Workspace) -> dict[str, Any]:
    """Conditions in runs that were not learnt from, their distances, and where in the slice they are told apart."""
    found, kept = [], []
    for person in people:
        work.data(person.name, {"values": person.values})
        own = decoding.study(person.values, person.runs, person.conditions, draws=config.draws, seed=config.seed)
        decoder = {name: getattr(own, name) for name in ("names", "weights", "offset")}
        kept.append(decoder | {"subject": person.subject, "ranks": rsa.square(rsa.ranked(own.distances))})
        if person.places is not None:
            light = decoding.searchlight(own.means, own.noise, person.runs, person.places, config.radius)
            kept[-1] |= {"slices": decoding.slices(person.places, light), "range": [light.min(), light.max()]}
        found.append(own)
    work.keep({"scans.json": {"subjects": [listed(own) for own in kept]}})
    ceiling = rsa.ceiling(np.array([own.distances for own in found])) if len(people) > 1 else None
    reliability = float(np.mean([own.reliability for own in found]))
    return {
        "test/accuracy": float(np.mean([decoding.accuracy(own.taken) for own in found])),
        "test/shuffled": float(np.mean([own.shuffled for own in found])),
        **({"test/reliability": reliability} if np.isfinite(reliability) else {}),
        **({f"rdm/ceiling_{end}": float(own.mean()) for end, own in ceiling._asdict().items()} if ceiling else {}),
        "test/confusion": Named(sum(decoding.confusion(own.taken) for own in found), found[0].names),
    }


def listed(found: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values."""
    return {name: np.asarray(own).tolist() for name, own in found.items()}


def compared(config: Config, data: Alike, work: Workspace) -> dict[str, Any]:
    """Every layer's similarity to the subjects: of the layer that others choose, also for stimuli nobody chose by."""
    work.data(data.name, {"images": data.images, "rdms": np.moveaxis(data.rdms, 1, 0)})
    layers = activations.features(network(config), data.images, config.side)
    flat = [own.reshape(len(own), -1).astype(np.float64) for own in layers.values()]
    subjects, draws = rsa.pairs(data.rdms), {"draws": config.draws, "seed": config.seed}
    found = rsa.of_layers(flat, subjects, **draws)
    kept = {name: getattr(found, name) for name in ("scores", "interval", "brain", "model")}
    kept |= {"layers": list(layers), "chosen": list(layers)[found.most], "ceiling": rsa.ceiling(subjects)}
    work.keep({"alike.json": listed(kept)})
    options = {"penalties": config.penalties[1::2], "splits": config.splits, "seed": config.seed}
    both, weighted = rsa.nested(data.rdms, flat, **options)
    return {
        **{f"rsa/{name}": value for name, value in rsa.measured(subjects, found.models[found.chosen]).items()},
        **dict(zip(("rsa/spearman_low", "rsa/spearman_high"), found.interval[:, found.most].tolist(), strict=True)),
        "rsa/new_stimuli": both,
        "rsa/reweighted_new_stimuli": weighted,
        "rsa/ceiling_p": rsa.ceiling_p(subjects, **draws),
    }


def viewed(config: Config, people: Sequence[Viewed], work: Workspace) -> dict[str, Any]:
    """Encoding models for every voxel of every subject; of several subjects also what they find alike."""
    net, found, layers = network(config), [], {}
    for own in people:
        work.data(own.name, {"images": own.images, "values": own.values})
        layers = activations.features(net, own.images, config.side)
        options = {"tried": config.mixtures, "seed": config.seed}
        found.append(encoding.explained(list(layers.values()), own.values, own.runs, config.penalties, **options))
    region = [own.subject or "all voxels" for own in people for _ in own.values.T]
    scores = np.concatenate([own.scores for own in found], axis=1)
    work.keep({"map.json": listed({"layers": list(layers), "scores": scores, "region": region})})
    data = alike(people)
    return {
        "encoding/r2": float(np.median(np.concatenate([own.single for own in found]))),
        "encoding/banded_r2": float(np.median(np.concatenate([own.banded for own in found]))),
        **(compared(config, data, work) if data else {}),
    }


def made(config: Config) -> tuple[Viewed, dict[str, np.ndarray], voxels.Simulated, voxels.Simulated]:
    """(images and mean responses, layers, simulated voxels, voxels of noise alone)."""
    images, kinds = voxels.stimuli(config.stimuli, 96, config.seed)
    layers = activations.features(network(config), images, config.side)
    options = {"voxels": config.voxels, "repeats": 3, "seed": config.seed}
    true, noise = (voxels.simulate(list(layers.values()), kinds, **options, signal=own) for own in (True, False))
    seen = Viewed(name="simulated", images=images, values=true.values.mean(0), runs=np.arange(len(images)) % 5)
    return seen, layers, true, noise


def simulated(config: Config, work: Workspace) -> dict[str, Any]:
    """Whether the map finds the layers that voxels were made from, and how often it finds what is not there."""
    seen, named, true, noise = made(config)
    work.data("simulated", {"images": seen.images})
    layers, count = list(named.values()), len(named)
    options = {"tried": config.mixtures, "seed": config.seed}
    found = encoding.explained(layers, seen.values, seen.runs, config.penalties, **options)
    models = np.array([rsa.correlation_distance(own.reshape(len(own), -1)) for own in layers])
    regions = {name: rsa.correlation_distance(seen.values[:, true.region == name]) for name in voxels.REGIONS}
    similarity = {name: rsa.spearman(models, own) for name, own in regions.items()}
    kept = {"layers": list(named), "scores": found.scores, "region": true.region}
    work.keep({"map.json": listed(kept) | {"similarity": listed(similarity)}})
    knobs = {"groups": seen.runs, "penalties": config.penalties, "draws": config.draws, "seed": config.seed}
    significant = partial(encoding.significant, layers[count // 2], **knobs)
    right = [3 * np.argmax(own) // count == voxels.REGIONS[name][0] for name, own in similarity.items()]
    return {
        **{f"map/{name}": own for name, own in voxels.recovered(true, found.scores.argmax(0), count).items()},
        "map/regions": float(np.mean(right)),
        "encoding/r2": float(np.median(found.single)),
        "encoding/banded_r2": float(np.median(found.banded)),
        "encoding/ceiling_share": float(np.median(found.single / np.maximum(encoding.signal_share(true.values), 0.05))),
        "signal/significant": significant(seen.values),
        "noise/significant": significant(noise.values.mean(0)),
    }


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """A linear SVM on the same runs; pixels, and for what is alike also categories and the other subjects."""
    match data := responses(config):
        case [Scans(), *_]:
            means = [decoding.prepared(own.values, own.runs, own.conditions)[0] for own in data]
            return {"linear SVM": {"test/accuracy": float(np.mean([linear_svm(own) for own in means]))}}
        case Alike():
            return similarities(data.images, data.rdms, data.models)
    people = [made(config)[0]] if data is None else data
    found = [explained_by_pixels(own.images, own.values, own.runs, config.penalties) for own in people]
    rows = similarities(shared.images, shared.rdms, shared.models) if (shared := alike(people)) else {}
    return rows | {"pixels": rows.get("pixels", {}) | {"encoding/r2": float(np.median(np.concatenate(found)))}}


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """The conditions of patterns (.npy [N, V], scaled as in training), or how unlike images are for the chosen layer.

    Raises:
        UsageError: there are not two images.
    """
    if "scans.json" in assets(trained):
        people = trained.asset("scans.json")["subjects"]
        patterns, rows = attempted(inputs, partial(read_patterns, voxels=len(people[0]["weights"])))
        for path, values in patterns:
            for own in people:
                best = (values @ np.array(own["weights"]) + np.array(own["offset"])).argmax(1)
                row = {"file": path, "subject": own["subject"] or None}
                rows += [row | {"pattern": i, "condition": own["names"][j]} for i, j in enumerate(best)]
        return rows
    read, failed = attempted(map(str, pictures_in(inputs)), lambda path: read_image(path, (224, 224), 3), threads=8)
    if len(read) < 2:
        raise UsageError("give two images or more: how unlike they are is what a layer says.")
    inputs, images = [path for path, _ in read], [image for _, image in read]
    layers = activations.features(network(trained.config), np.stack(images), trained.config.side)
    name = trained.asset("alike.json")["chosen"] if "alike.json" in assets(trained) else list(layers)[-1]
    distances = rsa.correlation_distance(layers[name].reshape(len(images), -1).astype(np.float64)).tolist()
    pairs = zip(combinations(inputs, 2), distances, strict=True)
    return failed + [{"image": one, "other": other, "layer": name, "dissimilarity": own} for (one, other), own in pairs]


def assets(trained: Trained) -> set[str]:
    return {path.name for path in (trained.folder / "assets").iterdir()}


def figures(trained: Trained, folder: Path) -> None:
    """Matrices side by side, the layer curve with the band of the ceiling, and maps."""
    pictures = {"scans.json": brains.decoded, "alike.json": brains.compared, "map.json": brains.mapped}
    for name in assets(trained) & set(pictures):
        pictures[name](trained.asset(name), folder / "figures")


TAKES_FILES = True
PRESETS = {
    "haxby": Config(),
    "images92": Config(data=Data(name="images92")),
    "simulated": Config(data=Data(name="simulated")),
}
EXPECTED = {"test/accuracy": (0.906, 0.02), "test/reliability": (0.82, 0.03)}
SMOKE = {"draws": 10, "radius": 1.0}

if __name__ == "__main__":
    run_file(__file__)
