"""Groups without labels: the customers of a web shop, and handwritten digits to check the methods against labels.

First a code is learnt, by reconstruction or by contrast; then clusters of codes: DEC (Xie et al., 2016), IDEC (Guo et
al., 2017), VaDE (Jiang et al., 2017), or self-labelling of a mixture of contrastive codes. Labels and what customers
spend later judge the groups and choose nothing.
    deeplearn train clustering
    deeplearn train clustering --preset digits
    deeplearn train clustering --data.path customers.csv --clusters 5
    deeplearn predict runs/latest customers.csv
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from deeplearn import clustering, optimizer
from deeplearn.cli import run_file
from deeplearn.config import from_json
from deeplearn.data.augment import Augment, augmentation, example_keys
from deeplearn.data.customers import Scaling, read_like, scaled
from deeplearn.data.source import Arrays
from deeplearn.data.unlabelled import Data, Examples, judged, load, profiles
from deeplearn.experiment import Experiment, Run, Trained
from deeplearn.fit import fit
from deeplearn.metrics import Mean
from deeplearn.models import autoencoder as ae
from deeplearn.optimizer import Optimizer
from deeplearn.run import write_assets
from deeplearn.step import variables
from deeplearn.task import Batch, Task, Variables, linen

EVALUATED_TOGETHER = 1024
CANDIDATES = range(2, 9)
"""Numbers of groups to choose from: more than eight kinds of customers nobody can tell apart."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of clustering."""

    data: Data = field(default_factory=Data)
    method: Literal["idec", "dec", "vade", "contrastive"] = "idec"
    """Clusters of an autoencoder's codes with or without reconstruction, a mixture prior, or contrastive codes."""
    clusters: int | None = None
    """Number of groups; by default the largest that k-means finds again in bootstrap samples."""
    begin: Literal["inputs", "code"] = "inputs"
    """Where k-means finds the clusters to begin with: the inputs are the same each time, images need the code."""
    code: int = 5
    """Numbers in a code."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the encoder's dense layers; the decoder mirrors them."""
    channels: tuple[int, ...] = ()
    """Channels of convolutions of stride 2 before them, for images."""
    norm: Literal["none", "batch"] = "none"
    """Normalisation in the encoder."""
    pretrain: int = 1500
    """Updates of the first phase; `steps` are those of the second."""
    augment: Augment = field(default_factory=lambda: Augment(noise=0.1))
    """How examples are varied in training; customers know noise only."""
    reconstruct: float = 10.0
    """Weight of the reconstruction in IDEC, whose paper weighs the clusters by 0.1 instead."""
    noise: float = 0.1
    """Variance that VaDE expects around a reconstruction."""
    temperature: float = 0.2
    """Of the contrast between codes."""
    neighbours: int = 5
    """A contrastive view may be taken of one of so many nearest neighbours instead."""
    borrow: float = 0.6
    """How often it is."""
    repeats: int = 2
    """Times to train again with another seed, and again on a bootstrap sample, to measure stability."""
    batch: int = 256
    steps: int = 1000
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=1e-3))


def encoder(config: Config) -> ae.Encoder:
    return ae.Encoder(config.hidden, config.code, config.channels, config.norm)


def coder(config: Config, shape: Sequence[int]) -> ae.Autoencoder:
    return ae.Autoencoder(encoder(config), ae.Decoder(shape, config.hidden, config.channels))


def image(batch: Batch) -> tuple[Array]:
    return (batch["image"],)


def noisy(config: Config) -> Callable[[Array, Batch], Batch]:
    """(key, batch) -> batch whose `image` is varied, with what it was as `clean`."""
    change = augmentation(config.augment, classes=0)
    return lambda key, batch: change(key, batch) | {"clean": batch["image"]}


def views(config: Config) -> Callable[[Array, Batch], Batch]:
    """(key, batch) -> batch with a second view, `other`, of each example or of one of its neighbours in `near`."""
    change = augmentation(config.augment, classes=0)

    def borrowed(key: Array, own: Float[Array, "H W C"], near: Float[Array, "J H W C"]) -> Float[Array, "H W C"]:
        coin, which = jax.random.split(key)
        other = near[jax.random.randint(which, (), 0, len(near))]
        return jnp.where(jax.random.bernoulli(coin, config.borrow), other, own)

    def augment(key: Array, batch: Batch) -> Batch:
        first, second, third = jax.random.split(key, 3)
        other = jax.vmap(borrowed)(example_keys(third, batch), batch["image"], batch["near"])
        return change(first, batch) | {"other": change(second, batch | {"image": other})["image"]}

    return augment


