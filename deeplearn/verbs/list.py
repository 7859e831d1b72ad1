"""`deeplearn list`: the experiments that come with the code."""

from dataclasses import dataclass

from deeplearn.flags import parse


def main(words: list[str]) -> None:
    from deeplearn import catalog

    @dataclass(frozen=True)
    class List:
        pass

    parse(List, words, verb="list", about="The experiments that come with the code.")
    for name in catalog.names():
        print(f"{name:16} {catalog.summary(catalog.locate(name))}")
    print("\ndeeplearn train NAME --help shows the knobs; deeplearn train path/to/mine.py runs your own.")
