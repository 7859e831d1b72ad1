"""Which knobs the next trial of a sweep gets: a grid, at random, or as one of optuna's samplers suggests."""

import contextlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplearn.errors import UsageError

MEMORY = "optuna.jsonl"
"""What optuna's samplers remember of a sweep, in its folder."""
Sampler = Literal["grid", "random", "tpe", "cmaes"]
OPTUNA = {"tpe": "TPESampler", "cmaes": "CmaEsSampler"}
WORDS = {"True": True, "False": False, "None": None}
"""As tyro writes them."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A range to draw from."""

    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        return self.low > 0

    def at(self, share: float) -> float | int:
        """The number at a share from 0 to 1 of the way; four digits say enough of what is drawn."""
        if self.log:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return round(value) if self.whole else float(f"{value:.4g}")


Axis = tuple[Any, ...] | Span


def axis(text: str, *, whole: bool) -> Axis:
    """The values of a knob, or a range; of whole numbers where the knob takes no others.

    Raises:
        UsageError: a range that ends where it begins, or before; a value that is given twice.
    """
    low, dots, high = text.partition("..")
    with contextlib.suppress(ValueError):
        if dots and float(low) < float(high):
            return Span(low=float(low), high=float(high), whole=whole)
        if dots and float(low) >= float(high):
            raise UsageError(f"the range {text} does not end above where it begins; write LOW..HIGH.")
    try:
        values = json.loads(f"[{text}]")  # "[64,64],[128]" are two values
    except ValueError:
        values = [_word(word) for word in text.split(",")]
    values = [int(value) if whole and isinstance(value, float) and value == int(value) else value for value in values]
    if again := [value for place, value in enumerate(values) if value in values[:place]]:
        raise UsageError(f"{text} has {again[0]} twice, and a trial of the same knobs has the same result; leave one.")
    return tuple(values)


def _word(word: str) -> Any:
    if word in WORDS:
        return WORDS[word]
    for read in (json.loads, float):
        with contextlib.suppress(ValueError):
            return read(word)
    return word


def ends(own: Axis) -> tuple[Any, ...]:
    """All values, or the first and the last of a range."""
    return (own.at(0), own.at(1)) if isinstance(own, Span) else own


def proposal(
    folder: Path, sampler: Sampler, axes: Mapping[str, Axis], number: int, seed: int
) -> tuple[int, dict[str, Any]]:
    """(number, knobs) of the next trial; of a grid and at random a function of the number and the seed."""
    if sampler == "grid":
        values = next(itertools.islice(itertools.product(*map(ends, axes.values())), number, None))
        return number, dict(zip(axes, values, strict=True))
    if sampler == "random":
        rng = np.random.default_rng([seed, number])
        return number, {
            knob: own.at(rng.random()) if isinstance(own, Span) else own[rng.integers(len(own))]
            for knob, own in axes.items()
        }
    asked = _study(folder, sampler, number, seed).ask({knob: _distribution(own) for knob, own in axes.items()})
    found = asked.params
    return asked.number, {
        knob: found[knob] if isinstance(own, Span) else own[found[knob]] for knob, own in axes.items()
    }


def told(folder: Path, sampler: Sampler, number: int, seed: int, loss: float | None) -> None:
    """Let optuna know how a trial ended: with a loss, or None where it failed."""
    if sampler not in OPTUNA:
        return
    study = _study(folder, sampler, number, seed)
    if loss is None or not math.isfinite(loss):
        study.tell(number, state=_optuna().trial.TrialState.FAIL, skip_if_finished=True)
    else:
        study.tell(number, loss, skip_if_finished=True)


def _distribution(own: Axis) -> Any:
    kinds = _optuna().distributions
    if not isinstance(own, Span):
        return kinds.CategoricalDistribution(tuple(range(len(own))))
    if own.whole:
        return kinds.IntDistribution(round(own.low), round(own.high), log=own.log)
    return kinds.FloatDistribution(own.low, own.high, log=own.log)


def _study(folder: Path, sampler: Sampler, number: int, seed: int) -> Any:
    """optuna's study. Each call draws with another seed, so that no two processes draw alike."""
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    more = {"constant_liar": True} if sampler == "tpe" else {}  # trials under way count as bad ones
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / MEMORY))),
        sampler=getattr(optuna.samplers, OPTUNA[sampler])(seed=seed + number, **more),
        study_name="sweep",
        load_if_exists=True,
    )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError("optuna's samplers come with an extra: pip install 'deeplearn[sweep]'.") from error
    return optuna
