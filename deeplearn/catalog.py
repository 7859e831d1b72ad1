"""Experiments are found as files: by name in `experiments/`, or by path."""

import ast
import difflib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from deeplearn.errors import UsageError

HOME = Path(__file__).resolve().parent
PLACES = (HOME.parent / "experiments", HOME / "experiments")
"""Beside the package in a checkout, inside it when installed from a wheel."""


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


def load(name: str) -> ModuleType:
    """Import an experiment's file.

    Raises:
        UsageError: there is no such file, or it does not define `Config` and `experiment`.
    """
    path = locate(name)
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
    for needed in ("Config", "experiment"):
        if not hasattr(module, needed):
            raise UsageError(
                f"{path} does not define {needed}; see docs/adding-a-task.md for the contract of an experiment's file."
            )
    return module


def summary(path: Path) -> str:
    """The first line of a file's docstring, without importing it."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
