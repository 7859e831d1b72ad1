"""Do two photographs show the same person? Codes of faces, judged on people that nothing was learnt from.

By default a layer of EfficientNet-Lite0, which has never been asked about faces, whitened by the training people; which
layer, they choose among themselves. With `--preset network` a small network learns with a margin between people:
CosFace (Wang et al., 2018), ArcFace (Deng et al., 2019), AdaFace (Kim et al., 2022). Fused, both cosines are added.

Four folds over the 40 people of ORL, 30 to learn from; intervals by drawing people again. Fisherfaces that also learn
from mirrored and moved pictures are the competitor to beat: equal error .078, ours .019 in half a CPU minute.
    deeplearn train verification
    deeplearn train verification --preset network    # from scratch, 30 people to learn from
    deeplearn train verification --preset fused
    deeplearn train verification --data.path faces   # faces/PERSON/*.jpg, all cropped alike
    deeplearn predict runs/latest anna.jpg bella.jpg # same or different, with a score and how often strangers reach it
    deeplearn predict runs/latest album/             # groups
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt8

from deeplearn.cli import run_file
from deeplearn.competitors import faces as competitors
from deeplearn.data.augment import Augment, augmentation
from deeplearn.data.doors import faces
from deeplearn.data.image_folder import pictures_in, read_image
from deeplearn.data.images import Images, shrunk
from deeplearn.data.inputs import attempted
from deeplearn.data.source import Arrays
from deeplearn.experiment import Experiment, Run
from deeplearn.knobs import Amount, Count, NotNegative, Positive, Rest, Share, Some, Within
from deeplearn.methods import clustering, roc, whitening
from deeplearn.methods.ranking import unit
from deeplearn.metrics import Mean
from deeplearn.models.features import features
from deeplearn.models.margin import Coded, Embedder, Kind, Margin, Verifier
from deeplearn.models.pretrained import pretrained
from deeplearn.optimizer import Optimizer, make
from deeplearn.record.statistics import bootstrap, bounds
from deeplearn.task import Batch, Task, linen
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

Part = Literal["network", "pretrained"]
PLACES = [(layer, side) for layer in ("block10", "block13", "block14", "block15") for side in (2, 3, 4)]
"""Layers of EfficientNet-Lite0 and grids that the training people choose from: late ones, which know parts."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of verification."""

    data: faces.Data = field(default_factory=faces.Data)
    parts: Some[Part] = ("pretrained",)
    """Whose codes to use: of the network that learns here, of EfficientNet-Lite0, or of both."""
    kind: Kind = "cosface"
    """Margin between people; softmax has none."""
    margin: NotNegative = 0.3
    scale: Positive = 32.0
    """Of the cosines in the loss, after the warm-up."""
    warmup: Share = 0.5
    """Share of the steps in which scale and margin grow."""
    width: Count = 32
    """Channels of the network's first stage."""
    code: Count = 128
    """Numbers in its codes."""
    dropout: Rest = 0.4
    reduce: Count = 2
    """It sees pictures of 1/reduce of the height and width."""
    augment: Augment = field(
        default_factory=lambda: Augment(
            rotate=6.0,
            shift=0.08,
            scale=0.09,
            shear=0.05,
            elastic=0.012,
            fill="nearest",
            flip=True,
            noise=0.03,
            cutout=0.25,
        )
    )
    false_accept: Within = 0.01
    """How often strangers may pass for the same person: sets the threshold of predictions."""
    steps: Amount = 400
    batch: Count = 64
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=2e-3, decay=2e-2, warmup=50))


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the network was trained on."""

    shape: tuple[int, ...]
    """[H, W, C] of the pictures before they are reduced."""
    classes: tuple[str, ...]
    """Names of the people."""


def task(config: Config, fitted: Fitted) -> Task:
    """Cross-entropy with a margin; predicts codes of length 1."""
    change = augmentation(config.augment, classes=0)
    embedder = Embedder(width=config.width, code=config.code, dropout=config.dropout)
    warmup = int(config.warmup * config.steps * config.batch)
    head = Margin(len(fitted.classes), config.kind, config.margin, config.scale, warmup)

    def inputs(batch: Batch) -> tuple[Array, Array]:
        """Every picture with mean 0 and deviation 1: how light it is says nothing of who it shows."""
        image = batch["image"]
        centred = image - image.mean((1, 2, 3), keepdims=True)
        label = batch["label"] if "label" in batch else jnp.zeros(image.shape[0], jnp.int32)  # codes do not need it
        return centred / (image.std((1, 2, 3), keepdims=True) + 0.05), label

    def objective(found: Coded, batch: Batch) -> tuple[Mean, dict[str, Mean]]:
        loss = optax.softmax_cross_entropy_with_integer_labels(found.logits, batch["label"])
        hit = found.logits.argmax(-1) == batch["label"]
        return Mean.of(loss, batch["mask"]), {"accuracy": Mean.of(hit, batch["mask"])}

    return linen(
        Verifier(embedder, head), objective, inputs=inputs, augment=change, predict=lambda found, _: found.code
    )


def experiment_on(config: Config, people: Images, fitted: Fitted | None = None) -> Experiment:
    fitted = fitted or Fitted(shape=people.image.shape[1:], classes=people.classes)
    columns = {"image": shrunk(people.image, config.reduce), "label": people.label}
    return Experiment(
        task=task(config, fitted),
        fitted=fitted,
        optimizer=make(config.optimizer, config.steps),
        train=Arrays(columns=columns, batch=config.batch, seed=config.seed, name=people.name),
    )


def experiment(config: Config, fitted: Fitted | None = None) -> Experiment:
    """The network that predicts: learnt from everybody."""
    return experiment_on(config, faces.load(config.data).images, fitted)


def network_codes(model: Trained, pictures: UInt8[np.ndarray, "N H W C"]) -> Float[np.ndarray, "N D"]:
    """Added over a picture and its mirror image."""
    small = shrunk(pictures, model.config.reduce)
    return unit(sum(model.predict({"image": view}) for view in (small, small[:, :, ::-1])))


def views(pictures: UInt8[np.ndarray, "N H W C"], places: Sequence[tuple[str, int]]) -> dict[Any, np.ndarray]:
    """What EfficientNet-Lite0 says of pictures and their mirror images: [2, N, D] for each place."""
    ready = pretrained("efficientnet-lite0")
    both = [features(ready, view, places) for view in (pictures, pictures[:, :, ::-1])]
    return {place: np.stack([one[place] for one in both]) for place in places}


def fused(parts: Sequence[Float[np.ndarray, "N D"]]) -> Float[np.ndarray, "N E"]:
    """One code whose cosine is the mean of the parts' cosines."""
    return np.concatenate(parts, axis=1) / np.sqrt(len(parts))


