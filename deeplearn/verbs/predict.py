"""`deeplearn predict`: use a trained model."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from deeplearn.errors import UsageError
from deeplearn.flags import before_jax, parse


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Predict:
        run: Annotated[Path, tyro.conf.Positional]
        """Run folder, such as runs/latest."""
        inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
        """Files or texts, as the experiment takes them; - reads lines from standard input."""
        output: Path | None = None
        """Write the rows to this .csv, .json or .jsonl file instead of printing a table."""
        trust: bool = False
        """Run the experiment's file that lies in the folder; needed where it does not come with this code."""

    form = parse(
        Predict, words, verb="predict", about="Use a trained model on your own inputs; the data set is not needed."
    )
    if not form.inputs:
        raise UsageError("give at least one input after the run folder, or - to read lines from standard input.")
    before_jax()  # Before standard input is read: it may start this process again.
    lines = [i for word in form.inputs for i in (sys.stdin.read().splitlines() if word == "-" else [word])]
    if not lines:
        raise UsageError("standard input held no line; write one input a line into it.")
    from deeplearn import trained
    from deeplearn.record.predictions import show

    recipe, config = trained.recipe_of(form.run, trust=form.trust)
    if recipe.apply is None:
        raise UsageError(f"{recipe.name} has no apply(), so there is nothing to predict with.")
    show(recipe.apply(trained.opened(recipe, config), lines), form.output)
