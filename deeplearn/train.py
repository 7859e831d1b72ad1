"""From an experiment to a run folder: seeds, competitor, pictures, result; and a finished run evaluated again."""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from deeplearn import catalog, files
from deeplearn.competitors.search import progress
from deeplearn.config import check, to_json
from deeplearn.dispatch import convolves
from deeplearn.errors import DeeplearnError, UsageError
from deeplearn.experiment import FREE, Experiment, Recipe, Run
from deeplearn.interrupt import promptly
from deeplearn.lock import locked
from deeplearn.loop import fit
from deeplearn.metrics import Drawn, Each, Named, Results
from deeplearn.record import fitfile, seal, sinks
from deeplearn.record.folder import Result, before, open_run, run_folder, withdraw, write_result
from deeplearn.record.reading import read_history, read_json
from deeplearn.record.statistics import Paired, interval, paired
from deeplearn.trained import Trained, fitted_in, head_of, home, of_fit, parameters_in, recipe_of
from deeplearn.workspace import Workspace, evaluate_stored


def train(recipe: Recipe, config: Run) -> Path:
    """Train all seeds, measure the competitor on the same split, draw, and write result.json; returns the run folder.

    Raises:
        ConfigError: the work folder belongs to a run with other knobs or data, or another training is at work there.
        UsageError: a sink's package is not installed.
    """
    check(config)
    sinks.refuse_missing(config.sinks)
    source = catalog.copied(recipe)
    folder = run_folder(config.workdir, recipe.name, source)
    with locked(folder):
        _train(recipe, replace(config, workdir=folder), folder, source)
    return folder


def _train(recipe: Recipe, config: Run, folder: Path, source: bytes | None) -> None:
    """`train` in a folder that is locked."""
    start = time.perf_counter()
    _refuse_other_knobs(config)
    spent = 0.0 if config.restart or jax.process_index() > 0 else _spent(folder)
    experiment = recipe.experiment(config) if recipe.main is None else None
    earlier = before(folder)
    open_run(folder, replace(config, workdir=None), recipe.name, source)  # A folder may be moved.
    _say(f"run folder: {folder}")
    try:
        found = _split(_results(recipe, config, folder, experiment))
    except DeeplearnError:
        # A command that trained nothing leaves no trace in the folder, new or old.
        if withdraw(folder, earlier):
            _say("nothing was trained, and the run folder is removed again")
        raise
    seconds = spent + time.perf_counter() - start
    if jax.process_index() > 0:
        return  # The first process draws, measures the competitor and writes.
    with promptly(f"after the training; to measure and write the rest: deeplearn resume {shlex.quote(str(folder))}"):
        _write(recipe, config, folder, found, seconds)


def _spent(folder: Path) -> float:
    """Seconds of the starts before: those of a result, or as far as the logs of the fits say."""
    result = read_json(folder / "result.json", []).get("seconds")
    logs = (path for path in files.below(folder) if path.name == "metrics.jsonl")
    spent = [history[-1]["seconds"] for log in logs if (history := read_history(log, []))]
    return max(float(result) if isinstance(result, int | float) else 0.0, sum(spent))


def _write(recipe: Recipe, config: Run, folder: Path, found: "_Found", seconds: float) -> None:
    """What follows the training: competitor, result, pictures and seal."""
    baseline, pairs = _competitors(recipe, config, found.each)
    place = home(folder, config)
    learnt = (place / fitfile.NAME).is_file()
    fitted = fitted_in(recipe, place) if learnt else None
    result = Result(
        experiment=recipe.name,
        config=to_json(replace(config, workdir=None)),
        metrics={key: float(np.mean(values)) for key, values in found.metrics.items()},
        baseline=baseline,
        paired=pairs,
        seeds={key: interval(values) for key, values in found.metrics.items()} if config.seeds > 1 else {},
        tables={key: np.mean(values, axis=0).tolist() for key, values in found.tables.items()},
        classes=list(found.classes or getattr(fitted, "classes", ())),
        steps=config.steps if learnt else 0,
        seconds=seconds,
        parameters=parameters_in(place) if learnt else 0,
    )
    write_result(folder, result)
    if recipe.figures is not None:  # Last: they may draw what the result holds, and cannot lose it.
        nothing = Trained(config=config, folder=place, variables={"params": {}})
        recipe.figures(of_fit(recipe, config, place) if learnt else nothing, folder)
    seal.write(folder)


