"""Trials of one experiment that differ in some knobs, compared on validation data; the test set is not looked at.

A sweep is a folder:
    sweep.json      `Sweep`: what is varied, and how
    journal.jsonl   a line for each trial that is proposed ("knobs") and for its end ("metrics" or "failed")
    trial-000/ ...  an ordinary run folder each
    optuna.jsonl    what optuna's samplers remember
    report.html     see `record.trials`
Any number of processes may work on it, now or later. Proposals are made under the journal's lock; a trial is held by a
lock of its own, which the system takes back when its owner dies, and whoever comes next goes on where it stopped.
"""

import dataclasses
import itertools
import json
import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deeplearn import catalog, files, journal, lock, proposals
from deeplearn.best import of_validation, refuse_metric, refuse_undirected
from deeplearn.config import flat, from_json, is_whole, to_json
from deeplearn.errors import ConfigError, DeeplearnError, StorageError, UsageError, note
from deeplearn.experiment import Recipe, Run
from deeplearn.flags import merged
from deeplearn.journal import Trial, trials_of
from deeplearn.proposals import Sampler, Span, axis, ends
from deeplearn.record.folder import RESULT, write_text
from deeplearn.record.reading import load_run
from deeplearn.record.table import lower_is_better, rows
from deeplearn.record.trials import Tried, best_first, page, table
from deeplearn.train import train
from deeplearn.workspace import unfinal

SPEC = "sweep.json"
UNTRIED = {"seed", "seeds", "workdir", "restart", "choose"}
"""Knobs that are no choice: the best of many seeds is luck."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is varied, and how; stays as it was when the sweep is gone on with."""

    experiment: str
    config: dict[str, Any]
    """Knobs that all trials share, as `to_json`."""
    over: dict[str, str]
    """Dotted knob -> "1e-3,3e-3", values; or "1e-4..1e-2", a range, even in the logarithm if it begins above zero."""
    sampler: Sampler
    trials: int
    metric: str = ""
    """What is compared; empty: of the validation, what the experiment promises, else its loss, else its last metric."""


def plan(
    recipe: Recipe, config: Run, over: Sequence[str], *, trials: int | None, sampler: Sampler | None, metric: str
) -> Sweep:
    """A sweep as the command line says it.

    Raises:
        UsageError: a word of `over` is no KNOB=VALUES, a metric that is not one of the validation, a range in a grid.
        ConfigError: an unknown knob, or a value of the wrong type.
    """
    if metric and not of_validation(metric):
        raise UsageError(
            f"a sweep chooses, so it may not look at {metric}: leave --metric out, or give one of the validation."
        )
    if config.workdir is not None:
        raise UsageError("--workdir is the folder of one run: say where the sweep goes with --folder.")
    refuse_undirected(metric, "--metric")
    words = _said(over)
    hidden = "choose" in {field.name for field in dataclasses.fields(config)} and not vars(config)["choose"]
    config = merged(config, {"choose": True}) if hidden else config
    _refuse_blind(recipe, config, metric)
    sampler = sampler or ("grid" if trials is None else "random")
    base = replace(config, workdir=None, restart=False)
    known = {knob: axis(text, whole=is_whole(recipe.Config, knob)) for knob, text in words.items()}
    for values in itertools.product(*map(ends, known.values())):
        with_knobs(base, dict(zip(known, values, strict=True)))
    spans = [knob for knob, own in known.items() if isinstance(own, Span)]
    if sampler == "grid" and spans:
        raise UsageError(f"{spans[0]} is a range, of which a grid has no values: say how many to draw, --trials 20.")
    if sampler == "grid":
        whole = math.prod(len(own) for own in known.values() if not isinstance(own, Span))
        if trials not in (None, whole):
            raise UsageError(
                f"--trials {trials}: the grid has {whole}, all of them tried; give --sampler random, or none."
            )
        trials = whole
    if hidden:
        note("--choose: trials learn from the training part and are compared on the validation part")
    return Sweep(
        experiment=recipe.name,
        config=to_json(base),
        over=words,
        sampler=sampler,
        trials=20 if trials is None else trials,
        metric=metric,
    )


def _said(over: Sequence[str]) -> dict[str, str]:
    """Knob -> its values or range, as the words say. Raises UsageError, with how to say it."""
    words: dict[str, str] = {}
    for word in over:
        knob, _, text = word.partition("=")
        if not text:
            raise UsageError(f"--over {word}: give KNOB=VALUE,VALUE,... or KNOB=LOW..HIGH.")
        if knob in ("seed", "seeds"):
            raise UsageError(f"--over {knob}: the best of several seeds is luck; how far they scatter shows --seeds 3.")
        if knob in UNTRIED:
            raise UsageError(f"--over {knob}: no knob that trials may differ in; vary another.")
        if knob in words:
            raise UsageError(f"--over has {knob} twice; give all its values in one word.")
        words[knob] = text
    if not words:
        raise UsageError("say what to vary, such as --over optimizer.rate=1e-3,3e-3")
    return words


