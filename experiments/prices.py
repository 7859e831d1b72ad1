"""Price of a hotel room or of a house, with an interval that holds the truth in 90 % of the cases.

Networks for tables after Gorishniy et al. (2021, 2022, 2024) and conformal intervals after Romano et al. (2019), beside
gradient-boosted trees, a support-vector machine and ridge regression on the same rows.
Expected: hotels, the future held out, MAE 20.1 ± .6 EUR (boosted trees 19.4 to 19.6); houses, log-RMSE .121 (.125).
    deeplearn train prices
    deeplearn train prices --preset ames
    deeplearn train prices --data.path rooms.csv --data.target price --data.date arrival
    deeplearn predict runs/latest new_rooms.csv
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplearn import catalog, optimizer
from deeplearn.cli import run_file
from deeplearn.competitors import prices as competitors
from deeplearn.competitors.search import effort
from deeplearn.data.csvtable import Table, read_like, take
from deeplearn.data.doors import prices as door
from deeplearn.data.doors.prices import Data, Fitted, Part, Problem, copies, inner, load, parts, seen
from deeplearn.data.inputs import TABLES, attempted, expanded
from deeplearn.data.source import Arrays
from deeplearn.data.tabular import Encoding, forget, unknown
from deeplearn.errors import ConfigError, note
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.knobs import Amount, Count, Range, Rest, Within
from deeplearn.methods import conformal
from deeplearn.methods.importance import importance
from deeplearn.metrics import Mean, Metric, regression, regression_of
from deeplearn.models.tabular import FTTransformer, Independent, TabM
from deeplearn.optimizer import Optimizer
from deeplearn.task import Batch, Task, linen
from deeplearn.trained import Trained, of_fit
from deeplearn.workspace import Workspace

EVALUATED_TOGETHER = 1024  # rows
LOOKS = 24
"""How often calibration rows are looked at on the way to the last step."""
PATIENCE = 8
"""Looks in a row that bring nothing better after which a calibration model learns no further, by default; the hotels at
random, priced better nearly to the last step, had four at most."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of price prediction."""

    data: Data = field(default_factory=Data)
    model: Literal["tabm", "ft-transformer"] = "tabm"
    """An ensemble of perceptrons that share weights (one member: a plain perceptron), or attention among columns; the
    classes in models/tabular.py say in what they depart from their papers."""
    networks: Count = 3
    """Models that share nothing; the price is their mean."""
    members: Count = 8
    """Perceptrons in a TabM."""
    wide: bool = False
    """Add a linear model of the columns to the perceptrons."""
    error: Literal["absolute", "squared"] = "absolute"
    """Errors that training makes small: absolute ones lead to the median price, squared ones to the mean."""
    width: Count = 128
    """Features of a hidden layer, or of a token."""
    depth: Count = 2
    """Hidden layers, or blocks of attention."""
    embedding: Count = 8
    """Features of an embedded column in the perceptrons."""
    dropout: Rest = 0.1
    """Share of features dropped in training."""
    remat: bool = False
    """Compute each block of the FT-Transformer again in the backward pass, to save memory for more work."""
    bins: Annotated[int, Range(low=2)] = 48
    """Quantile bins of a number's piecewise-linear encoding, at most."""
    harmonics: Amount | None = None
    """Waves of the year in which a date is written; by default three, or none beside a column of known prices, which
    carries the season."""
    log: bool = True
    """Learn the logarithm of the price, so that errors count in percent, where nearly all prices are positive."""
    forget: Rest = 0.02
    """Share of the categories' cells that training takes for unknown ones, so that new values get a sensible price."""
    coverage: Within = 0.9
    """Share of the truths that the intervals are to hold."""
    early: bool = True
    """Learn only for as long as rows that calibrate the intervals are priced better by it, at most for `steps`; with
    `data.folds`, where these rows are tested too, always for `steps`. Made for a rate that does not fall: the last
    model would end a falling one where the others were still on their way."""
    batch: int = 256
    steps: int = 4800
    # To be taken at any step: no rate falls towards an end, and an average over the last tenth of the way, 500 steps at
    # most, takes out the noise that a falling rate would.
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(rate=2e-3, decay=0.01, schedule="constant", average=0.998)
    )


