"""Where an experiment's own `main` trains and keeps things, and finds them again when its run is only read."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deeplearn import files
from deeplearn.beginning import data_of
from deeplearn.data.source import Arrays
from deeplearn.errors import StorageError
from deeplearn.evaluation import evaluate
from deeplearn.experiment import Experiment, Recipe, Run
from deeplearn.loop import fit
from deeplearn.metrics import Results
from deeplearn.parallel import mesh_here, placements, put
from deeplearn.record import fitfile
from deeplearn.record.folder import write_text
from deeplearn.step import variables
from deeplearn.trained import Trained, fitted_in, restored

DATA = "data.json"
"""Fingerprints of the data that `main` has looked at outside of fits."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The folder of one seed of a run. While `reading`, fits are restored and nothing in the folder changes."""

    recipe: Recipe
    folder: Path
    reading: bool = False
    other_data: bool = False
    """While reading: go on where the data are not those of the training."""
    final: bool = True
    """Evaluate also on what is to be looked at once only; a sweep, which chooses, does not."""

    def fit(self, build: Callable[[Any], Experiment], config: Run, name: str = "") -> tuple[Trained, Results]:
        """One model and the results of its evaluations: trained, or while reading restored and evaluated again.

        Args:
            build: fitted -> experiment. It gets None in training, and what the model was stored with in reading.
            name: folder of the fit below the run's; the one without a name is the model that predicts.

        Raises:
            ConfigError: the folder belongs to a fit with other knobs or other data.
        """
        folder = self.folder / name
        if self.reading:
            fitted = fitted_in(self.recipe, folder)
            experiment = build(fitted)
            stored = restored(config, folder, fitted, experiment.task)
            return stored, evaluate_stored(experiment, stored, config, other_data=self.other_data)
        folder.mkdir(parents=True, exist_ok=True)
        experiment = build(None) if self.final else unfinal(build(None))
        state, results = fit(experiment, config, folder)
        own = dict(variables=variables(state), fitted=experiment.fitted, task=experiment.task, step=int(state.step))
        return Trained(config=config, folder=folder, **own), results

    def keep(self, assets: Mapping[str, Any]) -> None:
        """Store what prediction or pictures need besides: file name -> JSON values, arrays by name (.npz), or bytes."""
        if not self.reading and jax.process_index() == 0:
            fitfile.write_assets(self.folder, assets)

    def data(self, name: str, columns: Mapping[str, np.ndarray]) -> None:
        """Note data that no fit sees, columns [N, ...], so that a run is never continued or judged on others.

        Raises:
            ConfigError: they are not what they were.
        """
        path = self.folder / DATA
        now = {name: Arrays(columns=columns, batch=1, name=name).fingerprint()}
        before = _stored(path)
        if not self.other_data:
            fitfile.refuse_other_data(self.folder, before, now)
        if not self.reading and jax.process_index() == 0:
            write_text(path, json.dumps(before | now, indent=1) + "\n")


def unfinal(experiment: Experiment) -> Experiment:
    """The experiment without the evaluations that are to be looked at once only."""
    kept = {name: evaluation for name, evaluation in experiment.evaluations.items() if not evaluation.final}
    return replace(experiment, evaluations=kept)


def _stored(path: Path) -> dict[str, Any]:
    """Fingerprints of a file that may not be there yet. Raises StorageError where it is damaged."""
    try:
        return dict(files.read_json(path)) if os.path.lexists(path) else {}
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{path} is damaged ({error}); restore it from a copy, or use a new --workdir.") from error


def evaluate_stored(experiment: Experiment, stored: Trained, config: Run, *, other_data: bool) -> Results:
    """The results of a stored model on all evaluations of an experiment that was built for it.

    Raises:
        ConfigError: the data are not those of the training, without `other_data`.
    """
    if not other_data:
        fitfile.refuse_other_data(stored.folder, fitfile.read(stored.folder)["data"], data_of(experiment))
    mesh = mesh_here(config.mesh)
    where = placements(stored.variables, mesh, experiment.rules)  # sliced as in training, or a large model has no room
    return evaluate(experiment, jax.tree.map(put, stored.variables, where), mesh)
