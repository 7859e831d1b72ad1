"""`deeplearn compare`: two runs side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from deeplearn.flags import parse


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Compare:
        first: Annotated[Path, tyro.conf.Positional]
        """Run folder."""
        second: Annotated[Path, tyro.conf.Positional]
        """Run folder that is compared with the first."""

    form = parse(Compare, words, verb="compare", about="What differs between two runs: knobs and metrics.")
    from deeplearn.record.compare import compare
    from deeplearn.record.reading import find_runs, load_run

    first, second = (load_run(find_runs([folder])[-1]) for folder in (form.first, form.second))
    print(compare(first, second))
