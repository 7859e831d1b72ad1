"""`deeplearn compare`: two runs side by side."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from deeplearn.flags import parse, screen_width


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Compare:
        first: Annotated[Path, tyro.conf.Positional]
        """Run folder."""
        second: Annotated[Path, tyro.conf.Positional]
        """Run folder that is compared with the first."""
        format: Literal["text", "json"] = "text"
        """Tables for people, or one JSON object."""

    form = parse(Compare, words, verb="compare", about="What differs between two runs: knobs and metrics.")
    from deeplearn.record.compare import compare, differences
    from deeplearn.record.reading import find_runs, load_run

    first, second = (load_run(find_runs([folder])[-1]) for folder in (form.first, form.second))
    if form.format == "json":
        print(json.dumps(differences(first, second), indent=1))
    else:
        print(compare(first, second, screen_width()))
