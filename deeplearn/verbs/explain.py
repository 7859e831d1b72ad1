"""`deeplearn explain`: what a network of images looks at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from deeplearn.errors import UsageError
from deeplearn.flags import before_jax, parse


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Explain:
        run: Annotated[Path, tyro.conf.Positional]
        """Run folder of classification or hierarchy, or efficientnet-lite0, which knows ImageNet's 1000 classes."""
        inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
        """Pictures, folders of them, or patterns."""
        output: Path = Path("explain.html")
        """Where the page goes."""
        trust: bool = False
        """Run the experiment's file that lies in the folder; needed where it does not come with this code."""

    form = parse(
        Explain, words, verb="explain", about="What a network of images looks at: one self-contained HTML page."
    )
    if not form.inputs:
        raise UsageError("give at least one picture after the run folder.")
    before_jax()
    from deeplearn.explain import explain
    from deeplearn.files import refuse_unwritable

    refuse_unwritable(form.output.parent, "--output")
    print(explain(form.run, form.inputs, form.output, trust=form.trust))
