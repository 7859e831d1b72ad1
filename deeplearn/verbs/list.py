"""`deeplearn list`: the experiments that come with the code."""

from dataclasses import dataclass

from deeplearn.flags import parse, screen_width, wrapped


def main(words: list[str]) -> None:
    @dataclass(frozen=True)
    class List:
        pass

    parse(List, words, verb="list", about="The experiments that come with the code.")
    width = screen_width()
    print(listing() if width is None else wrapped(listing(), width))  # A program that reads it has a line a name.


def listing() -> str:
    """Every experiment with what it is."""
    from deeplearn import catalog

    lines = [f"{name:14}  {catalog.summary(catalog.locate(name))}" for name in catalog.names()]
    return "\n".join(
        [*lines, "", "deeplearn train NAME --help shows the knobs; deeplearn train path/to/mine.py runs your own."]
    )