def code_task(config: Config, shape: Sequence[int]) -> Task:
    """The first phase: codes that give the example back, or that are alike for two views of it."""

    def error(outputs: ae.Coded, batch: Batch) -> tuple[Mean, dict[str, Any]]:
        clean = batch.get("clean", batch["image"])
        return Mean.of(ae.squared_error(outputs.reconstruction, clean), batch["mask"]), {}

    def contrast(codes: Float[Array, "2B D"], batch: Batch) -> tuple[Mean, dict[str, Any]]:
        return Mean.of(ae.contrast(*jnp.split(codes, 2), config.temperature), batch["mask"]), {}

    def both(batch: Batch) -> tuple[Array]:
        return (jnp.concatenate([batch["image"], batch.get("other", batch["image"])]),)

    def direction(codes: Float[Array, "2B D"], batch: Batch) -> Float[Array, "B D"]:
        own = jnp.split(codes, 2)[0]
        return own / jnp.linalg.norm(own, axis=1, keepdims=True)

    if config.method == "contrastive":
        return linen(encoder(config), contrast, inputs=both, augment=views(config), predict=direction)
    return linen(coder(config, shape), error, inputs=image, augment=noisy(config), predict=lambda out, _: out.code)


def group_task(config: Config, shape: Sequence[int], start: clustering.Mixture) -> Task:
    """The second phase: clusters that begin as `start`; predicts the probability of each cluster [B, K]."""

    def deep(outputs: ae.Clustered, batch: Batch) -> tuple[Mean, dict[str, Any]]:
        weight = config.reconstruct if config.method == "idec" else 0.0
        error = ae.squared_error(outputs.reconstruction, batch.get("clean", batch["image"]))
        loss = ae.divergence(outputs.target, outputs.soft) + weight * error
        return Mean.of(loss, batch["mask"]), {"reconstruction": Mean.of(error, batch["mask"])}

    def evidence(outputs: ae.Variational, batch: Batch) -> tuple[Mean, dict[str, Any]]:
        error = ae.squared_error(outputs.reconstruction, batch.get("clean", batch["image"]))
        likelihood = error * math.prod(shape) / (2 * config.noise)
        return Mean.of(likelihood + ae.latent_divergence(outputs), batch["mask"]), {}

    def label(logits: Float[Array, "B K"], batch: Batch) -> tuple[Mean, dict[str, Any]]:
        return Mean.of(optax.softmax_cross_entropy(logits, batch["soft"]), batch["mask"]), {}

    if config.method == "contrastive":
        model = ae.Assigner(encoder(config), len(start.weights))
        return linen(model, label, inputs=image, augment=noisy(config), predict=lambda out, _: jax.nn.softmax(out))
    if config.method == "vade":
        model = ae.VaDE(coder(config, shape), ae.Prior(start.weights, start.means, start.variances))
        return linen(model, evidence, inputs=image, augment=noisy(config), predict=lambda out, _: out.soft)
    model = ae.DEC(coder(config, shape), start.means)
    return linen(model, deep, inputs=image, augment=noisy(config), predict=lambda out, _: out.soft)


def warm(task: Task, part: str, learnt: Variables) -> Task:
    """The task, with the part of that name starting from what the first phase learnt."""

    def init(key: Array, batch: Batch) -> Variables:
        fresh = task.init(key, batch)
        return {name: {**own, **({part: learnt[name]} if name in learnt else {})} for name, own in fresh.items()}

    return replace(task, init=init)


def phase(config: Config, task: Task, columns: Mapping[str, np.ndarray], steps: int, name: str) -> Experiment:
    return Experiment(
        task=task,
        optimizer=optimizer.make(config.optimizer, steps),
        train=Arrays(columns=columns, batch=config.batch, seed=config.seed, name=name),
    )


