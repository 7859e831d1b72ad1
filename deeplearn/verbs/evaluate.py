"""`deeplearn evaluate`: evaluate a run again."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from deeplearn.flags import before_jax, parse


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Evaluate:
        run: Annotated[Path, tyro.conf.Positional]
        """Run folder, such as runs/latest."""
        other_data: bool = False
        """Go on where the data are no longer those of the training; by default that is an error."""
        format: Literal["text", "json"] = "text"
        """Lines for people, or one JSON object."""
        trust: bool = False
        """Run the experiment's file that lies in the folder; needed where it does not come with this code."""

    form = parse(
        Evaluate, words, verb="evaluate", about="Evaluate a run folder's newest checkpoint on all its evaluations."
    )
    before_jax()
    from deeplearn import train, trained

    _, config = trained.recipe_of(form.run, trust=form.trust)
    results = train.evaluate_again(form.run, other_data=form.other_data, trust=form.trust)
    if form.format == "json":
        print(json.dumps({"run": str(form.run), "seed": config.seed, "metrics": results}, indent=1))
        return
    if config.seeds > 1:
        print(f"seed {config.seed}, the first of {config.seeds}", file=sys.stderr)
    for name, value in results.items():
        print(f"{name:32} {value:.6g}")
