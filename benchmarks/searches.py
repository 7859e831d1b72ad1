"""Our search of a trained Transformer as a worker of the decoding benchmark, and what its peers are told about it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn import trained
from deeplearn.data.text import END, PAD, load_tokenizer
from deeplearn.data.tokens import rows
from deeplearn.errors import ConfigError
from deeplearn.flags import merged
from deeplearn.methods.decode import allowed
from deeplearn.trained import Trained

Searcher = tuple[Callable[[int, int], None], dict[str, Any]]
"""What a worker runs, and its facts: `found`, the tokens of every translation."""


def model(run: Path, beams: int | None = None) -> Trained:
    """The model of a run, with so many beams.

    Raises:
        ConfigError: it is no Transformer that normalises before its sublayers.
    """
    recipe, config = trained.recipe_of(run)
    if recipe.name != "translation" or config.model != "transformer" or not config.prenorm:
        raise ConfigError(f"{run} is no Transformer that normalises before its sublayers; give a run of translation.")
    return trained.opened(recipe, merged(config, {"beams": beams or config.beams}))


def encoded(run: Path, lines: Sequence[str]) -> list[list[int]]:
    """Sentences as tokens with END, the shortest first; without those that the model has no room for."""
    own = model(run)
    found = [[*tokens, END] for tokens in load_tokenizer(own.fitted.tokenizer).encode(list(lines)) if tokens]
    return sorted((tokens for tokens in found if len(tokens) <= own.config.length), key=len)


def ours(job: Mapping[str, Any]) -> Searcher:
    """As `deeplearn predict` translates."""
    own = model(Path(job["run"]), job["beams"])
    sources = rows([tokens[:-1] for tokens in job["sources"]], own.config.length)
    each = [{"source": sources}] if job["batch"] > 1 else [{"source": sources[n : n + 1]} for n in range(len(sources))]

    def translate() -> list[list[int]]:
        parts = [np.asarray(own.predict(columns, batch=job["batch"]).tokens) for columns in each]
        return [[token for token in row if token not in (PAD, END)] for row in np.concatenate(parts).tolist()]

    return repeated(translate)


def limit(tokens: int, length: int) -> int:
    """Tokens of the longest translation of a source of so many, END included in both, as the experiment says."""
    return min(length, int(allowed(np.asarray(tokens))))


def repeated(translate: Callable[[], list[list[int]]]) -> Searcher:
    """A worker's run of what translates all sentences; the first time is for the facts, and warms up."""

    def run(number: int, calls: int) -> None:
        for _ in range(calls):
            translate()

    return run, {"found": translate()}
