"""Groups without labels: customers by what they will do next, and handwritten digits to check methods against labels.

First a code is learnt: by forecasting (of purchases), by reconstruction or by contrast; then clusters of codes: k-means
of forecasts, DEC (Xie et al., 2016), IDEC (Guo et al., 2017), VaDE (Jiang et al., 2017), or self-labelling of a mixture
of contrastive codes. Labels and what customers spend later judge the groups and choose nothing.
    deeplearn train clustering
    deeplearn train clustering --preset digits
    deeplearn train clustering --data.path purchases.csv
    deeplearn train clustering --data.path numbers.csv --preset idec
    deeplearn predict runs/latest purchases.csv
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from deeplearn import optimizer
from deeplearn.cli import run_file
from deeplearn.competitors import groups as competitors
from deeplearn.config import from_json
from deeplearn.data.augment import Augment, augmentation, views
from deeplearn.data.customers import Scaling
from deeplearn.data.doors.customers import Data, Examples, load, read_like
from deeplearn.data.source import Arrays
from deeplearn.errors import ConfigError
from deeplearn.evaluation import predict_all
from deeplearn.experiment import Experiment, Run
from deeplearn.fit import fit
from deeplearn.methods import clustering
from deeplearn.metrics import Mean
from deeplearn.models import autoencoder as ae
from deeplearn.optimizer import Optimizer
from deeplearn.step import variables
from deeplearn.task import Batch, Task, Variables, linen, warm
from deeplearn.train import write_assets
from deeplearn.trained import Trained

EVALUATED_TOGETHER = 1024


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of clustering."""

    data: Data = field(default_factory=Data)
    method: Literal["forecast", "idec", "dec", "vade", "contrastive"] = "forecast"
    """Clusters of forecasts (which need dates), of an autoencoder's codes (three ways), or of contrastive codes."""
    clusters: int | None = None
    """Number of groups; by default the largest that k-means finds again in bootstrap samples."""
    begin: Literal["inputs", "code"] = "inputs"
    """Where k-means finds the clusters to begin with: the inputs are the same each time, images need the code."""
    code: int = 5
    """Numbers in a code; forecasts are two."""
    hidden: tuple[int, ...] = (32,)
    """Widths of the encoder's dense layers; the decoder mirrors them."""
    channels: tuple[int, ...] = ()
    """Channels of convolutions of stride 2 before them, for images."""
    norm: Literal["none", "batch"] = "none"
    """Normalisation in the encoder."""
    pretrain: int = 1500
    """Updates of the first of two phases; `steps` are those of the last, which forecasts have alone."""
    augment: Augment = field(default_factory=lambda: Augment(noise=0.3))
    """How examples are varied in training; customers know noise only, which smooths their forecasts."""
    reconstruct: float = 10.0
    """Weight of the reconstruction in IDEC, whose paper weighs the clusters by 0.1 instead."""
    noise: float = 0.1
    """Variance that VaDE expects around a reconstruction."""
    temperature: float = 0.2
    """Of the contrast between codes."""
    members: int = 32
    """Forecasters whose mean is the code: one alone is another with another seed."""
    neighbours: int = 5
    """A contrastive view may be taken of one of so many nearest neighbours instead."""
    borrow: float = 0.6
    """How often it is."""
    repeats: int = 2
    """Times to train again with another seed, and again on a bootstrap sample, to measure stability."""
    batch: int = 256
    steps: int = 2000
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=2e-3))


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


def code_task(config: Config, shape: Sequence[int], outputs: int = 0) -> Task:
    """The first phase: codes that foretell `outputs` numbers, give the example back, or are alike for two views."""

    def forecast(outputs: Float[Array, "B M D"], batch: Batch) -> tuple[Mean, dict[str, Any]]:
        return Mean.of(((outputs - batch["after"][:, None]) ** 2).mean((1, 2)), batch["mask"]), {}

    def repeat(outputs: ae.Coded, batch: Batch) -> tuple[Mean, dict[str, Any]]:
        clean = batch.get("clean", batch["image"])
        return Mean.of(ae.squared_error(outputs.reconstruction, clean), batch["mask"]), {}

    def contrast(codes: Float[Array, "2B D"], batch: Batch) -> tuple[Mean, dict[str, Any]]:
        return Mean.of(ae.contrast(*jnp.split(codes, 2), config.temperature), batch["mask"]), {}

    def both(batch: Batch) -> tuple[Array]:
        return (jnp.concatenate([batch["image"], batch.get("other", batch["image"])]),)

    def direction(codes: Float[Array, "2B D"], batch: Batch) -> Float[Array, "B D"]:
        own = jnp.split(codes, 2)[0]
        return own / jnp.linalg.norm(own, axis=1, keepdims=True)

    if config.method == "forecast":
        model = ae.Ensemble(encoder(replace(config, code=outputs)), config.members)
        return linen(model, forecast, inputs=image, augment=noisy(config), predict=lambda out, _: out.mean(1))
    if config.method == "contrastive":
        two = views(config.augment, config.borrow)
        return linen(encoder(config), contrast, inputs=both, augment=two, predict=direction)
    return linen(coder(config, shape), repeat, inputs=image, augment=noisy(config), predict=lambda out, _: out.code)