def build(config: Config, encoding: Encoding) -> nn.Module:
    """The untrained model; its three outputs are a typical price, and the low and the high end of an interval.

    Raises ConfigError for a TabM with `remat`.
    """
    shape = dict(width=config.width, depth=config.depth, dropout=config.dropout)
    columns = encoding.edges, encoding.cardinalities
    if config.model == "ft-transformer":
        network = FTTransformer(*columns, outputs=3, **shape, remat=config.remat)
    elif config.remat:
        raise ConfigError("TabM has no remat: leave --remat out.")
    else:
        own = dict(members=config.members, embedding=config.embedding, wide=config.wide)
        network = TabM(*columns, outputs=3, **own, **shape)
    return network if config.networks == 1 else Independent(network, config.networks)


def task(config: Config, fitted: Fitted) -> Task:
    """Each member learns the price and two quantiles (pinball loss) on its own; their mean is the prediction."""
    tail, scale = (1 - config.coverage) / 2, fitted.scale
    levels = jnp.array([0.5, tail, 1 - tail], jnp.float32)

    def predict(outputs: Float[Array, "B K 3"], batch: Batch) -> Float[Array, "B 3"]:
        return scale.to_price(outputs.mean(1), batch["unit"][:, None])

    def objective(outputs: Float[Array, "B K 3"], batch: Batch) -> tuple[Mean, Mapping[str, Metric]]:
        gap = batch["target"][:, None, None] - outputs
        loss = jnp.maximum(levels[None, None] * gap, (levels - 1)[None, None] * gap)
        if config.error == "squared":
            loss = loss.at[..., 0].set(gap[..., 0] ** 2 / 2)
        price = predict(outputs, batch)[:, 0]
        found = regression(price, batch["price"], batch["mask"], scale.typical, positive=scale.least > 0)
        return Mean.of(loss.mean((1, 2)), batch["mask"]), found

    def augment(key: Array, batch: Batch) -> Batch:
        return batch | {"category": forget(key, batch["category"], batch["index"], config.forget)}

    model, inputs = build(config, fitted.encoding), lambda batch: (batch["number"], batch["category"])
    return linen(model, objective, inputs=inputs, augment=augment, predict=predict)


def fitted_on(config: Config, problem: Problem, part: Part) -> Fitted:
    return door.fitted_on(problem, part, bins=config.bins, harmonics=config.harmonics, log=config.log)


def experiment_on(config: Config, problem: Problem, part: Part, fitted: Fitted | None = None) -> Experiment:
    """Learn from `part.train`, evaluate on `part.held` if there is any."""
    problem = seen(problem, part)
    fitted = fitted or fitted_on(config, problem, part)
    train, held = (fitted.lesson(take(problem.table, rows), problem.price[rows]) for rows in part)
    held_out = lambda: Evaluation(source=Arrays(columns=held, batch=EVALUATED_TOGETHER), final=True)  # noqa: E731
    return Experiment(
        task=task(config, fitted),
        fitted=fitted,
        optimizer=optimizer.make(config.optimizer, config.steps),
        train=Arrays(columns=train, batch=config.batch, seed=config.seed, name=problem.name),
        evaluations={"held": held_out()} if len(part.held) else {},
    )


def early_on(config: Config, problem: Problem, part: Part, fitted: Fitted | None = None) -> Experiment:
    """`experiment_on` rows by which one may choose the best step."""
    experiment = experiment_on(config, problem, part, fitted)
    return replace(experiment, evaluations={"valid": replace(experiment.evaluations["held"], final=False)})


def experiment(config: Config, fitted: Fitted | None = None) -> Experiment:
    """The model that `deeplearn predict` uses."""
    problem = load(config.data)
    return experiment_on(config, problem, parts(problem, config.data)[1], fitted)


def prices(trained: Trained, table: Table) -> Float[np.ndarray, "N 3"]:
    """Prices with the ends of the model's own interval, which is not calibrated."""
    found = trained.predict(trained.fitted.features(table), batch=EVALUATED_TOGETHER)
    return np.column_stack([found[:, 0], found[:, 1:].min(1), found[:, 1:].max(1)]).astype(np.float64)


