"""From a run folder back to the model, without the data set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from deeplearn import catalog
from deeplearn.checkpoint import Store
from deeplearn.config import from_json
from deeplearn.errors import UsageError
from deeplearn.experiment import Run
from deeplearn.task import Variables


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished run, for prediction and pictures."""

    config: Any
    folder: Path
    variables: Variables


def load_module(folder: Path) -> tuple[ModuleType, Run, str]:
    """The experiment's module, config and name of a run folder.

    Raises:
        UsageError: the folder holds no run.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no run; give a folder that `deeplearn train` printed, or runs/latest.")
    head = json.loads((folder / "config.json").read_text())
    module = catalog.load(head["experiment"])
    config = from_json(module.Config, head["config"])
    return module, replace(config, workdir=folder), head["experiment"]


def load(folder: Path) -> Trained:
    """The trained model of a run folder; of several seeds the first. Needs no data set.

    Raises:
        UsageError: the folder holds no run, or one without a checkpoint.
        StorageError: no checkpoint verifies.
    """
    _, config, _ = load_module(folder)
    place = folder if (folder / "checkpoints").is_dir() else folder / f"seed-{config.seed}"
    with Store(place / "checkpoints") as store:
        found = store.arrays()
    if found is None:
        raise UsageError(
            f"{folder} has no checkpoint yet; let its training finish, or resume it with --workdir {folder}."
        )
    # A main of its own leaves each seed's assets beside its checkpoints.
    home = place if (place / "assets").is_dir() else folder
    return Trained(config=config, folder=home, variables=variables_of(found[1]))


def variables_of(arrays: Mapping[str, jax.Array]) -> Variables:
    """The variables that evaluation uses, from a checkpoint's path -> array; the averaged parameters where kept."""
    if arrays["step"].ndim:  # Several seeds that trained together: the first.
        arrays = {name: leaf[0] for name, leaf in arrays.items()}
    tree: dict[str, Any] = {}
    for name, leaf in arrays.items():
        if name.startswith(("params/", "extra/")):
            _insert(tree, name.removeprefix("extra/"), leaf)
    for name, leaf in arrays.items():
        if name.startswith("opt/") and "/average/" in name:
            _insert(tree, "params/" + name.partition("/average/")[2], leaf)
    return tree


def _insert(tree: dict[str, Any], name: str, leaf: jax.Array) -> None:
    *parents, last = name.split("/")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = leaf
