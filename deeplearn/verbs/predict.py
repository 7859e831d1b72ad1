"""`deeplearn predict`: use a trained model."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from deeplearn.errors import DataError, UsageError
from deeplearn.flags import before_jax, parse
from deeplearn.record.predictions import ROWS, Format, columns_of, format_of, show


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Predict:
        run: Annotated[Path, tyro.conf.Positional]
        """Run folder, such as runs/latest."""
        inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
        """Files, folders, patterns or texts, as the experiment takes them; - reads lines from standard input."""
        output: str | None = None
        """Write the rows to this file (.csv, .json, .jsonl), or with - to standard output, instead of a table; what is
        made of one input, such as sound or a photograph, goes to a file of its kind (.wav, .png)."""
        picture: Path | None = None
        """Also draw what is predicted into this file (.svg or .png), where the experiment can."""
        format: Format | None = None
        """Of what is written; by default by the file's ending, a table on the screen, csv for -."""
        all: bool = False
        """Every fact, such as the probability of each class, a column each."""
        trust: bool = False
        """Run the experiment's file that lies in the folder; needed where it does not come with this code."""

    form = parse(
        Predict, words, verb="predict", about="Use a trained model on your own inputs; the data set is not needed."
    )
    if not form.inputs:
        raise UsageError("give at least one input after the run folder, or - to read lines from standard input.")
    product = form.format is None and form.output not in (None, "-") and Path(form.output).suffix not in ROWS
    format = "table" if product else format_of(form.output, form.format)
    before_jax()  # Before standard input is read: it may start this process again.
    given = [line for word in form.inputs for line in (_standard_input() if word == "-" else [word])]
    from deeplearn import trained
    from deeplearn.data.inputs import accepted
    from deeplearn.files import refuse_unwritable

    recipe, config = trained.recipe_of(form.run, trust=form.trust)
    if recipe.apply is None:
        raise UsageError(f"{recipe.name} has no apply(), so there is nothing to predict with.")
    if product and recipe.produce is None:
        format_of(form.output)  # Says which endings there are.
    if product and len(given) != 1:
        raise UsageError(f"--output {form.output} holds what is made of one input; leave it out for {len(given)}.")
    if form.picture is not None and recipe.draw is None:
        raise UsageError(f"{recipe.name} has no draw(), so there is no --picture of what it predicts.")
    if form.picture is not None and form.picture.suffix not in (".svg", ".png"):
        raise UsageError(f"--picture {form.picture}: the ending says no kind of picture; use .svg or .png.")
    for knob, path in (("--output", form.output), ("--picture", form.picture)):
        if path not in (None, "-"):
            refuse_unwritable(Path(path).parent, knob)
    model = trained.opened(recipe, config)
    found = [recipe.produce(model, given[0], Path(form.output))] if product else recipe.apply(model, given)
    errors = [row["error"] for row in found if row.get("error")]
    good = accepted(given, found)
    if recipe.draw is not None and good and (form.picture is not None or format == "table"):
        drawing = recipe.draw(model, good, form.picture)
        print(drawing, file=sys.stdout if format == "table" and form.output is None else sys.stderr)
    rows = [row for row in found if not row.get("error")]
    if rows or not errors:
        show(columns_of(rows, every=form.all), None if product else form.output, format)
    for error in errors[1:] if not rows else errors:
        print(f"deeplearn: {error}", file=sys.stderr)
    if errors:
        raise DataError(f"{len(errors)} input(s) could not be used; the others are done." if rows else errors[0])


def _standard_input() -> list[str]:
    from deeplearn.data.text import lines_of

    lines = lines_of(sys.stdin.buffer.read(), "standard input")
    if not lines:
        raise UsageError("standard input held no line; write one input a line into it.")
    return lines