def group_task(config: Config, shape: Sequence[int], start: clustering.Mixture) -> Task:
    """The second phase: clusters that begin as `start`; predicts the probability of each cluster [B, K]."""

    def deep(outputs: ae.Clustered, batch: Batch) -> tuple[Mean, dict[str, Any]]:
        weight = config.reconstruct if config.method == "idec" else 0.0
        return Mean.of(ae.embedded(outputs, batch.get("clean", batch["image"]), weight), batch["mask"]), {}

    def evidence(outputs: ae.Variational, batch: Batch) -> tuple[Mean, dict[str, Any]]:
        return Mean.of(ae.evidence(outputs, batch.get("clean", batch["image"]), config.noise), batch["mask"]), {}

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


def phase(config: Config, task: Task, columns: Mapping[str, np.ndarray], steps: int, name: str) -> Experiment:
    return Experiment(
        task=task,
        optimizer=optimizer.make(config.optimizer, steps),
        train=Arrays(columns=columns, batch=config.batch, seed=config.seed, name=name),
    )


def first_phase(config: Config, examples: Examples, rows: Int[np.ndarray, "M"], steps: int) -> Experiment:
    """Learn a code of the examples at these rows.

    Raises:
        ConfigError: there is nothing to learn forecasts from.
    """
    columns, outputs = {"image": examples.image[rows]}, 0
    if config.method == "forecast":
        lesson = examples.lesson
        if lesson is None or not lesson.after[lesson.known].any():
            raise ConfigError(f"{examples.name} shows no dates on which customers came back; start with --preset idec.")
        rows = rows[lesson.known[rows]]
        columns, outputs = {"image": lesson.before[rows], "after": lesson.after[rows]}, lesson.after.shape[1]
    if config.method == "contrastive":
        columns["near"] = examples.image[rows][clustering.nearest(examples.flat[rows], config.neighbours)]
    task = code_task(config, examples.image.shape[1:], outputs)
    return phase(config, task, columns, steps, examples.name)


def experiment(config: Config) -> Experiment:
    """The first phase alone, which needs nothing but data; `main` goes on from it."""
    examples = load(config.data)
    return first_phase(config, examples, np.arange(len(examples.image)), config.steps)


class Grouped(NamedTuple):
    """What was found for all N examples."""

    code: Float[np.ndarray, "N D"]
    soft: Float[np.ndarray, "N K"]

    @property
    def labels(self) -> clustering.Labels:
        return self.soft.argmax(1)


def everywhere(task: Task, learnt: Variables, inputs: Float[np.ndarray, "N ..."]) -> np.ndarray:
    """The task's predictions for all inputs."""
    return predict_all(task, learnt, Arrays(columns={"image": inputs}, batch=EVALUATED_TOGETHER))


def trained_on(config: Config, examples: Examples, clusters: int, folder: Path, rows: Int[np.ndarray, "M"]) -> Grouped:
    """All phases on the examples at these rows; the checkpoint that predicts goes to `folder`."""
    if config.method == "forecast":
        one = first_phase(config, examples, rows, config.steps)
        state, _ = fit(one, config, folder)
        code = everywhere(one.task, variables(state), examples.image)
        labels = clustering.kmeans(code[rows], clusters, config.seed)(code[rows])
        return Grouped(code, np.asarray(ae.student(code, clustering.centres(code[rows], labels, clusters))))
    one = first_phase(config, examples, rows, config.pretrain)
    state, _ = fit(one, replace(config, steps=config.pretrain), folder / "code")
    learnt, inputs = variables(state), examples.image[rows]
    code = everywhere(one.task, learnt, inputs)
    points = code if config.begin == "code" else examples.flat[rows]
    labels = clustering.kmeans(points, clusters, config.seed)(points)
    start = (clustering.mixture if config.method == "contrastive" else clustering.partition)(code, labels, clusters)
    part = "encoder" if config.method == "contrastive" else "autoencoder"
    task = warm(group_task(config, inputs.shape[1:], start), part, learnt)
    columns = {"image": inputs, "soft": start.soft.astype(np.float32)}
    state, _ = fit(phase(config, task, columns, config.steps, examples.name), config, folder)
    return Grouped(everywhere(one.task, learnt, examples.image), everywhere(task, variables(state), examples.image))


