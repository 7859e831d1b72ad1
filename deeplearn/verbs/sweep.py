"""`deeplearn sweep`: trials that differ in some knobs, compared on validation data."""

import dataclasses
import os
import secrets
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from deeplearn import catalog
from deeplearn.errors import ConfigError, UsageError
from deeplearn.flags import before_jax, option, parse, screen_width, wrapped

USAGE = """\
usage: deeplearn sweep EXPERIMENT --over KNOB=VALUE,VALUE KNOB=LOW..HIGH
                                  [--trials N] [--KNOB VALUE ...]
       deeplearn sweep FOLDER [--trials N] [--workers N]     go on with a sweep

  deeplearn sweep classification --over optimizer.rate=1e-3,3e-3 model.width=16,32 --steps 300 --seeds 3
  deeplearn sweep translation --over optimizer.rate=1e-4..1e-2 dropout=0.0..0.3 --trials 30 --sampler tpe

--help after the experiment shows every knob. Trials are compared on validation data; a test metric is refused.
"""


def main(words: list[str]) -> None:
    """Begin a sweep or go on with one, then show the table."""
    if not words or words[0] in ("-h", "--help"):
        print(wrapped(USAGE), end="")
        return
    known = (Path(words[0]) / "sweep.json").is_file()
    if not known:
        _refuse_folder(words[0])
        catalog.locate(words[0])  # A wrong name is told before anything heavy is imported.
    before_jax()
    from deeplearn import processes, sweep, workers

    if processes.several(os.environ):
        raise ConfigError("a sweep is trained by processes that do not know each other; start it without a launcher.")
    if known:
        form = _counted(parse(_options(), words[1:], verb="sweep FOLDER", about="Go on with a sweep."))
        folder = Path(words[0])
        if form.trials is not None:
            sweep.grow(folder, form.trials)
    else:
        form, folder, planned = _begun(words[0], words[1:])
        if form.dry_run:
            over = ", ".join(f"{knob}={text}" for knob, text in planned.over.items())
            print(f"{planned.trials} trials by {planned.sampler} over {over}; nothing was trained")
            return
    print(f"sweep: {folder}", file=sys.stderr)
    if form.cluster != "here":
        workers.submitted(folder, form.cluster, form.workers, form.job)
    elif form.workers > 1:
        workers.together(folder, form.workers)
    else:
        sweep.work(folder)
    print(sweep.told(folder, screen_width()))


def _refuse_folder(word: str) -> None:
    """Raises UsageError: what should be a sweep's folder, as no experiment has such a name, is none."""
    place = Path(word)
    if word not in catalog.names() and not word.endswith(".py") and (place.is_dir() or len(place.parts) > 1):
        what = "holds no sweep" if place.is_dir() else "does not exist"
        raise UsageError(f"{word} {what}; give the folder of one, which has a sweep.json, or an experiment to sweep.")


def _counted(form: Any) -> Any:
    """The options as they are. Raises UsageError: no worker, or no trial."""
    for name in ("workers", "trials"):
        if (number := getattr(form, name)) is not None and number < 1:
            raise UsageError(f"--{name} {number}: give at least 1.")
    return form


def _begun(name: str, words: list[str]) -> tuple[Any, Path, Any]:
    """The options, the folder and the plan of a sweep whose knobs the words say."""
    from deeplearn import sweep
    from deeplearn.proposals import Sampler
    from deeplearn.record.folder import root
    from deeplearn.verbs.train import default, shortened
    from deeplearn.verbs.train import form as knobs_of

    recipe = catalog.load(name)
    preset, rest = option(words, "--preset")
    file, rest = option(rest, "--config")
    own = [
        ("over", Annotated[tuple[str, ...], _text("What to vary: KNOB=VALUE,VALUE or KNOB=LOW..HIGH, repeated.")], ()),
        ("trials", Annotated[int | None, _text("How many to draw; by default all of the grid.")], None),
        ("sampler", Annotated[Sampler | None, _text("grid, random, or of optuna: tpe, cmaes.")], None),
        ("metric", Annotated[str, _text("Validation metric to choose by; by default as the experiment promises.")], ""),
        ("folder", Annotated[Path | None, _text("Folder of the sweep; one that was begun is gone on with.")], None),
        *_fields(),
    ]
    about = f"Trials of {recipe.name}, compared on validation data.\n\n{recipe.about}"
    start = knobs_of(recipe, default(recipe, preset, file), own)
    form = _counted(parse(start, rest, verb=f"sweep {name}", about=about, pairs=True))
    planned = sweep.plan(
        recipe, shortened(form.knobs), form.over, trials=form.trials, sampler=form.sampler, metric=form.metric
    )
    stamp = f"sweep-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    folder = form.folder or root() / Path(recipe.name).stem / stamp
    if not form.dry_run:
        sweep.begin(folder, planned)
    return form, folder, planned


def _text(help: str) -> Any:
    import tyro

    return tyro.conf.arg(help=help)


def _fields() -> list[tuple[str, Any, Any]]:
    """What says where trials are trained."""
    return [
        ("workers", Annotated[int, _text("Processes that train at once.")], 1),
        ("cluster", Annotated[Literal["here", "slurm", "local"], _text("slurm: a job a worker, by submitit.")], "here"),
        ("job", Annotated[tuple[str, ...], _text("For submitit, such as timeout_min=60 slurm_partition=gpu.")], ()),
    ]


def _options() -> type:
    trials = ("trials", Annotated[int | None, _text("How many there are in all, more than before.")], None)
    return dataclasses.make_dataclass("Sweep", [trials, *_fields()], frozen=True)