def settled(seen: dict[Any, np.ndarray], label: Int[np.ndarray, "N"]) -> tuple[Any, whitening.Whitening]:
    """The place in the network that these people choose, and how its codes are whitened."""
    place = whitening.chosen(seen, label)
    return place, whitening.whitening(np.concatenate(seen[place]))


def main(config: Config, work: Workspace) -> dict[str, Any]:
    """Every fold by a model of the other people; then the model of everybody, with a threshold from the folds."""
    people = faces.load(config.data)
    pictures, label, folds = people.images.image, people.images.label, range(people.folds)
    work.data("faces", {"image": pictures, "label": label, "fold": people.fold})
    found = {}
    if "network" in config.parts:
        builds = [partial(experiment_on, config, people.train(fold)) for fold in folds]
        models = [work.fit(build, config, f"fold-{fold}")[0] for fold, build in enumerate(builds)]
        found["network"] = scattered(people, [network_codes(models[k], pictures[people.held(k)]) for k in folds])
        work.fit(partial(experiment_on, config, people.images), config)
    if "pretrained" in config.parts:
        seen, own = views(pictures, PLACES), []
        for fold in folds:
            rest = people.fold != fold
            place, by = settled({place: both[:, rest] for place, both in seen.items()}, label[rest])
            own.append(whitening.codes(by, seen[place][:, people.held(fold)]))
        found["pretrained"] = scattered(people, own)
        place, by = settled(seen, label)
        work.keep({"pretrained.json": {"place": list(place), "shape": list(pictures.shape[1:])}})
        work.keep({"whitening.npz": by._asdict()})
    together = fused(list(found.values()))
    parts = [roc.pairs(together, label, rows) for rows in people.pairs()]
    work.keep({"pairs.npz": roc.Pairs(*map(np.concatenate, zip(*parts, strict=True)))._asdict()})
    results = {f"test/{name}": value for name, value in judged(people, together).items()}
    results |= zip(("people/eer_low", "people/eer_high"), bounds(results["test/eer"].draws), strict=True)
    alone = found if len(found) > 1 else {}
    return results | {f"{part}/eer": judged(people, codes)["eer"].value for part, codes in alone.items()}


def scattered(people: faces.Faces, parts: Sequence[Float[np.ndarray, "M _"]]) -> Float[np.ndarray, "N D"]:
    """The codes of the folds in the rows of the pictures; shorter ones, which another fold chose, end in zeros."""
    codes = np.zeros((len(people.fold), max(own.shape[1] for own in parts)), np.float32)
    for fold, own in enumerate(parts):
        codes[people.held(fold), : own.shape[1]] = own
    return codes