def _refuse_blind(recipe: Recipe, config: Run, metric: str) -> None:
    """Before the first trial. Raises ConfigError: its runs measure nothing on validation data, or not `metric`,
    or cannot choose a step as `--best` says."""
    if recipe.experiment is None and not metric:
        raise ConfigError(
            f"{recipe.name} measures nothing on validation data that is known before a trial: "
            "only if its main() returns such a value can it be swept, with --metric valid/NAME."
        )
    if recipe.experiment is None:
        return
    experiment = validating(recipe).experiment(config)
    if config.best:
        refuse_metric(experiment, config)
    splits = [split for split in experiment.evaluations if of_validation(split)]
    if not splits:
        raise ConfigError(f"{recipe.name} measures nothing on validation data, so there is nothing to choose by.")
    if metric and metric.rpartition("/")[0] not in splits:
        raise ConfigError(f"{recipe.name} does not measure {metric}; give --metric {splits[0]}/NAME, or none.")


def with_knobs(config: Run, knobs: Mapping[str, Any]) -> Run:
    """The config with dotted knobs set. Raises ConfigError: an unknown knob or a wrong value."""
    nested: dict[str, Any] = {}
    for knob, value in knobs.items():
        *outer, last = knob.split(".")
        place = nested
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    return merged(config, nested)


def begin(folder: Path, sweep: Sweep) -> None:
    """Write what is varied, or see that a sweep which is gone on with varies the same."""
    if (folder / SPEC).exists():
        if replace(read(folder), trials=sweep.trials) != sweep:
            raise ConfigError(
                f"{folder} holds another sweep; give the same knobs (--trials may grow), or a new --folder."
            )
        grow(folder, sweep.trials)
    elif folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds files that are no sweep; choose another --folder.")
    else:
        _write(folder, sweep)


def grow(folder: Path, trials: int) -> None:
    """Let a sweep have so many trials in all. Raises UsageError: it has more, or it is a grid and has all there are."""
    with journal.held(folder):
        known = read(folder)
        if trials > known.trials and known.sampler == "grid":
            raise UsageError(f"{folder} is a grid, which has {known.trials} trials and no more; begin a new sweep.")
        if trials < known.trials:
            raise UsageError(
                f"{folder} has {known.trials} trials, and --trials may only grow; give more, or leave it out."
            )
        _write(folder, replace(known, trials=trials))


def _write(folder: Path, sweep: Sweep) -> None:
    write_text(folder / SPEC, json.dumps(to_json(sweep), indent=1) + "\n")


def read(folder: Path) -> Sweep:
    """What a sweep's folder says. Raises StorageError where it is damaged."""
    try:
        return from_json(Sweep, files.read_json(folder / SPEC))
    except (OSError, ValueError, ConfigError) as error:
        raise StorageError(f"{folder / SPEC} is damaged ({error}); restore it, or begin a new sweep.") from error


def work(folder: Path) -> None:
    """Train trials until none is left that nobody works on. An end that is the knobs' fault is noted, and is no end."""
    sweep = read(folder)
    recipe = catalog.load(sweep.experiment)
    config = from_json(recipe.Config, sweep.config)
    journal.reopen(folder)
    while (claimed := _claim(folder, sweep, config)) is not None:
        trial, held = claimed
        note(f"{trial.name} of {sweep.trials}: {', '.join(f'{knob} {value}' for knob, value in trial.knobs.items())}")
        try:
            ended = _ended(recipe, with_knobs(config, trial.knobs), folder / trial.name)
            loss = _loss(sweep, recipe.EXPECTED, ended["metrics"]) if "metrics" in ended else None
            with journal.held(folder) as add:
                add({"trial": trial.number, **ended})
                proposals.told(folder, sweep.sampler, trial.number, config.seed, loss)
        finally:
            lock.release(folder / f"{trial.name}.lock", held)