def first_phase(config: Config, examples: Examples, rows: Int[np.ndarray, "M"]) -> Experiment:
    """Learn a code of the examples at these rows."""
    inputs = examples.image[rows]
    columns = {"image": inputs}
    if config.method == "contrastive":
        columns["near"] = inputs[clustering.nearest(examples.flat[rows], config.neighbours)]
    return phase(config, code_task(config, inputs.shape[1:]), columns, config.pretrain, examples.name)


def experiment(config: Config) -> Experiment:
    """The first phase alone, which needs nothing but data; `main` goes on from it."""
    examples = load(config.data)
    return first_phase(replace(config, pretrain=config.steps), examples, np.arange(len(examples.image)))


def everywhere(task: Task, learnt: Variables, inputs: Float[np.ndarray, "N H W C"]) -> np.ndarray:
    """The task's predictions for all inputs."""
    program = jax.jit(task.predict)
    source = Arrays(columns={"image": inputs}, batch=EVALUATED_TOGETHER)
    return np.concatenate([np.asarray(program(learnt, batch))[batch["mask"] > 0] for batch in source.once()])


class Grouped(NamedTuple):
    """What both phases found for all N examples."""

    code: Float[np.ndarray, "N D"]
    soft: Float[np.ndarray, "N K"]

    @property
    def labels(self) -> clustering.Labels:
        return self.soft.argmax(1)


def trained_on(
    config: Config, examples: Examples, clusters: int, folder: Path, rows: Int[np.ndarray, "M"] | None = None
) -> Grouped:
    """Both phases on the examples at these rows, by default on all."""
    rows = np.arange(len(examples.image)) if rows is None else rows
    shape, inputs = examples.image.shape[1:], examples.image[rows]
    one = first_phase(config, examples, rows)
    state, _ = fit(one, replace(config, steps=config.pretrain), folder / "code")
    learnt = variables(state)
    code = everywhere(one.task, learnt, inputs)
    points = code if config.begin == "code" else examples.flat[rows]
    labels = clustering.kmeans(points, clusters, config.seed)(points)
    start = (clustering.mixture if config.method == "contrastive" else clustering.partition)(code, labels, clusters)
    part = "encoder" if config.method == "contrastive" else "autoencoder"
    task = warm(group_task(config, shape, start), part, learnt)
    columns = {"image": inputs, "soft": start.soft.astype(np.float32)}
    state, _ = fit(phase(config, task, columns, config.steps, examples.name), config, folder)
    return Grouped(everywhere(one.task, learnt, examples.image), everywhere(task, variables(state), examples.image))


def number_of_groups(config: Config, examples: Examples) -> int:
    if config.clusters is not None:
        return config.clusters
    # One draw for all seeds: their profiles are to be compared.
    return clustering.chosen(clustering.candidates(examples.flat, CANDIDATES, seed=0))


def resamples(config: Config, examples: Examples) -> Iterator[tuple[int, Int[np.ndarray, "N"] | None]]:
    """(seed, rows to learn from) of each repetition: all examples, then as many bootstrap samples."""
    for i in range(1, config.repeats + 1):
        yield config.seed + 1000 * i, None
    for i in range(1, config.repeats + 1):
        size = len(examples.image)
        yield config.seed + 1000 * i, np.random.default_rng([config.seed, i]).integers(0, size, size)