def main(config: Config, folder: Path) -> dict[str, Any]:
    """All phases, again for stability, and what the groups are worth."""
    examples = load(config.data)
    clusters, size = clustering.number(examples.flat, config.clusters, examples.name), len(examples.image)
    found = trained_on(config, examples, clusters, folder, np.arange(size))
    again = [
        trained_on(replace(config, seed=seed), examples, clusters, folder / "again" / str(i), rows).labels
        for i, (seed, rows) in enumerate(clustering.repetitions(config.seed, config.repeats, size))
    ]
    # Groups in the order of their mean forecast or input: the best customers, or the most ink, first.
    rank = found.code if config.method == "forecast" else examples.flat
    order = np.argsort(-clustering.centres(rank, found.labels, clusters).mean(1))
    labels = np.argsort(order)[found.labels]
    profile = clustering.profiles(labels, clusters, examples.columns)
    shown = np.random.default_rng(0).permutation(size)[:1000]
    groups = {
        "order": order.tolist(),
        "profiles": profile,
        "means": clustering.centres(examples.flat, labels, clusters).tolist(),
        "centres": clustering.centres(found.code, found.labels, clusters).tolist(),
        "code": found.code[shown].round(4).tolist(),
        "group": labels[shown].tolist(),
    }
    write_assets(folder, examples.assets | {"groups.json": groups})
    table = {"groups/profiles": np.array([list(row.values()) for row in profile])}
    judged = clustering.judged(examples.flat, labels, again, later=examples.later, truth=examples.label)
    return judged | {"groups/number": float(clusters)} | table


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """The group of each customer in CSV files like the one learnt from, or of each image file."""
    known, groups = (asset(trained, name) for name in ("inputs", "groups"))
    shape, scaling = known["shape"], known["scaling"] and from_json(Scaling, known["scaling"])
    order, centres = groups["order"], np.array(groups["centres"], np.float32)
    if trained.config.method == "forecast":
        task = code_task(trained.config, shape, centres.shape[1])
    else:
        task = group_task(trained.config, shape, clustering.blank(*centres.shape))
    rows = []
    for path in inputs:
        names, values = read_like(path, shape, scaling)
        found = everywhere(task, trained.variables, values)
        soft = np.asarray(ae.student(found, centres) if trained.config.method == "forecast" else found)[:, order]
        kind = "customer" if scaling else "image"
        rows += [
            {kind: name, "group": int(own.argmax()), "probability": float(own.max())}
            for name, own in zip(names, soft, strict=True)
        ]
    return rows


def asset(trained: Trained, name: str) -> dict[str, Any]:
    return json.loads((trained.folder / "assets" / f"{name}.json").read_text())


def figures(trained: Trained, folder: Path) -> None:
    """A map of the codes, and what the groups look like on average."""
    from deeplearn.record.figures import curves, groups, images

    known, found = (asset(trained, name) for name in ("inputs", "groups"))
    code, labels, means = np.array(found["code"], np.float32), np.array(found["group"]), np.array(found["means"])
    path = folder / "figures" / "map.svg"
    if trained.config.method == "forecast":  # two numbers, which need no map
        deviations = "(standard deviations from the mean)"
        groups(code, labels, path, x=f"forecast of purchases {deviations}", y=f"forecast of spend {deviations}")
    else:
        groups(clustering.flattened(code), labels, path, title="Codes by group (t-SNE)")
    names = [f"group {row['group']}: {row['size']}" for row in found["profiles"]]
    path = folder / "figures" / "profiles.svg"
    if known["scaling"] is None:
        images(list(means.reshape(-1, *known["shape"])), path, captions=names)
    else:
        columns = known["scaling"]["columns"]
        lines = {name: (columns, own) for name, own in zip(names, means, strict=True)}
        curves(lines, path, x="", y="standard deviations from the mean", markers=True)


def baseline(config: Config) -> dict[str, dict[str, float]]:
    """Classical methods on the same inputs, judged in the same way."""
    examples = load(config.data)
    clusters, size = clustering.number(examples.flat, config.clusters, examples.name), len(examples.image)
    repetitions = clustering.repetitions(config.seed, config.repeats, size)
    return {
        name: clustering.judged(
            examples.flat,
            method(np.arange(size), config.seed),
            [method(rows, seed) for seed, rows in repetitions],
            later=examples.later,
            truth=examples.label,
        )
        for name, method in competitors.methods(examples, clusters).items()
    }


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
IDEC = Config(method="idec", hidden=(64, 64), steps=1000, augment=Augment(noise=0.1), optimizer=Optimizer(rate=1e-3))
PRESETS = {
    "digits": DIGITS,
    "mnist5k": replace(DIGITS, data=Data(name="mnist5k"), channels=(32, 64), hidden=(256,)),
    "idec": IDEC,
    "dec": replace(IDEC, method="dec"),
    "vade": replace(IDEC, method="vade"),
}
EXPECTED = {"groups/stability": (0.984, 0.02), "later/separation": (0.195, 0.01)}
"""Several standard deviations (0.003 and 0.001 over five seeds) to either side; k-means separates 0.138."""
SMOKE = {"data.name": "digits", "method": "idec", "clusters": 4, "begin": "code", "pretrain": 24, "repeats": 1}

if __name__ == "__main__":
    run_file(__file__)
