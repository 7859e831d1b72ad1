"""A tiny experiment of every kind, whose runs take seconds: what `faults` does things to."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from deeplearn.checkpoint import read
from deeplearn.data.source import Arrays
from deeplearn.experiment import Evaluation, Experiment, Recipe, Run
from deeplearn.interrupt import promptly
from deeplearn.metrics import Mean
from deeplearn.optimizer import Optimizer, make
from deeplearn.record.reading import load_run
from deeplearn.task import Task, linen
from deeplearn.train import train
from deeplearn.trained import Trained, opened
from deeplearn.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Some hundred numbers that learn for sixty steps, with much going on between them."""

    steps: int = 60
    batch: int = 16
    log_every: int = 11
    eval_every: int | None = 25
    save_every: int | None = 7
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=1e-2, average=0.9))


@dataclass(frozen=True, kw_only=True)
class Fitted:
    mean: tuple[float, ...]


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dense(2)(nn.Dropout(0.1, deterministic=not train)(nn.relu(nn.Dense(16)(x))))


def points(part: int) -> dict[str, np.ndarray]:
    x = np.random.default_rng(part).normal(size=(96, 4)).astype(np.float32)
    return {"x": x, "label": (x[:, 0] * x[:, 1] > 0).astype(np.int32)}


def task(config: Config, fitted: Fitted) -> Task:
    def objective(logits: jax.Array, batch: Mapping[str, jax.Array]) -> tuple[Mean, dict[str, Mean]]:
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return Mean.of(loss, batch["mask"]), {"accuracy": Mean.of(logits.argmax(-1) == batch["label"], batch["mask"])}

    mean = jnp.asarray([fitted.mean], jnp.float32)
    return linen(Net(), objective, inputs=lambda batch: (batch["x"] - mean,), predict=lambda out, batch: out)


def experiment(config: Config, fitted: Fitted | None = None, part: int = 0) -> Experiment:
    """Each part has its own examples."""
    columns = points(part)
    fitted = fitted or Fitted(mean=tuple(columns["x"].mean(0).tolist()))
    return Experiment(
        task=task(config, fitted),
        fitted=fitted,
        assets={"classes.json": ["no", "yes"]},
        optimizer=make(config.optimizer, config.steps),
        train=Arrays(columns=columns, batch=config.batch, seed=config.seed, name=f"points {part}"),
        evaluations={"test": Evaluation(source=Arrays(columns=points(99), batch=32))},
    )


def phases(config: Config, work: Workspace) -> dict[str, float]:
    """A fit whose outcome is kept, and the one that predicts."""
    first, before = work.fit(lambda fitted: experiment(config, fitted, 1), config, "first")
    work.keep({"first.json": {"weight": float(jax.tree.leaves(first.variables["params"])[0].sum())}})
    _, results = work.fit(lambda fitted: experiment(config, fitted), config)
    return results | {"test/before": before["test/accuracy"]}


def folds(config: Config, work: Workspace) -> dict[str, float]:
    """Three fits that are averaged, and the one that predicts."""
    found = [
        work.fit(lambda fitted, part=part: experiment(config, fitted, part), config, f"fold-{part}")[1]["test/loss"]
        for part in (1, 2, 3)
    ]
    _, results = work.fit(lambda fitted: experiment(config, fitted), config)
    return results | {"test/folds": float(np.mean(found))}


def baseline(config: Config) -> dict[str, dict[str, float]]:
    return {"always the same": {"test/accuracy": float(points(99)["label"].mean())}}


def predicted(trained: Trained) -> list[Any]:
    """What a user would get: names and numbers."""
    logits = trained.predict({"x": points(99)["x"]})
    names = trained.asset("classes.json")
    return [[names[int(row.argmax())], [float(value) for value in row]] for row in np.asarray(logits)]


RECIPE = Recipe(
    name="victim", path=Path(__file__), about="", Config=Config, Fitted=Fitted, task=task, baseline=baseline
)
KINDS: dict[str, tuple[Recipe, Config]] = {
    "one fit": (replace(RECIPE, experiment=experiment), Config()),
    "seeds together": (replace(RECIPE, experiment=experiment), Config(seeds=2, together=True)),
    "seeds in turn": (replace(RECIPE, experiment=experiment), Config(seeds=2, together=False)),
    "two phases": (replace(RECIPE, main=phases), Config()),
    "folds": (replace(RECIPE, main=folds), Config(steps=30)),
}


def run(kind: str, folder: Path, **knobs: Any) -> None:
    """Train to the end, or go on."""
    recipe, config = KINDS[kind]
    with promptly("before or after the training"):
        train(recipe, replace(config, workdir=folder, **knobs))


def use(kind: str, folder: Path) -> list[Any]:
    """Load and predict, as `deeplearn predict` does."""
    from deeplearn.config import from_json
    from deeplearn.record import seal
    from deeplearn.trained import head_of

    recipe, _ = KINDS[kind]
    head = head_of(folder)
    seal.check(folder)
    return predicted(opened(recipe, replace(from_json(Config, head["config"]), workdir=folder)))


def digest(kind: str, folder: Path) -> dict[str, Any]:
    """All that has to be the same however often the run was stopped: every bit learnt, measured, logged, predicted."""
    found: dict[str, Any] = {"predicted": use(kind, folder)}
    for place in sorted(path.parent for path in folder.rglob("checkpoints")):
        step, arrays = read(place / "checkpoints", seeds=KINDS[kind][1].seeds)
        state = hashlib.sha256(b"".join(np.asarray(arrays[name]).tobytes() for name in sorted(arrays))).hexdigest()
        found[str(place.relative_to(folder))] = {"step": step, "state": state}
    for log in sorted(folder.rglob("metrics.jsonl")):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        found[str(log.relative_to(folder))] = [{**line, "seconds": 0} for line in lines]
    result = load_run(folder).result
    assert result is not None
    seeds = {name: vars(values) for name, values in result.seeds.items()}
    return found | {"metrics": result.metrics, "baseline": result.baseline, "seeds": seeds}
