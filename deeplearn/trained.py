"""From a run folder back to the model, without the data set: config (chosen), fitted (computed), variables (learnt)."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from deeplearn import catalog, files
from deeplearn.checkpoint import flat, read, shapes
from deeplearn.config import from_json
from deeplearn.data.source import Arrays
from deeplearn.errors import ConfigError, StorageError, UsageError
from deeplearn.evaluation import predict_all
from deeplearn.experiment import Recipe, Run
from deeplearn.record import fitfile, seal
from deeplearn.record.folder import SEAL
from deeplearn.task import Task, Variables


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model that can be used."""

    config: Any
    folder: Path
    """Of the fit: the run folder, or the folder of one seed."""
    variables: Variables
    """What was learnt; no parameters where nothing was trained."""
    fitted: Any = None
    """What was computed from the training part, as the experiment's `Fitted`."""
    task: Task | None = None
    """Where the experiment says how to build it from config and fitted."""
    step: int = 0
    """Updates after which this was learnt, with `--best` those up to the best; 0 where nothing was trained."""

    def predict(self, columns: Mapping[str, np.ndarray], batch: int = 256) -> PyTree:
        """What the task predicts for columns [N, ...], in their order: leaves [N, ...]."""
        assert self.task is not None, "an experiment that predicts defines task(config, fitted)"
        size = len(next(iter(columns.values())))
        source = Arrays(columns=columns, batch=min(batch, max(size, 1)))
        return predict_all(self.task, self.variables, source, spread=not self.config.exact)

    def asset(self, name: str) -> Any:
        """JSON values (.json), arrays by name (.npz), or else bytes. Raises StorageError where it is damaged."""
        return fitfile.read_asset(self.folder, name)


def recipe_of(folder: Path, *, trust: bool = False) -> tuple[Recipe, Run]:
    """The experiment and the config of a run folder.

    Raises:
        UsageError: the folder holds no run, or one of an experiment that does not come with the code, without `trust`.
        ConfigError: the config does not fit the experiment.
        StorageError: the folder has changed since the run ended.
    """
    head = head_of(folder)
    seal.check(folder)
    recipe = catalog.of_run(folder, head, trust=trust)
    # To begin again is said once, not each time that the run is looked at.
    return recipe, replace(from_json(recipe.Config, head["config"]), workdir=folder, restart=False)


def head_of(folder: Path) -> dict[str, Any]:
    """What config.json says. Raises UsageError where there is none, StorageError where it is damaged."""
    path = folder / "config.json"
    if not path.is_file() and not (folder / SEAL).is_file():
        raise UsageError(f"{folder} holds no run; give a folder that `deeplearn train` printed, or runs/latest.")
    try:
        head = files.read_json(path)
        if isinstance(head["experiment"], str) and isinstance(head["config"], dict):
            return head
        reason = "experiment or config are of another type"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    raise StorageError(f"{path} is damaged or missing ({reason}); restore it from a copy.")


def load(folder: Path, *, trust: bool = False) -> Trained:
    """The trained model of a run folder; of several seeds the first. Needs no data set.

    Raises:
        UsageError: the folder holds no run, or one without a checkpoint; see also `recipe_of`.
        StorageError: no checkpoint verifies, or something else in the folder is damaged.
    """
    return opened(*recipe_of(folder, trust=trust))


def refuse_unended(folder: Path) -> None:
    """Of a run that another one learns from, or is judged by.

    Raises:
        ConfigError: its training has not ended, so what it gives now it will not give again.
        StorageError: something in the folder is damaged.
    """
    if not seal.ended(folder):
        raise ConfigError(
            f"the training in {folder} has not ended, and its model may still change; let it end, "
            f"or go on with it: deeplearn resume {shlex.quote(str(folder))}"
        )


def opened(recipe: Recipe, config: Run) -> Trained:
    """The trained model of a run whose experiment and config are known already; see `load`."""
    return of_fit(recipe, config, home(config.workdir, config))


def home(folder: Path, config: Run) -> Path:
    """Where the model of a run lies: in the run folder, or in that of its first seed where seeds trained in turn."""
    own = folder / f"seed-{config.seed}"
    return own if config.seeds > 1 and own.is_dir() else folder


def of_fit(recipe: Recipe, config: Run, folder: Path) -> Trained:
    """The model in the folder of one fit."""
    if not (folder / fitfile.NAME).exists() and (folder / "result.json").is_file():
        return Trained(config=config, folder=folder, variables={"params": {}})  # A finished run that trains nothing.
    fitted = fitted_in(recipe, folder)
    return restored(config, folder, fitted, recipe.task(config, fitted) if recipe.task else None)


def fitted_in(recipe: Recipe, folder: Path) -> Any:
    """What was fitted for the fit in a folder; None where nothing was."""
    stored = fitfile.read(folder)["fitted"]
    return from_json(recipe.Fitted, stored) if recipe.Fitted and stored is not None else None


def restored(config: Run, folder: Path, fitted: Any, task: Task | None) -> Trained:
    """The newest checkpoint of the fit in a folder, as the model of a task where that is known.

    Raises:
        UsageError: there is no checkpoint yet.
        StorageError: no checkpoint verifies, or it is not of this model.
    """
    wanted = _shapes(task, fitfile.read(folder)["inputs"]) if task else None
    found = read(folder / "checkpoints", wanted, seeds=config.seeds)
    if found is None:
        raise UsageError(
            f"{folder} has no checkpoint yet; let its training finish, or go on with it: deeplearn resume {folder}"
        )
    learnt, step = variables_of(found[1]), int(np.ravel(found[1]["step"])[0])
    return Trained(config=config, folder=folder, variables=learnt, fitted=fitted, task=task, step=step)


def _shapes(task: Task, inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, jax.ShapeDtypeStruct]:
    """Path -> shape of the variables that a task makes of such columns."""
    batch = {name: jax.ShapeDtypeStruct((2, *column["shape"]), column["dtype"]) for name, column in inputs.items()}
    made = jax.eval_shape(task.init, jax.random.key(0), batch)
    return flat({"params": made["params"], "extra": {name: part for name, part in made.items() if name != "params"}})


def variables_of(arrays: Mapping[str, jax.Array]) -> Variables:
    """The variables that evaluation uses, from a checkpoint's path -> array."""
    if arrays["step"].ndim:  # Several seeds that trained together: the first.
        arrays = {name: leaf[0] for name, leaf in arrays.items()}
    tree: dict[str, Any] = {}
    for name, leaf in arrays.items():
        if name.startswith(("params/", "extra/")):
            _insert(tree, name.removeprefix("extra/"), leaf)
    return tree


def parameters_in(folder: Path) -> int:
    """Trained numbers of the model in the folder of one fit; its checkpoint is not read."""
    found = shapes(folder / "checkpoints")
    together = len(found["step"])  # Several seeds that trained together have one more axis in front.
    return sum(math.prod(shape[together:]) for name, shape in found.items() if name.startswith("params/"))


def _insert(tree: dict[str, Any], name: str, leaf: jax.Array) -> None:
    *parents, last = name.split("/")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = leaf