def _results(recipe: Recipe, config: Run, folder: Path, experiment: Experiment | None) -> list[Results]:
    """The results of every seed."""
    if config.seeds == 1:
        return [_one(recipe, config, folder) if experiment is None else fit(experiment, config, folder)[1]]
    seeds = range(config.seed, config.seed + config.seeds)
    if experiment is not None and _together(experiment, config):
        _, results = fit(experiment, config, folder, seeds=seeds)
        return [{key: values[lane] for key, values in results.items()} for lane in range(config.seeds)]
    found = []
    for seed in seeds:
        own, place = replace(config, seed=seed, seeds=1), folder / f"seed-{seed}"
        _say(f"seed {seed} ({seed - config.seed + 1} of {config.seeds})")
        place.mkdir(parents=True, exist_ok=True)
        found.append(_one(recipe, own, place) if experiment is None else fit(recipe.experiment(own), own, place)[1])
    return found


def _one(recipe: Recipe, config: Run, folder: Path) -> Results:
    return dict(recipe.main(config, Workspace(recipe=recipe, folder=folder)))


def _together(experiment: Experiment, config: Run) -> bool:
    """Whether one vmapped program should train all seeds: where that is faster, or as the user says."""
    if config.together is not None:
        return config.together
    if config.parallel != "jit" or config.exact or not hasattr(experiment.train, "rows"):
        return False
    return not convolves(experiment)


class _Found(NamedTuple):
    """Results by name, each a list over seeds."""

    metrics: dict[str, list[float]]
    tables: dict[str, list[np.ndarray]]
    each: dict[str, list[Each] | list[Drawn]]
    classes: list[str]
    """Names of the rows and columns of the tables, where the results bring them."""


def _split(per_seed: Sequence[Results]) -> _Found:
    """Numbers, tables and values of single examples."""
    found = _Found({}, {}, {}, [])
    for results in per_seed:
        for key, value in results.items():
            if isinstance(value, Each | Drawn):
                found.each.setdefault(key, []).append(value)
            if isinstance(value, Each):
                continue
            if isinstance(value, Named):
                found.classes[:], value = value.classes, value.values
            value = value.value if isinstance(value, Drawn) else value
            if np.ndim(value) == 0:
                found.metrics.setdefault(key, []).append(float(value))
            else:
                found.tables.setdefault(key, []).append(np.asarray(value))
    return found


def _competitors(
    recipe: Recipe, config: Run, each: Mapping[str, Sequence[Each] | Sequence[Drawn]]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Paired]]]:
    """Competitor -> its metrics, and how they differ from ours example by example where both say so."""
    if recipe.baseline is None:
        return {}, {}
    _say("measuring the competitor on the same split")
    metrics, pairs = {}, {}
    try:
        measured = recipe.baseline(config)
    finally:
        progress("")  # What a competitor last said of its progress is over, also where it failed.
    for name, own in measured.items():
        metrics[name] = {key: values[0] for key, values in _split([own]).metrics.items()}
        pairs[name] = {key: paired(each[key], own[key]) for key in own if key in each}
    return metrics, {name: own for name, own in pairs.items() if own}


def _refuse_other_knobs(config: Run) -> None:
    """Before anything is loaded; every fit compares again, with the data, too."""
    if config.workdir is not None and (config.workdir / "config.json").is_file():
        before = head_of(config.workdir)["config"]
        fitfile.refuse_other_knobs(config.workdir, before, to_json(config), FREE)


def evaluate_again(folder: Path, *, other_data: bool = False, trust: bool = False) -> Results:
    """All evaluations of a run folder's newest checkpoint, of several seeds the first; needs the data set.

    Nothing in the folder changes.

    Raises:
        UsageError: the run is not finished, where an experiment with its own `main` would go on training.
        ConfigError: the data are not those of the training, without `other_data`.
    """
    recipe, config = recipe_of(folder, trust=trust)
    place = home(folder, config)
    if recipe.main is not None:
        if not (folder / "result.json").is_file():
            raise UsageError(
                f"{folder} is not finished; run deeplearn train {recipe.name} --workdir {folder} again first."
            )
        work = Workspace(recipe=recipe, folder=place, reading=True, other_data=other_data)
        results = recipe.main(replace(config, seeds=1), work)
    else:
        stored = of_fit(recipe, config, place)
        experiment = recipe.experiment(config) if recipe.Fitted is None else recipe.experiment(config, stored.fitted)
        results = evaluate_stored(experiment, stored, config, other_data=other_data)
    return dict(sorted((key, values[0]) for key, values in _split([results]).metrics.items()))


def _say(message: str) -> None:
    if jax.process_index() == 0:
        print(message, file=sys.stderr, flush=True)