def judged(people: faces.Faces, codes: Float[np.ndarray, "N D"]) -> dict[str, Any]:
    """Means over the folds; the equal error rate also of bootstrap samples of the people."""
    label, pairs = people.images.label, people.pairs()
    folds = [roc.pairs(codes, label, rows) for rows in pairs]

    def error(times: Int[np.ndarray, "R U"]) -> Float[np.ndarray, "R"]:
        return np.mean([roc.equal_error(f.score, f.same, roc.pair_weights(times, f, label)) for f in folds], axis=0)

    owner = np.array([people.fold[label == person][0] for person in range(len(people.images.classes))])
    found = {"eer": bootstrap(error, owner), "auc": float(np.mean([roc.area(f.score, f.same) for f in folds]))}
    for rate in (0.01, 0.001):
        found[f"tar@far={rate}"] = float(np.mean([roc.true_accept(f.score, f.same, rate) for f in folds]))
    found["strangers"] = float(np.mean([(~f.same).sum() for f in folds]))
    if people.listed is not None:
        score, same = (np.concatenate([getattr(f, name) for f in folds]) for name in ("score", "same"))
        fold = np.repeat(np.arange(len(folds)), [len(f.score) for f in folds])
        found["accuracy"] = float(roc.folded_accuracy(score, same, fold).mean())
    return found


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """Pixels and fisherfaces on the same folds and pairs."""
    people = faces.load(config.data)
    found = {}
    for name, method in competitors.methods().items():
        rest = [np.flatnonzero(people.fold != fold) for fold in range(people.folds)]
        codes = [method(people.images.image, rows, people.images.label[rows]) for rows in rest]
        own = scattered(people, [code[people.held(fold)] for fold, code in enumerate(codes)])
        found[name] = {f"test/{metric}": value for metric, value in judged(people, own).items()}
    return found


def coded(trained: Trained, pictures: UInt8[np.ndarray, "N H W C"]) -> Float[np.ndarray, "N D"]:
    """The codes of the model of everybody."""
    parts = []
    if "network" in trained.config.parts:
        parts.append(network_codes(trained, pictures))
    if "pretrained" in trained.config.parts:
        layer, side = trained.asset("pretrained.json")["place"]
        by = whitening.Whitening(**trained.asset("whitening.npz"))
        parts.append(whitening.codes(by, views(pictures, [(layer, side)])[layer, side]))
    return fused(parts)


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """Same or different, for two pictures; groups, for a folder or for more pictures."""
    *size, channels = trained.fitted.shape if trained.fitted else trained.asset("pretrained.json")["shape"]
    paths = map(str, pictures_in(inputs))
    read, failed = attempted(paths, lambda path: read_image(path, tuple(size), channels), threads=8)
    if not read:
        return failed
    files, codes = [path for path, _ in read], coded(trained, np.stack([image for _, image in read]))
    pairs = roc.Pairs(**trained.asset("pairs.npz"))
    threshold = roc.threshold_at(pairs.score, pairs.same, trained.config.false_accept)
    if len(files) != 2:
        groups = clustering.linked(codes, threshold).tolist()
        return failed + [{"image": file, "group": group} for file, group in zip(files, groups, strict=True)]
    score = float(codes[0] @ codes[1])
    row = {"first": files[0], "second": files[1], "answer": "same" if score > threshold else "different"}
    rate = float((pairs.score[~pairs.same] >= score).mean())
    return [*failed, row | {"score": score, "threshold": threshold, "false_accept_rate": rate}]


def figures(trained: Trained, folder: Path) -> None:
    """The curve of both error rates, the scores of both kinds of pairs, and the pairs that were hardest."""
    from deeplearn.record.figures import curves, images

    people = faces.load(trained.config.data)
    pairs = roc.Pairs(**trained.asset("pairs.npz"))
    _, accept, reject = roc.rates(pairs.score, pairs.same)
    curve = {"": (accept[accept > 0], 1 - reject[accept > 0])}  # None is nowhere on an axis of powers of ten.
    curves(curve, folder / "figures" / "roc.svg", x="false accept rate", y="true accept rate", log_x=True)
    places = np.linspace(pairs.score.min(), pairs.score.max(), 41)
    shares = {
        name: (places[:-1] + np.diff(places) / 2, np.histogram(pairs.score[kind], places)[0] / kind.sum())
        for name, kind in (("same person", pairs.same), ("different people", ~pairs.same))
    }
    curves(shares, folder / "figures" / "scores.svg", x="score", y="share of the pairs")
    for name, kind in (("same", pairs.same), ("different", ~pairs.same)):
        rows = np.argsort(np.where(kind, pairs.score if name == "same" else -pairs.score, np.inf))[: min(8, kind.sum())]
        shown = np.stack([pairs.first[rows], pairs.second[rows]], axis=1).ravel()
        names = [people.images.classes[person] for person in people.images.label[shown]]
        captions = [f"{who} {score:.2f}" for who, score in zip(names, pairs.score[rows].repeat(2), strict=True)]
        title = f"Pairs of {'the same person' if name == 'same' else 'different people'} that were hardest, and scores"
        images(
            people.images.image[shown] / 255, folder / "figures" / f"hardest_{name}.svg", captions=captions, title=title
        )


TAKES_FILES = True
PRESETS = {
    "orl": Config(),
    "network": Config(parts=("network",)),
    "fused": Config(parts=("network", "pretrained")),
}
EXPECTED = {"test/eer": (0.019, 0.004)}
SMOKE = {
    "parts": ("network",),
    "data.folds": 2,
    "steps": 8,
    "batch": 16,
    "width": 4,
    "code": 16,
    "reduce": 4,
    "scale": 8.0,  # It stays what it begins as: while scale and margin grow, so does the loss.
    "margin": 0.0,
    "dropout": 0.0,
    "optimizer.rate": 1e-2,
}

if __name__ == "__main__":
    run_file(__file__)