def main(config: Config, folder: Path) -> dict[str, Any]:
    """Both phases, again for stability, and what the groups are worth."""
    examples = load(config.data)
    clusters = number_of_groups(config, examples)
    found = trained_on(config, examples, clusters, folder)
    again = [
        trained_on(replace(config, seed=seed), examples, clusters, folder / "again" / str(i), rows).labels
        for i, (seed, rows) in enumerate(resamples(config, examples))
    ]
    # Groups in the order of their mean input: the most active customers, or the most ink, first.
    means = clustering.centres(examples.flat, found.labels, clusters).mean(1)
    order = np.argsort(-means)
    labels = np.argsort(order)[found.labels]
    profile = profiles(examples, labels, clusters)
    shown = np.random.default_rng(0).permutation(len(labels))[:1000]
    drawn = {"code": found.code[shown].round(4).tolist(), "group": labels[shown].tolist()}
    means = clustering.centres(examples.flat, labels, clusters).tolist()
    groups = {"order": order.tolist(), "profiles": profile, "means": means, **drawn}
    write_assets(folder, examples.assets | {"groups.json": groups})
    table = {"groups/profiles": np.array([list(row.values()) for row in profile])}
    return judged(examples, labels, again) | {"groups/number": float(clusters)} | table


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """The group of each customer in CSV files like the one learnt from, or of each image file."""
    from deeplearn.data.folder import read_image

    known = json.loads((trained.folder / "assets" / "inputs.json").read_text())
    order = json.loads((trained.folder / "assets" / "groups.json").read_text())["order"]
    shape = known["shape"]
    task = group_task(trained.config, shape, clustering.blank(len(order), trained.config.code))
    rows = []
    for path in inputs:
        if known["scaling"] is None:
            names, values = [path], read_image(path, shape[:2], shape[2])[None].astype(np.float32) / 255
        else:
            scaling = from_json(Scaling, known["scaling"])
            names, values = read_like(path, scaling)
            values = scaled(scaling, values).reshape(-1, *shape)
        soft = everywhere(task, trained.variables, values)[:, order]
        rows += [
            {
                "customer" if known["scaling"] else "image": name,
                "group": int(own.argmax()),
                "probability": float(own.max()),
            }
            for name, own in zip(names, soft, strict=True)
        ]
    return rows


def figures(trained: Trained, folder: Path) -> None:
    """A map of the codes (t-SNE), and what the groups look like on average."""
    from sklearn.manifold import TSNE

    from deeplearn.figures import curves, groups, images

    found = json.loads((trained.folder / "assets" / "groups.json").read_text())
    known = json.loads((trained.folder / "assets" / "inputs.json").read_text())
    code, labels, means = np.array(found["code"], np.float32), np.array(found["group"]), np.array(found["means"])
    place = TSNE(random_state=0, perplexity=min(30, len(code) - 1)).fit_transform(code)
    groups(place, labels, folder / "figures" / "map.svg", title="Codes by group (t-SNE)")
    names = [f"group {row['group']}: {row['size']}" for row in found["profiles"]]
    path = folder / "figures" / "profiles.svg"
    if known["scaling"] is None:
        images(list(means.reshape(-1, *known["shape"])), path, captions=names)
    else:
        columns = known["scaling"]["columns"]
        lines = {name: (columns, own) for name, own in zip(names, means, strict=True)}
        curves(lines, path, x="", y="standard deviations from the mean", markers=True)


def baseline(config: Config) -> dict[str, dict[str, float]]:
    """k-means and a Gaussian mixture on the same inputs, and for images the mixture on a t-SNE map."""
    examples = load(config.data)
    clusters, points = number_of_groups(config, examples), examples.flat
    results = {}
    for name, method in {"k-means": clustering.kmeans, "Gaussian mixture": clustering.gaussians}.items():
        again = [
            method(points if rows is None else points[rows], clusters, seed)(points)
            for seed, rows in resamples(config, examples)
        ]
        results[name] = judged(examples, method(points, clusters, config.seed)(points), again)
    if examples.label is not None:
        from sklearn.manifold import TSNE

        place = TSNE(random_state=config.seed, init="pca").fit_transform(points)
        labels = clustering.gaussians(place, clusters, config.seed)(place)
        results["t-SNE + Gaussian mixture"] = judged(examples, labels, [])
    return results


DIGITS = Config(
    data=Data(name="digits"),
    method="contrastive",
    begin="code",
    clusters=10,
    code=32,
    hidden=(256, 256),
    norm="batch",
    pretrain=1500,
    steps=400,
    repeats=0,
    augment=Augment(rotate=12, scale=0.15, shear=0.2, shift=0.11, noise=0.05),
    optimizer=Optimizer(rate=2e-3, decay=1e-3),
)
PRESETS = {
    "digits": DIGITS,
    "mnist5k": replace(DIGITS, data=Data(name="mnist5k"), channels=(32, 64), hidden=(256,)),
    "dec": Config(method="dec"),
    "vade": Config(method="vade"),
}
EXPECTED = {}
SMOKE = {"data.name": "digits", "clusters": 4, "begin": "code", "pretrain": 24, "hidden": (32,), "repeats": 1}

if __name__ == "__main__":
    run_file(__file__)
