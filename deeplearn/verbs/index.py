"""`deeplearn index`: make, extend and search an index of pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from deeplearn.errors import UsageError
from deeplearn.flags import before_jax, bounded, parse
from deeplearn.knobs import Count


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Index:
        action: Annotated[Literal["build", "add", "query"], tyro.conf.Positional]
        """What to do."""
        inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
        """build: pictures or folders of them. add, query: the index, then pictures or folders."""
        model: str = "efficientnet-lite0"
        """build: a run of retrieval whose codes to use; by default a network that needs no training."""
        output: Path | None = None
        """build: the new index (FOLDER.index by default). query: a .csv, .json or .jsonl file instead of a table."""
        k: Count = 8
        """query: answers for each picture."""
        sheet: Path | None = None
        """query: draw every picture and its answers into this .svg or .png file."""
        trust: bool = False
        """Run the experiment's file that lies in the model's folder; needed where it does not come with this code."""

    form = parse(Index, words, verb="index", about="Find the pictures of a collection that are like a given one.")
    bounded(form)
    if len(form.inputs) < (1 if form.action == "build" else 2):
        raise UsageError("give pictures or folders of them; for add and query the index comes first.")
    before_jax()
    from deeplearn import index
    from deeplearn.record.predictions import show

    place, rest = Path(form.inputs[0]), form.inputs[1:]
    if form.action == "build":
        output = form.output or place.with_name(f"{place.resolve().name}.index")
        print(f"{output}: {index.build(form.inputs, form.model, output, trust=form.trust)} pictures")
    elif form.action == "add":
        print(f"{place}: {index.add(place, rest, trust=form.trust)} pictures")
    else:
        answers = index.query(place, rest, form.k, trust=form.trust)
        show([answer._asdict() for answer in answers], form.output)
        if form.sheet is not None:
            index.sheet(answers, form.sheet)
