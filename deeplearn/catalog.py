"""Experiments are found as files: by name in `experiments/`, or by path."""

import ast
import difflib
import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from deeplearn.errors import StorageError, UsageError

if TYPE_CHECKING:
    from deeplearn.experiment import Recipe

HOME = Path(__file__).resolve().parent
PLACES = (HOME.parent / "experiments", HOME / "experiments")
"""Beside the package in a checkout, inside it when installed from a wheel."""
COPY = "experiment.py"
"""Name of the copy that a run folder keeps of an experiment of the user's own."""


def home(package: str) -> str:
    """The name to import `benchmarks` by: beside the package in a checkout, inside it when installed from a wheel."""
    return package if (HOME.parent / package).is_dir() and not (HOME / package).is_dir() else f"deeplearn.{package}"


def names() -> list[str]:
    """The experiments that come with the code."""
    return sorted({path.stem for place in PLACES for path in place.glob("[!_]*.py")})


def locate(name: str) -> Path:
    """The file of an experiment given by name or by path.

    Raises:
        UsageError: there is none; suggests the nearest name.
    """
    if name.endswith(".py"):
        if not (path := Path(name)).is_file():
            raise UsageError(
                f"there is no file {name}; give the path of an experiment's file or one of: {', '.join(names())}."
            )
        return path.resolve()
    for place in PLACES:
        if (path := place / f"{name}.py").is_file():
            return path
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names())}."
    raise UsageError(f"there is no experiment {name!r}; {hint}")


def load(name: str) -> "Recipe":
    """What an experiment's file defines, read once.

    Raises:
        UsageError: there is no such file, it defines too little, or a name that is nearly one of the contract's.
    """
    path = locate(name)
    return _recipe(path.stem if path.parent in PLACES else str(path), path, _imported(path))


def of_run(folder: Path, head: Mapping[str, Any], *, trust: bool) -> "Recipe":
    """The experiment of a run folder: one that comes with the code, or, only if it is trusted, the folder's own copy.

    Args:
        head: what config.json says; of an own experiment its "source" is the sha256 of the copy.

    Raises:
        UsageError: the experiment is neither known nor trusted.
        StorageError: the copy is missing or has changed.
    """
    name = head["experiment"]
    if name in names():
        return load(name)
    copy = folder / COPY
    if not trust:
        raise UsageError(
            f"{folder} is a run of {name}, which does not come with this code; read {copy}, which would be executed, "
            "and add --trust if you trust it."
        )
    if copy.is_symlink() or not copy.is_file() or _sha256(copy) != head.get("source"):
        raise StorageError(f"{copy} is missing or not the file that the run was trained with; restore it.")
    print(f"running the experiment in {copy} (sha256 {head['source'][:16]})", file=sys.stderr)
    return _recipe(name, copy, _imported(copy.resolve()))


def copied(recipe: "Recipe") -> bytes | None:
    """The file of an experiment that does not come with the code, to be kept in its run folder."""
    return None if recipe.name in names() else recipe.path.read_bytes()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _imported(path: Path) -> ModuleType:
    known = f"experiments.{path.stem}" if path.parent in PLACES else f"own_experiments.{path.stem}"
    if known in sys.modules and getattr(sys.modules[known], "__file__", None) == str(path):
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module  # Dataclasses look their own module up.
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[known]
        raise
    return module


def _recipe(name: str, path: Path, module: ModuleType) -> "Recipe":
    from dataclasses import fields

    from deeplearn.experiment import Recipe

    contract = [field.name for field in fields(Recipe) if field.name not in ("name", "path", "about")]
    defined = vars(module)
    found = {own: defined[own] for own in contract if own in defined}
    missing = {own.casefold(): own for own in contract if own not in found}
    for own, value in defined.items():
        # What is imported has its name from elsewhere.
        ours = not isinstance(value, ModuleType) and getattr(value, "__module__", module.__name__) == module.__name__
        if own in contract or own.startswith("_") or not ours:
            continue
        if near := difflib.get_close_matches(own.casefold(), missing, n=1, cutoff=0.85):
            raise UsageError(f"{path} defines {own}; did you mean {missing[near[0]]}? Give it that or another name.")
    needed = (
        "Config" if "Config" not in found else "" if {"experiment", "main"} & found.keys() else "experiment or main"
    )
    if needed:
        raise UsageError(
            f"{path} does not define {needed}; see docs/adding-a-task.md for the contract of an experiment's file."
        )
    return Recipe(name=name, path=path, about=module.__doc__ or "", **found)


def summary(path: Path) -> str:
    """The first line of a file's docstring, without importing it."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
