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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from deeplearn import optimizer
from deeplearn.cli import run_file
from deeplearn.competitors import groups as competitors
from deeplearn.data.augment import Augment, augmentation, views
from deeplearn.data.customers import Scaling
from deeplearn.data.doors.customers import Data, Examples, load, read_all
from deeplearn.data.source import Arrays
from deeplearn.experiment import Experiment, Run
from deeplearn.knobs import Amount, Count, NotNegative, Positive, Range, Share
from deeplearn.methods import clustering
from deeplearn.models import autoencoder as ae
from deeplearn.optimizer import Optimizer
from deeplearn.task import Batch, Task, per_example, warm
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

EVALUATED_TOGETHER = 1024
Loss = Callable[[Any, Batch], Float[Array, "B"]]


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of clustering."""

    data: Data = field(default_factory=Data)
    method: Literal["forecast", "idec", "dec", "vade", "contrastive"] = "forecast"
    """Clusters of forecasts (which need dates), of an autoencoder's codes (three ways), or of contrastive codes."""
    clusters: Annotated[int, Range(low=2)] | None = None
    """Number of groups; by default the largest that k-means finds again in bootstrap samples."""
    begin: Literal["inputs", "code"] = "inputs"
    """Where k-means finds the clusters to begin with: the inputs are the same each time, images need the code."""
    code: Count = 5
    """Numbers in a code; forecasts are two."""
    hidden: tuple[Count, ...] = (32,)
    """Widths of the encoder's dense layers; the decoder mirrors them."""
    channels: tuple[Count, ...] = ()
    """Channels of convolutions of stride 2 before them, for images."""
    norm: Literal["none", "batch"] = "none"
    """Normalisation in the encoder."""
    pretrain: Count = 1500
    """Updates of the first of two phases; `steps` are those of the last, which forecasts have alone."""
    augment: Augment = field(default_factory=lambda: Augment(noise=0.3))
    """How examples are varied in training; customers know noise only, which smooths their forecasts."""
    reconstruct: NotNegative = 10.0
    """Weight of the reconstruction in IDEC, whose paper weighs the clusters by 0.1 instead."""
    noise: Positive = 0.1
    """Variance that VaDE expects around a reconstruction."""
    temperature: Positive = 0.2
    """Of the contrast between codes."""
    members: Count = 32
    """Forecasters whose mean is the code: one alone is another with another seed."""
    neighbours: Count = 5
    """A contrastive view may be taken of one of so many nearest neighbours instead."""
    borrow: Share = 0.6
    """How often it is."""
    repeats: Amount = 2
    """Times to train again with another seed, and again on a bootstrap sample, to measure stability."""
    batch: int = 256
    steps: int = 2000
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=2e-3))


def encoder(config: Config) -> ae.Encoder:
    return ae.Encoder(config.hidden, config.code, config.channels, config.norm)


def coder(config: Config, shape: Sequence[int]) -> ae.Autoencoder:
    return ae.Autoencoder(encoder(config), ae.Decoder(shape, config.hidden, config.channels))


def varied(config: Config, model: nn.Module, loss: Loss, predict: Callable[[Any], Array]) -> Task:
    """A task on examples whose `image` is varied in training; what it was is in `clean`."""
    change = augmentation(config.augment, classes=0)
    return per_example(
        model,
        lambda outputs, batch: loss(outputs, {"clean": batch["image"]} | batch),
        inputs=lambda batch: (batch["image"],),
        augment=lambda key, batch: change(key, batch) | {"clean": batch["image"]},
        predict=lambda outputs, batch: predict(outputs),
    )


def code_task(config: Config, shape: Sequence[int], outputs: int) -> Task:
    """The first phase: codes that foretell `outputs` numbers, give the example back, or are alike for two views."""
    if config.method == "contrastive":
        contrast = lambda codes, batch: ae.contrast(*jnp.split(codes, 2), config.temperature)  # noqa: E731
        both = lambda batch: (jnp.concatenate([batch["image"], batch.get("other", batch["image"])]),)  # noqa: E731
        own = lambda codes, batch: ae.direction(jnp.split(codes, 2)[0])  # noqa: E731
        two = views(config.augment, config.borrow)
        return per_example(encoder(config), contrast, inputs=both, augment=two, predict=own, couples=True)
    if config.method == "forecast":
        model = ae.Ensemble(encoder(replace(config, code=outputs)), config.members)  # [B, M, outputs]
        gap = lambda out, batch: ((out - batch["after"][:, None]) ** 2).mean((1, 2))  # noqa: E731
        return varied(config, model, gap, lambda out: out.mean(1))
    error = lambda out, batch: ae.squared_error(out.reconstruction, batch["clean"])  # noqa: E731
    return varied(config, coder(config, shape), error, lambda out: out.code)