def _ended(recipe: Recipe, config: Run, folder: Path) -> dict[str, Any]:
    """How a trial ended, as the journal has it."""
    try:
        train(validating(recipe), replace(config, workdir=folder))
    except (StorageError, UsageError):
        raise
    except Exception as error:  # such as a width that the memory has no room for
        reason = str(error) if isinstance(error, DeeplearnError) else f"{type(error).__name__}: {error}"
        note(f"{folder.name} failed: {reason}")
        return {"failed": reason.splitlines()[0][:1000] if reason else type(error).__name__}
    command = shlex.join(["deeplearn", "train", recipe.name, "--config", str(folder / "config.json")])
    write_text(folder / "command.txt", f"{command}\n")
    return {"metrics": files.read_json(folder / RESULT)["metrics"]}


def validating(recipe: Recipe) -> Recipe:
    """The experiment without test, competitor and pictures, which a choice may not see."""

    def experiment(*given: Any) -> Any:
        return unfinal(recipe.experiment(*given))

    def main(config: Any, work: Any) -> Mapping[str, Any]:
        found = recipe.main(config, replace(work, final=False))
        return {name: value for name, value in found.items() if of_validation(name)}

    return replace(
        recipe,
        experiment=recipe.experiment and experiment,
        main=recipe.main and main,
        baseline=None,
        figures=None,
    )


def chosen(sweep: Sweep, expected: Collection[str], metrics: Collection[str]) -> str:
    """The metric that trials are compared by.

    Raises:
        ConfigError: the experiment does not measure it.
    """
    known = [name for name in metrics if of_validation(name) and lower_is_better(name) is not None]
    if sweep.metric in known:
        return sweep.metric
    kinds = [name.rpartition("/")[2] for name in expected] + ["loss"]
    found = [name for kind in kinds for name in known if name.rpartition("/")[2] == kind] or known[-1:]
    if sweep.metric or not found:
        raise ConfigError(
            f"{sweep.experiment} does not measure {sweep.metric or 'its loss'} on validation data; "
            f"give --metric one of: {', '.join(sorted(known)) or 'there is none'}."
        )
    return found[0]


def _loss(sweep: Sweep, expected: Collection[str], metrics: Mapping[str, float | None]) -> float | None:
    """What a sampler makes small."""
    metric = chosen(sweep, expected, metrics)
    value = metrics[metric]
    return value if value is None or lower_is_better(metric) else -value


def told(folder: Path, width: int | None = None) -> str:
    """The table of the trials, the best first, and where the page with pictures was written.

    Raises:
        ConfigError: all trials failed.
    """
    sweep, known = read(folder), trials_of(folder)
    recipe = catalog.load(sweep.experiment)
    ended = [trial.metrics for trial in known if trial.metrics is not None]
    if not ended:
        reason = next((trial.failed for trial in known if trial.failed), "none has ended")
        raise ConfigError(f"no trial of {folder} has a result: {reason}")
    metric = chosen(sweep, recipe.EXPECTED, ended[0])
    tried = [_tried(folder, trial, metric) for trial in known]
    best = best_first(tried, metric)[0]
    words = ["deeplearn", "train", recipe.name, "--config", str(folder / best.name / "config.json")]
    command = shlex.join(words + ["--no-choose"] * ("choose" in flat(sweep.config)))
    page(tried, metric, f"Sweep of {Path(recipe.name).stem}", command, folder / "report.html")
    hint = f"page: {folder / 'report.html'}\nmeasure the best anew, on the test: {command}"
    return f"{table(tried, metric, width)}\n\n{hint}"


def _tried(folder: Path, trial: Trial, metric: str) -> Tried:
    """A trial as it is shown."""
    value = None
    if trial.metrics is not None and (folder / trial.name).is_dir():
        (row, *_) = rows([load_run(folder / trial.name)]) or [None]
        value = row.metrics.get(metric) if row is not None else None
    lost = f"no {metric} in {RESULT}" if value is None and not trial.open else ""
    return Tried(name=trial.name, knobs=trial.knobs, value=value, note=trial.failed or lost)


def _claim(folder: Path, sweep: Sweep, config: Run) -> tuple[Trial, int] | None:
    """A trial that nobody works on, and its lock: one that was stopped, or the next; None where there is none."""
    with journal.held(folder) as add:
        known = trials_of(folder)
        for trial in known:
            if trial.open and (held := lock.take(folder / f"{trial.name}.lock")) is not None:
                return trial, held
        if len(known) >= sweep.trials:
            return None
        number = max((trial.number for trial in known), default=-1) + 1
        axes = {knob: axis(text, whole=is_whole(type(config), knob)) for knob, text in sweep.over.items()}
        number, knobs = proposals.proposal(folder, sweep.sampler, axes, number, config.seed)
        held = lock.take(folder / f"trial-{number:03}.lock")
        assert held is not None, "a trial that nobody knows is held"
        add({"trial": number, "knobs": knobs})
        return Trial(number=number, knobs=knobs), held
