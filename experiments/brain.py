"""Which layer of a deep network explains which part of the temporal lobe, and what a region tells apart.

Three kinds of data. Volumes under named conditions (by default Haxby et al., 2001): conditions decoded in runs that
were not learnt from, crossnobis distances (Walther et al., 2016), a searchlight. 92 images whose dissimilarities in IT
are known (Kriegeskorte et al., 2008): every layer's similarity to them, the layer chosen by other subjects. Voxels that
saw images: an encoding model for every voxel and layer (ridge regression); simulated ones say if the map is right.
    deeplearn train brain
    deeplearn train brain --preset images92 --data.path FOLDER      # its files: see the error without --data.path
    deeplearn train brain --preset simulated
    deeplearn train brain --preset images92 --data.path FOLDER --network runs/classification-...
    deeplearn train brain --data.path own.npz                       # responses, runs, conditions or stimuli
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from deeplearn import trained as runs
from deeplearn.cli import run_file
from deeplearn.competitors.patterns import linear_svm, similarities
from deeplearn.data.doors.responses import Alike, Data, Scans, Viewed, load
from deeplearn.data.image_folder import pictures_in, read_image
from deeplearn.data.inputs import attempted
from deeplearn.data.sets import voxels
from deeplearn.errors import ConfigError, DataError, UsageError
from deeplearn.experiment import Run
from deeplearn.knobs import Count, NotNegative, Positive
from deeplearn.methods import decoding, encoding, rsa
from deeplearn.models import activations
from deeplearn.models.zoo import build
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
    penalties: tuple[Positive, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    """Of ridge regressions and of reweighting, tried on data that are not tested on."""


def network(config: Config) -> activations.Network:
    """The network by name or run folder. Raises ConfigError where the run has no classifier of images."""
    folder = Path(config.network)
    if not folder.exists():
        return activations.pretrained(config.network)
    recipe, run = runs.recipe_of(folder)[0], runs.load(folder)
    if recipe.name not in ("classification", "data_size"):
        raise ConfigError(f"{folder} is no run of image classification; give one, or efficientnet-lite0.")
    module, pixels = build(run.config.model, len(run.fitted.classes)), run.fitted
    return activations.Network(
        module=module, variables=run.variables, shape=pixels.shape, mean=pixels.mean, std=pixels.std
    )


def responses(config: Config) -> Scans | Alike | Viewed | None:
    """What the knobs name; None for voxels that are still to be simulated."""
    return None if config.data.name == "simulated" and config.data.path is None else load(config.data)


def main(config: Config, work: Workspace) -> Mapping[str, Any]:
    """By the kind of the data; nothing is trained that is kept."""
    match responses(config):
        case Scans() as scans:
            work.data(scans.name, {"values": scans.values})
            return decoded(config, scans, work)
        case Alike() as alike:
            work.data(alike.name, {"images": alike.images, "rdms": np.moveaxis(alike.rdms, 1, 0)})
            return compared(config, alike, work)
        case Viewed() as viewed:
            work.data(viewed.name, {"values": viewed.values})
            layers = activations.features(network(config), viewed.images, config.side)
            found = encoding.layer_scores(list(layers.values()), viewed.values, viewed.runs, config.penalties)
            work.keep({"map.json": {"layers": list(layers), "scores": found.tolist()}})
            return {"encoding/r2": float(np.median(found.max(0)))}
    return simulated(config, work)


def decoded(config: Config, scans: Scans, work: Workspace) -> dict[str, Any]:
    """Conditions in runs that were not learnt from, their distances, and where in the slice they are told apart."""
    means, noise, names = decoding.prepared(scans.values, scans.runs, scans.conditions)
    taken = decoding.left_out_runs(means, noise, scans.runs)
    weights, offset = decoding.discriminants(means, noise)
    distances = rsa.crossnobis(means @ rsa.whitening(noise))
    kept = {"names": names, "distances": distances, "weights": weights, "offset": offset}
    if scans.places is not None:
        light = decoding.searchlight(means, noise, scans.runs, scans.places, config.radius)
        kept |= {"places": scans.places, "searchlight": light}
    work.keep({"scans.json": {name: np.asarray(own).tolist() for name, own in kept.items()}})
    halves = {}
    if len(means) >= 4:  # crossnobis needs two runs in each half
        splits = max(config.draws // 4, 2)
        halves["rdm/reliability"] = decoding.reliability(means, noise, scans.runs, splits, config.seed)
    return {
        "test/accuracy": decoding.accuracy(taken),
        "test/shuffled": decoding.shuffled_accuracy(means, noise, scans.runs, max(config.draws // 10, 1), config.seed),
        **halves,
        "test/confusion": (taken[..., None] == np.arange(len(names))).sum(0),  # [truth, answer], over runs
    }


def compared(config: Config, alike: Alike, work: Workspace) -> dict[str, Any]:
    """Every layer's similarity to the subjects: of the layer that others choose, also for stimuli nobody chose by."""
    layers = activations.features(network(config), alike.images, config.side)
    flat = {name: own.reshape(len(own), -1).astype(np.float64) for name, own in layers.items()}
    models = np.array([rsa.correlation_distance(own) for own in flat.values()])
    subjects = rsa.pairs(alike.rdms)
    scores = np.array([rsa.spearman(subjects, model) for model in models]).T  # [S, L]
    chosen = rsa.chosen_by_others(scores)
    draws = rsa.bootstrap(subjects, models, draws=config.draws, seed=config.seed)
    kept = {
        "scores": scores.mean(0),
        "interval": np.quantile(draws, [0.025, 0.975], axis=0),
        "ceiling": np.mean(rsa.ceiling(subjects), axis=1),
        "brain": rsa.square(rsa.ranked(subjects).mean(0)),
        "model": rsa.square(rsa.ranked(models[np.bincount(chosen).argmax()])),
        "layers": list(layers),
        "chosen": np.array(list(layers))[chosen],
    }
    work.keep({"alike.json": {name: np.asarray(own).tolist() for name, own in kept.items()}})
    options = {"penalties": config.penalties[1::2], "splits": config.splits, "seed": config.seed}
    both, weighted = rsa.nested(alike.rdms, list(flat.values()), **options)
    return {
        "rsa/layer": float(scores[np.arange(len(scores)), chosen].mean()),
        "rsa/layer_new_stimuli": both,
        "rsa/reweighted_new_stimuli": weighted,
    }


