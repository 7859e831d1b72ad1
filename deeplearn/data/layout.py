"""Which folders of the user's images are classes, and which are the parts of a split, whatever they are called."""

import re
from pathlib import Path

from deeplearn.data.inputs import hidden
from deeplearn.errors import DataError, note

SPLITS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing"},
}
"""What people call the folders of a split, in any case, alone or in `train_images`, `seg_test`, `testset`."""


def parts(root: Path, say: bool) -> dict[str, Path]:
    """The folders of the user's own split by what they are, or the root alone; what is left out is said.

    Raises:
        DataError: it is not clear which folder is which part.
    """
    places = _folders(root)
    named = {name: [place for place in places if _words(place.name) & known] for name, known in SPLITS.items()}
    found = {name: own[0] for name, own in named.items() if own}
    if len(found) < 2 or not any(_folders(place) for place in found.values()):
        inner = {tuple(one.name for one in _folders(place)) for place in places}
        if len(places) > 1 and len(inner) == 1 and len(alike := inner.pop()) > 1:
            raise DataError(
                f"{root} holds {' and '.join(place.name for place in places)}, and each of them {' and '.join(alike)}; "
                "if these are the classes, call the folders of the split train, val and test"
            )
        return {"": root}
    if twice := [own for own in named.values() if len(own) > 1]:
        raise DataError(f"{twice[0][0]} and {twice[0][1]} are both there; join them or take one away")
    if "train" not in found:
        raise DataError(f"{root} holds {' and '.join(place.name for place in found.values())}, but no train; add it")
    others = [place.name for place in places if place not in found.values()]
    if say and others:
        note(f"{root}: left out {', '.join(others)}, beside a split")
    made = [name for name in SPLITS if name not in found]
    if say and made:
        note(f"{root}: a fifth of {found['train'].name} is the {made[0]} part")
    return found


def _words(name: str) -> set[str]:
    return {word.removesuffix("set") for word in re.findall("[a-z]+", name.casefold())}


def _folders(root: Path) -> list[Path]:
    """The visible folders in a folder, sorted by name."""
    if root.is_file():
        raise DataError(f"{root} is a file; unpack it where it is an archive, and give the folder of the class folders")
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give one that holds a folder of images for each class")
    return sorted(place for place in root.iterdir() if place.is_dir() and not hidden(place.name))


def classes(root: Path) -> tuple[str, ...]:
    """The names of the class folders in a folder. Raises DataError where it holds fewer than two."""
    names = [place.name for place in _folders(root)]
    if len(names) < 2:
        found = f"one class only, {names[0]!r}" if names else "no class folders"
        if names and len(_folders(root / names[0])) > 1:
            raise DataError(f"{root} holds {found}, which holds folders itself; did you mean {root / names[0]}?")
        raise DataError(f"{root} holds {found}; put the images of each of two or more classes into {root}/CLASS/")
    return tuple(names)
