"""`deeplearn data`: public data sets by name."""

from dataclasses import dataclass
from typing import Annotated, Literal

from deeplearn.errors import UsageError
from deeplearn.flags import parse, screen_width


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Data:
        action: Annotated[Literal["list", "prepare"], tyro.conf.Positional]
        """What to do."""
        name: Annotated[str | None, tyro.conf.Positional] = None
        """Data set to prepare."""

    form = parse(
        Data, words, verb="data", about="Public data sets that experiments take by name, stored under TFDS_DATA_DIR."
    )
    from deeplearn.data import tfds

    if form.action == "list":
        print(tfds.listing(screen_width()))
    elif form.name is None:
        raise UsageError("deeplearn data prepare needs a name; deeplearn data list shows them.")
    else:
        print(tfds.prepare(form.name))