def banded(trained: Trained, before: list[Trained], table: Table) -> Float[np.ndarray, "N 3"]:
    """Price, low and high end, NaN where rows were too few.

    The ends are promised where the models from `before`, which have not seen the rows that calibrate them, make them.
    The margin of windows of time on the model itself is a heuristic: time promises nothing.
    """
    found, kept, least = prices(trained, table), trained.asset("conformal.json"), trained.fitted.scale.least
    if not kept["scores"]:
        return conformal.calibrated(found, kept["margin"], least)
    others = np.stack([prices(one, table) for one in before])  # [K, N, 3]
    scores = [np.array(own) for own in kept["scores"]]
    ends = conformal.crossed(others[..., 1], others[..., 2], scores, trained.config.coverage)
    return conformal.bounded(found[:, 0], *ends, least)


def main(config: Config, work: Workspace) -> dict[str, Any]:
    """Calibrate with models that have not seen the calibration rows, then train the final one on all but the test.

    The calibration rows also say how long to learn: for as many epochs, on average, as were best for them.

    With folds, each fold is tested with the margin that the other folds give, an estimate of what new rows will see,
    and the final model is not tested.
    """
    problem = load(config.data)
    calibration, final = parts(problem, config.data)
    early = config.early and not config.data.folds and config.steps > 1 and not config.best
    looks = dict(best="valid/loss", eval_every=max(1, config.steps // LOOKS), patience=config.patience or PATIENCE)
    looking = replace(config, **looks) if early else config
    build = partial(early_on if early else experiment_on, looking, problem)
    models = [work.fit(partial(build, part), looking, f"calibration-{i}")[0] for i, part in enumerate(calibration)]
    held = [take(seen(problem, part).table, part.held) for part in calibration]
    found = [prices(model, table) for model, table in zip(models, held, strict=True)]
    scores = [
        conformal.excess(problem.price[part.held], band[:, 1], band[:, 2])
        for part, band in zip(calibration, found, strict=True)
    ]
    steps = door.as_long([model.step for model in models], calibration, final, config.steps)
    last = replace(config, steps=steps, patience=None) if early else config
    model, _ = work.fit(partial(experiment_on, last, problem, final), last)
    margin, least = conformal.correction(scores, config.coverage), model.fitted.scale.least
    promised = margin is not None and not door.by_time(problem, config.data)
    work.keep({"conformal.json": {"margin": margin, "scores": [own.tolist() for own in scores if promised]}})
    if not config.data.folds:
        held = [take(seen(problem, final).table, final.held)]
        tests, bands = [final], [banded(model, models, held[0])]
    else:
        margins = [conformal.correction(scores[:i] + scores[i + 1 :], config.coverage) for i in range(len(scores))]
        tests = calibration
        bands = [conformal.calibrated(band, margin, least) for band, margin in zip(found, margins, strict=True)]
    judge = models[0] if config.data.folds else model
    price = lambda table: prices(judge, table)[:, 0]  # noqa: E731
    weights = importance(price, held[0], problem.price[tests[0].held], config.seed)
    rows, band = np.concatenate([part.held for part in tests]), np.concatenate(bands)
    work.keep({"held_out.json": door.shown(problem, rows, band), "importance.json": weights})
    copied = np.concatenate([copies(problem, part) for part in tests]).mean()
    found = scored(problem, rows, band[:, 0]) | conformal.judged(problem.price[rows], band) | {"copies": float(copied)}
    return {f"test/{name}": value for name, value in found.items()}


def scored(problem: Problem, rows: np.ndarray, price: np.ndarray) -> dict[str, Any]:
    """Errors of prices [M] predicted for these rows; those of one day are tied together."""
    days = None if problem.dates is None else problem.dates[rows]
    return regression_of(problem.price[rows], price, positive=problem.price.min() > 0, groups=days)


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """A price with its interval for every row of CSV files that have the columns of the training table."""
    fitted, kept = trained.fitted, trained.asset("conformal.json")
    reference, recipe = fitted.scale.reference, catalog.load(__file__)
    folders = [trained.folder / f"calibration-{i}" for i in range(len(kept["scores"]))]
    before = [of_fit(recipe, trained.config, folder) for folder in folders]
    if not before and kept["margin"] is not None:
        note("the intervals are those of earlier windows of time: for another time nothing is promised")

    def read(path: str) -> Table:
        table = read_like(path, fitted.schema, complete={reference})
        door.refuse_reference(table, reference, path)
        return table

    tables, found = attempted(expanded(inputs, TABLES), read)
    for path, table in tables:
        for sentence in unknown(fitted.encoding, table):
            note(f"{path}: {sentence}")
        band = banded(trained, before, table)
        names = ("price", "low", "high")
        found += [
            {"file": path, "row": i} | dict(zip(names, row, strict=True)) for i, row in enumerate(band.tolist(), 1)
        ]
    return found


def figures(trained: Trained, folder: Path) -> None:
    """Predicted against true, the price over the year, and which columns matter."""
    from deeplearn.record.figures import bars, curves, scatter

    shown = {name: np.array(values) for name, values in trained.asset("held_out.json").items()}
    weights = trained.asset("importance.json")
    ends = shown.get("low"), shown.get("high")
    scatter(
        shown["price"], shown["true"], folder / "figures" / "prices.svg", low=ends[0], high=ends[1], title="Tested rows"
    )
    most = sorted(weights, key=weights.__getitem__, reverse=True)[:12]
    bars(
        {name: weights[name] for name in most},
        folder / "figures" / "importance.svg",
        unit="rise of the mean absolute error when a column is shuffled",
    )
    if "day" in shown:
        days, day = np.unique(shown["day"], return_inverse=True)
        names = [name for name in ("price", "low", "high") if name in shown]
        daily = {name: np.bincount(day, shown[name]) / np.bincount(day) for name in ("true", *names)}
        dates = days.astype("M8[D]")
        series = {"true": (dates, daily["true"]), "predicted": (dates, *(daily[name] for name in names))}
        curves(series, folder / "figures" / "year.svg", x="day", y="mean price", title="Held-out days")


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """Boosted trees, support-vector machine, ridge: same columns and rows, settings searched for on an inner split."""
    problem = load(config.data, say=False)
    calibration, final = parts(problem, config.data)
    tests = calibration if config.data.folds else [final]
    trials = [competitors.judged(part) for part in (inner(tests[0]) if config.data.folds else calibration[:1])]
    # As the literature judges houses, and rooms.
    measure = "log_rmse" if config.data.folds and problem.price.min() > 0 else "mae"
    losses = ("squared_error",) if measure == "log_rmse" else competitors.LOSSES
    chosen, rows = (np.concatenate([part.held for part in own]) for own in (trials, tests))
    fits = {"logarithm": partial(fitted_on, config), "straight": partial(fitted_on, replace(config, log=False))}
    scales = competitors.posings(problem, fits, trials, tests)
    loss = lambda price: scored(problem, chosen, price)[measure]  # noqa: E731
    found = competitors.compared(scales, loss, losses, effort(config.steps))
    return {
        name: {f"test/{measure}": value for measure, value in scored(problem, rows, price).items()}
        for name, price in found.items()
    }


TAKES_FILES = True
PRESETS = {
    "hotels": Config(),
    "hotels-random": Config(data=Data(honest=False)),
    "ames": Config(
        data=Data(name="ames", folds=5),
        networks=4,
        members=4,
        wide=True,
        error="squared",
        width=256,
        dropout=0.2,
        batch=128,
        steps=1200,
        optimizer=Optimizer(rate=2e-3, decay=0.01, average=0.995),
    ),
    "synthetic-hotels": Config(data=Data(name="synthetic")),
    "ft-transformer": Config(
        model="ft-transformer",
        networks=1,
        width=64,
        depth=3,
        steps=400,
        early=False,
        optimizer=Optimizer(rate=2e-3, decay=0.01),
    ),
}
EXPECTED = {"test/mae": (20.1, 2.0), "test/coverage": (0.914, 0.03)}
"""A single seed within about three standard deviations of the mean of two."""
SMOKE = {"data.name": "ames", "networks": 2, "members": 2, "width": 16, "depth": 1, "bins": 4}

if __name__ == "__main__":
    run_file(__file__)