def group_task(config: Config, shape: Sequence[int], start: clustering.Mixture) -> Task:
    """The second phase: clusters that begin as `start`; predicts the probability of each cluster [B, K]."""
    if config.method == "contrastive":
        loss = lambda out, batch: optax.softmax_cross_entropy(out, batch["soft"])  # noqa: E731
        return varied(config, ae.Assigner(encoder(config), len(start.weights)), loss, jax.nn.softmax)
    if config.method == "vade":
        model = ae.VaDE(coder(config, shape), ae.Prior(start.weights, start.means, start.variances))
        loss = lambda out, batch: ae.evidence(out, batch["clean"], config.noise)  # noqa: E731
        return varied(config, model, loss, lambda out: out.soft)
    weight = config.reconstruct if config.method == "idec" else 0.0
    loss = lambda out, batch: ae.embedded(out, batch["clean"], weight)  # noqa: E731
    return varied(config, ae.DEC(coder(config, shape), start.means), loss, lambda out: out.soft)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the model of a grouping is built from, besides the knobs."""

    shape: tuple[int, ...]
    """[H, W, C] of an example."""
    scaling: Scaling | None
    """How the numbers of a customer were scaled."""
    outputs: int
    """Numbers that are foretold."""
    clusters: int


def task(config: Config, fitted: Fitted) -> Task:
    """The model that predicts: forecasts, or the probability of each cluster."""
    if config.method == "forecast":
        return code_task(config, fitted.shape, fitted.outputs)
    return group_task(config, fitted.shape, clustering.blank(fitted.clusters, config.code))


def phase(
    config: Config, task: Task, columns: Mapping[str, np.ndarray], examples: Examples, fitted: Fitted
) -> Experiment:
    return Experiment(
        task=task,
        fitted=fitted,
        optimizer=optimizer.make(config.optimizer, config.steps),
        train=Arrays(columns=columns, batch=config.batch, seed=config.seed, name=examples.name, derived=("soft",)),
    )


def fitted_on(config: Config, examples: Examples, clusters: int) -> Fitted:
    outputs = examples.foretold if config.method == "forecast" else 0
    return Fitted(shape=examples.image.shape[1:], scaling=examples.scaling, outputs=outputs, clusters=clusters)


def first_phase(config: Config, examples: Examples, rows: Int[np.ndarray, "M"], fitted: Fitted) -> Experiment:
    """Learn a code of the examples at these rows.

    Raises:
        ConfigError: there is nothing to learn forecasts from.
    """
    columns = examples.forecasting(rows) if config.method == "forecast" else {"image": examples.image[rows]}
    if config.method == "contrastive":
        columns["near"] = examples.image[rows][clustering.nearest(examples.flat[rows], config.neighbours)]
    return phase(config, code_task(config, fitted.shape, fitted.outputs), columns, examples, fitted)


def experiment(config: Config, fitted: Fitted | None = None) -> Experiment:
    """The first phase alone, which needs nothing but data; `main` goes on from it."""
    examples = load(config.data)
    fitted = fitted or fitted_on(config, examples, config.clusters or 0)
    return first_phase(config, examples, np.arange(len(examples.image)), fitted)


def trained_on(
    config: Config, examples: Examples, clusters: int, work: Workspace, name: str, rows: Int[np.ndarray, "M"]
) -> clustering.Grouping:
    """All phases on the examples at these rows; the checkpoint that predicts goes to the folder of that name."""
    one = config.method == "forecast"
    first = config if one else replace(config, steps=config.pretrain)
    own, everything = fitted_on(config, examples, clusters), {"image": examples.image}
    place = name if one else f"{name}/code".strip("/")
    coder, _ = work.fit(lambda fitted: first_phase(first, examples, rows, fitted or own), first, place)
    code = coder.predict(everything, EVALUATED_TOGETHER)
    points = code if one or config.begin == "code" else examples.flat
    labels = clustering.kmeans(points[rows], clusters, config.seed)(points[rows])
    if one:
        return clustering.Grouping(code, np.asarray(ae.student(code, clustering.centres(code[rows], labels, clusters))))
    contrastive = config.method == "contrastive"
    start = (clustering.mixture if contrastive else clustering.partition)(code[rows], labels, clusters)
    columns = {"image": examples.image[rows], "soft": start.soft.astype(np.float32)}
    task = warm(group_task(config, own.shape, start), "encoder" if contrastive else "autoencoder", coder.variables)
    model, _ = work.fit(lambda fitted: phase(config, task, columns, examples, fitted or own), config, name)
    return clustering.Grouping(code, model.predict(everything, EVALUATED_TOGETHER))


def main(config: Config, work: Workspace) -> dict[str, Any]:
    """All phases, again for stability, and what the groups are worth."""
    examples = load(config.data)
    clusters, size = clustering.number(examples.flat, config.clusters, examples.name), len(examples.image)
    judges = {"later": examples.later, "label": examples.label}
    work.data("examples", {"image": examples.image} | {k: v for k, v in judges.items() if v is not None})
    found = trained_on(config, examples, clusters, work, "", np.arange(size))
    again = [
        trained_on(replace(config, seed=seed), examples, clusters, work, f"again/{i}", rows).labels
        for i, (seed, rows) in enumerate(clustering.repetitions(config.seed, config.repeats, size))
    ]
    # Groups in the order of their mean forecast or input: the best customers, or the most ink, first.
    rank = found.code if config.method == "forecast" else examples.flat
    order = np.argsort(-clustering.centres(rank, found.labels, clusters).mean(1))
    labels = np.argsort(order)[found.labels]
    profile = clustering.profiles(labels, clusters, examples.columns)
    kept = clustering.summary(examples.flat, found.code, labels, clusters)
    centres = clustering.centres(found.code, found.labels, clusters)
    work.keep({"groups.json": kept | {"order": order.tolist(), "centres": centres.tolist(), "profiles": profile}})
    table = {"groups/profiles": np.array([list(row.values()) for row in profile])}
    return judged(examples, labels, again) | {"groups/number": float(clusters)} | table


def judged(examples: Examples, labels: clustering.Labels, again: Sequence[clustering.Labels]) -> dict[str, float]:
    return clustering.judged(examples.flat, labels, again, later=examples.later, truth=examples.label)


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """The group of each customer in CSV files like the one learnt from, or of each image file."""
    fitted, groups = trained.fitted, trained.asset("groups.json")
    places, image, rows = read_all(inputs, fitted.shape, fitted.scaling)
    if not places:
        return rows
    soft = trained.predict({"image": image}, EVALUATED_TOGETHER)
    if trained.config.method == "forecast":
        soft = np.asarray(ae.student(soft, np.array(groups["centres"], np.float32)))
    return rows + [
        place
        | {"group": int(own.argmax()), "probability": float(own.max())}
        | {"probabilities": {f"group {k}": float(chance) for k, chance in enumerate(own)}}
        for place, own in zip(places, soft[:, groups["order"]], strict=True)
    ]


def figures(trained: Trained, folder: Path) -> None:
    """A map of the codes, and what the groups look like on average."""
    from deeplearn.record.figures import curves, groups, images

    fitted, found = trained.fitted, trained.asset("groups.json")
    code, labels, means = np.array(found["code"], np.float32), np.array(found["group"]), np.array(found["means"])
    place = folder / "figures"
    if trained.config.method == "forecast":  # two numbers, which need no map
        axes = (f"forecast of {what} (standard deviations from the mean)" for what in ("purchases", "spend"))
        groups(code, labels, place / "map.svg", x=next(axes), y=next(axes))
    else:
        groups(clustering.flattened(code), labels, place / "map.svg", title="Codes by group (t-SNE)")
    names = [f"group {row['group']}: {row['size']}" for row in found["profiles"]]
    if fitted.scaling is None:
        images(
            list(means.reshape(-1, *fitted.shape)),
            place / "profiles.svg",
            captions=names,
            title="Mean of each group, and its size",
        )
    else:
        lines = {name: (list(fitted.scaling.columns), own) for name, own in zip(names, means, strict=True)}
        curves(lines, place / "profiles.svg", x="", y="standard deviations from the mean", markers=True)


def baseline(config: Config) -> dict[str, dict[str, float]]:
    """Classical methods on the same inputs, judged in the same way."""
    examples = load(config.data, say=False)
    clusters, size = clustering.number(examples.flat, config.clusters, examples.name), len(examples.image)
    repetitions = clustering.repetitions(config.seed, config.repeats, size)
    return {
        name: judged(examples, method(np.arange(size), config.seed), [method(rows, seed) for seed, rows in repetitions])
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
TAKES_FILES = True
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
