"""From an experiment's file to a run folder (seeds, competitor, pictures, result), and back from it to the model."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from deeplearn.config import difference, to_json
from deeplearn.dispatch import convolves
from deeplearn.errors import ConfigError, UsageError
from deeplearn.evaluation import evaluate
from deeplearn.experiment import Experiment, Run
from deeplearn.fit import fit
from deeplearn.metrics import Each, Results
from deeplearn.parallel import make_mesh, replicated
from deeplearn.record.folder import Result, open_run, write_result, write_text
from deeplearn.record.statistics import Paired, interval, paired
from deeplearn.trained import load, load_module

FREE = {"steps", "seeds", "together", "log_every", "eval_every", "save_every", "keep", "parallel", "mesh", "workdir"}
"""Knobs that may differ when a run folder is resumed: they do not change the data or what the model is."""


def train(module: ModuleType, config: Run, name: str) -> Path:
    """Train all seeds, measure the competitor on the same split, draw, and write result.json; returns the run folder.

    Raises:
        ConfigError: the work folder belongs to a run with other knobs.
    """
    start = time.perf_counter()
    _refuse_other_knobs(config)
    experiment = module.experiment(config) if not hasattr(module, "main") else None
    fingerprint = experiment and experiment.train.fingerprint()
    _refuse_other_data(config, fingerprint)
    folder = open_run(config.workdir, config, name, fingerprint)
    _say(f"run folder: {folder}")
    found = _split(_results(module, config, folder, experiment))
    seconds = time.perf_counter() - start
    trained = load(folder)
    if jax.process_index() > 0:
        return folder  # The first process draws, measures the competitor and writes.
    baseline, pairs = _competitors(module, config, found.each)
    result = Result(
        experiment=name,
        config=to_json(config),
        metrics={key: float(np.mean(values)) for key, values in found.metrics.items()},
        baseline=baseline,
        paired=pairs,
        seeds={key: interval(values) for key, values in found.metrics.items()} if config.seeds > 1 else {},
        tables={key: np.mean(values, axis=0).tolist() for key, values in found.tables.items()},
        classes=_asset(folder, "classes.json", []),
        steps=config.steps,
        seconds=seconds,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(trained.variables["params"])),
    )
    write_result(folder, result)
    if hasattr(module, "figures"):  # Last: they may draw what the result holds, and cannot lose it.
        module.figures(trained, folder)
    return folder


def _results(module: ModuleType, config: Run, folder: Path, experiment: Experiment | None) -> list[Results]:
    """The results of every seed."""
    if experiment is not None:
        write_assets(folder, experiment.assets)
    if config.seeds == 1:
        return [module.main(config, folder) if experiment is None else fit(experiment, config, folder)[1]]
    seeds = range(config.seed, config.seed + config.seeds)
    if experiment is not None and _together(experiment, config):
        _, results = fit(experiment, config, folder, seeds=seeds)
        return [{key: values[lane] for key, values in results.items()} for lane in range(config.seeds)]
    found = []
    for seed in seeds:
        own, place = replace(config, seed=seed, seeds=1), folder / f"seed-{seed}"
        _say(f"seed {seed} ({seed - config.seed + 1} of {config.seeds})")
        place.mkdir(parents=True, exist_ok=True)
        found.append(module.main(own, place) if experiment is None else fit(module.experiment(own), own, place)[1])
    return found


def _together(experiment: Experiment, config: Run) -> bool:
    """Whether one vmapped program should train all seeds: where that is faster, or as the user says."""
    if config.together is not None:
        return config.together
    if config.parallel != "jit" or not hasattr(experiment.train, "rows"):
        return False
    return not convolves(experiment)


class _Found(NamedTuple):
    """Results by name, each a list over seeds."""

    metrics: dict[str, list[float]]
    tables: dict[str, list[np.ndarray]]
    each: dict[str, list[Each]]


def _split(per_seed: Sequence[Results]) -> _Found:
    """Numbers, tables and values of single examples."""
    found = _Found({}, {}, {})
    for results in per_seed:
        for key, value in results.items():
            if isinstance(value, Each):
                found.each.setdefault(key, []).append(value)
            elif np.ndim(value) == 0:
                found.metrics.setdefault(key, []).append(float(value))
            else:
                found.tables.setdefault(key, []).append(np.asarray(value))
    return found


def _competitors(
    module: ModuleType, config: Run, each: Mapping[str, Sequence[Each]]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Paired]]]:
    """Competitor -> its metrics, and how they differ from ours example by example where both say so."""
    if not hasattr(module, "baseline"):
        return {}, {}
    _say("measuring the competitor on the same split")
    metrics, pairs = {}, {}
    for name, own in module.baseline(config).items():
        metrics[name] = {key: value for key, value in own.items() if not isinstance(value, Each)}
        pairs[name] = {key: paired(each[key], own[key]) for key in own if key in each}
    return metrics, {name: own for name, own in pairs.items() if own}


def _refuse_other_knobs(config: Run) -> None:
    """A resumed folder with other knobs would mix two experiments."""
    stored = config.workdir / "config.json" if config.workdir else None
    if stored is None or not stored.is_file():
        return
    try:
        before = json.loads(stored.read_text())["config"]
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{stored} is damaged ({error}); restore it from a copy, or use a new --workdir.") from error
    odd = {key: pair for key, pair in difference(before, to_json(config)).items() if key.partition(".")[0] not in FREE}
    if odd:
        named = ", ".join(f"{key} was {old} and is now {new}" for key, (old, new) in list(odd.items())[:3])
        raise ConfigError(
            f"{config.workdir} holds a run with other knobs ({named}); give the same ones, or a new --workdir."
        )


def _refuse_other_data(config: Run, fingerprint: Mapping[str, Any] | None) -> None:
    """The knobs may be the same and the files behind them not."""
    stored = config.workdir / "env.json" if config.workdir else None
    if stored is None or not stored.is_file() or fingerprint is None:
        return
    before = json.loads(stored.read_text()).get("data")
    if before is not None and before != json.loads(json.dumps(fingerprint)):
        raise ConfigError(
            f"{config.workdir} was trained on other data ({before} then, {fingerprint} now); use a new --workdir."
        )


def write_assets(folder: Path, assets: Mapping[str, Any]) -> None:
    """What prediction needs without the data set: bytes as they are, everything else as JSON."""
    if jax.process_index() > 0:
        return
    for name, value in assets.items():
        path = folder / "assets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, bytes):
            path.write_bytes(value)
        else:
            write_text(path, json.dumps(value, indent=1) + "\n")


def _asset(folder: Path, name: str, default: Any) -> Any:
    path = folder / "assets" / name
    return json.loads(path.read_text()) if path.is_file() else default


def evaluate_again(folder: Path) -> Results:
    """All evaluations of a run folder's newest checkpoint, of several seeds the first; needs the data set.

    Raises:
        UsageError: the run is not finished, where an experiment with its own `main` would go on training.
    """
    module, config, name = load_module(folder)
    trained = load(folder)
    if hasattr(module, "main"):
        if not (folder / "result.json").is_file():
            raise UsageError(f"{folder} is not finished; run deeplearn train {name} --workdir {folder} again first.")
        results = module.main(replace(config, seeds=1), trained.folder)  # Its fits find nothing left to train.
    else:
        mesh = make_mesh(config.mesh)
        results = evaluate(module.experiment(config), jax.device_put(trained.variables, replicated(mesh)), mesh)
    return dict(sorted((key, values[0]) for key, values in _split([results]).metrics.items()))


def _say(message: str) -> None:
    if jax.process_index() == 0:
        print(message, file=sys.stderr, flush=True)