def simulated(config: Config, work: Workspace) -> dict[str, Any]:
    """Whether the map finds the layers that voxels were made from, and how often it finds what is not there."""
    images, kinds = voxels.stimuli(config.stimuli, 96, config.seed)
    work.data("simulated", {"images": images})
    layers = activations.features(network(config), images, config.side)
    options = {"voxels": config.voxels, "repeats": 3, "seed": config.seed}
    made = voxels.simulate(list(layers.values()), kinds, **options)
    values, folds = made.values.mean(0), np.arange(len(images)) % 5
    scores = encoding.layer_scores(list(layers.values()), values, folds, config.penalties)
    work.keep({"map.json": {"layers": list(layers), "scores": scores.tolist(), "region": made.region.tolist()}})
    ceiling = encoding.signal_share(made.values)
    noise = voxels.simulate(list(layers.values()), kinds, **options, signal=False).values.mean(0)
    middle, knobs = list(layers.values())[len(layers) // 2], {"draws": config.draws, "seed": config.seed}
    significant = partial(encoding.significant, middle, groups=folds, penalties=config.penalties, **knobs)
    return {
        **{f"map/{name}": own for name, own in voxels.recovered(made, scores.argmax(0), len(layers)).items()},
        "encoding/ceiling_share": float(np.median(scores.max(0) / np.maximum(ceiling, 0.05))),
        "signal/significant": significant(values),
        "noise/significant": significant(noise),
    }


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """A linear SVM on the same runs; or pixels, categories, and the other subjects."""
    data = responses(config)
    if isinstance(data, Scans):
        means, _, _ = decoding.prepared(data.values, data.runs, data.conditions)
        return {"linear SVM": {"test/accuracy": linear_svm(means)}}
    if isinstance(data, Alike):
        return {name: {"rsa/layer": value} for name, value in similarities(data.images, data.rdms, data.models).items()}
    return {}


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """The conditions of patterns (.npy [N, V], scaled as in training), or how unlike images are for the chosen layer.

    Raises:
        UsageError: there are not two images.
    """
    if (trained.folder / "assets" / "scans.json").is_file():
        known = trained.asset("scans.json")
        weights = np.array(known["weights"])
        patterns, rows = attempted(inputs, partial(scanned, voxels=len(weights)))
        for path, values in patterns:
            best = (values @ weights + np.array(known["offset"])).argmax(1)
            rows += [{"file": path, "pattern": row, "condition": known["names"][own]} for row, own in enumerate(best)]
        return rows
    read, failed = attempted(map(str, pictures_in(inputs)), lambda path: read_image(path, (224, 224), 3), threads=8)
    if len(read) < 2:
        raise UsageError("give two images or more: how unlike they are is what a layer says.")
    inputs, images = [path for path, _ in read], [image for _, image in read]
    layers = activations.features(network(trained.config), np.stack(images), trained.config.side)
    name = trained.asset("alike.json")["chosen"][0] if "alike.json" in assets(trained) else list(layers)[-1]
    distances = rsa.correlation_distance(layers[name].reshape(len(images), -1).astype(np.float64)).tolist()
    pairs = zip(combinations(inputs, 2), distances, strict=True)
    return failed + [{"image": one, "other": other, "layer": name, "dissimilarity": own} for (one, other), own in pairs]


def scanned(path: str, voxels: int) -> Float[np.ndarray, "N V"]:
    """Patterns of a file. Raises DataError where there are none, or others than of so many voxels."""
    try:
        values = np.atleast_2d(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} holds no patterns ({error}); give an array [N, voxels] in a .npy file.") from error
    if values.shape[1] != voxels:
        raise DataError(f"{path} has {values.shape[1]} voxels; this run decodes {voxels}.")
    return values


def assets(trained: Trained) -> set[str]:
    return {path.name for path in (trained.folder / "assets").iterdir()}


def figures(trained: Trained, folder: Path) -> None:
    """Matrices side by side, the layer curve with the band of the ceiling, and maps."""
    from deeplearn.record.figures import curves, heatmap, images

    place, there = folder / "figures", assets(trained)
    if "scans.json" in there:
        found = trained.asset("scans.json")
        ranks, names = rsa.square(rsa.ranked(np.array(found["distances"]))), found["names"]
        heatmap(ranks / ranks.max(), place / "distances.svg", rows=names, columns=names, title="crossnobis, by rank")
        if "places" in found:
            slices = decoding.slices(np.array(found["places"]), np.array(found["searchlight"]))
            title = "searchlight: the brighter, the better it decodes"
            images(slices, place / "searchlight.svg", columns=1, inches=4.0, title=title)
    if "alike.json" in there:
        found = trained.asset("alike.json")
        matrices = [np.array(found[name]) for name in ("brain", "model")]
        shown = {"captions": ["inferior temporal cortex", found["chosen"][0]], "columns": 2, "inches": 3.0}
        images([own / own.max() for own in matrices], place / "matrices.svg", **shown)
        x = np.arange(len(found["layers"]))
        low, high = (np.full(len(x), value) for value in found["ceiling"])
        series = {
            "layers, 95 % over subjects and stimuli": (x, found["scores"], *found["interval"]),
            "ceiling": (x, (low + high) / 2, low, high),
        }
        curves(series, place / "layers.svg", x=f"layer ({', '.join(found['layers'])})", y="Spearman's correlation")
    if "map.json" in there:
        found = trained.asset("map.json")
        best, count = np.array(found["scores"]).argmax(0), len(found["layers"])
        region = np.array(found.get("region", ["all voxels"] * len(best)))
        counts = {name: np.bincount(best[region == name], minlength=count) for name in dict.fromkeys(region.tolist())}
        series = {name: (np.arange(count), own / own.sum()) for name, own in counts.items()}
        curves(series, place / "map.svg", x="layer", y="share of voxels it explains best", markers=True)


PRESETS = {
    "haxby": Config(),
    "images92": Config(data=Data(name="images92")),
    "simulated": Config(data=Data(name="simulated")),
}
EXPECTED = {"test/accuracy": (0.906, 0.02)}
SMOKE = {"draws": 10, "radius": 1.0}

if __name__ == "__main__":
    run_file(__file__)
