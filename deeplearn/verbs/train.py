"""`deeplearn train`: an experiment by name or by the path of a file, with its knobs as flags."""

import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from deeplearn import catalog, processes
from deeplearn.errors import DataError, UsageError
from deeplearn.flags import before_jax, merged, option, parse, screen_width, wrapped

if TYPE_CHECKING:
    from deeplearn.experiment import Recipe, Run

USAGE = """\
usage: deeplearn train EXPERIMENT [--preset NAME] [--config FILE] [--dry-run]
                                  [--KNOB VALUE ...]

EXPERIMENT is one of the names below or the path of your own file; --help after it shows its knobs.
"""


def main(words: list[str]) -> None:
    """Parse, then train or plan."""
    if not words or words[0] in ("-h", "--help"):
        from deeplearn.verbs.list import listing

        print(wrapped(USAGE) + "\n" + wrapped(listing()))
        return
    name, words = words[0], words[1:]
    catalog.locate(name)  # A wrong name is told before anything heavy is imported.
    folder, _ = option(words, "--workdir")
    before_jax(None if folder is None or "--restart" in words else Path(folder))
    processes.join()
    recipe = catalog.load(name)
    preset, rest = option(words, "--preset")
    file, rest = option(rest, "--config")
    said = parse(
        form(recipe, default(recipe, preset, file)), rest, verb=f"train {name}", about=_about(recipe), pairs=True
    )
    if said.dry_run:
        from deeplearn.plan import plan

        print(plan(recipe, shortened(said.knobs)))
    else:
        run(recipe, said.knobs)


def run(recipe: "Recipe", config: "Run") -> None:
    """Train, then show the table of results."""
    from deeplearn.record.reading import load_run
    from deeplearn.record.table import table
    from deeplearn.train import train

    folder = train(recipe, shortened(config))
    if processes.first():
        print(table([load_run(folder)], "text", screen_width()))
        print(f"\nrun folder: {folder}\nlook at it: deeplearn report {shlex.quote(str(folder))}")


def shortened(config: "Run") -> "Run":
    """A warm-up that fits the run: a short trial of an experiment should not fail for a knob it did not set."""
    from deeplearn.optimizer import Optimizer

    longest = config.steps // 10
    for name, own in {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}.items():
        if isinstance(own, Optimizer) and own.warmup >= max(config.steps, 1):
            print(
                f"{name}: the warm-up of {own.warmup} steps is longer than the run: shortened to {longest}",
                file=sys.stderr,
            )
            config = dataclasses.replace(config, **{name: dataclasses.replace(own, warmup=longest)})
    return config


def default(recipe: "Recipe", preset: str | None, file: str | None) -> "Run":
    """The knobs before the flags: those of a preset, and over them those of a file."""
    import difflib

    if preset is not None and preset not in recipe.PRESETS:
        near = difflib.get_close_matches(preset, recipe.PRESETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(recipe.PRESETS) or 'none'}."
        raise UsageError(f"{recipe.name} has no preset {preset!r}; {hint}")
    config = recipe.Config() if preset is None else recipe.PRESETS[preset]
    return config if file is None else merged(config, _read(Path(file), recipe))


def _read(path: Path, recipe: "Recipe") -> dict[str, Any]:
    """Knobs in a file: a run's config.json, or JSON, TOML or YAML with some of them."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            import tomllib

            values = tomllib.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            values = _yaml(text)
        else:
            values = json.loads(text, object_pairs_hook=_once)
    except OSError as error:
        raise UsageError(
            f"cannot read {path} ({error.strerror}); give a config.json, or a .json, .toml or .yaml file."
        ) from error
    except Exception as error:  # each parser has errors of its own
        raise DataError(f"{path} is not what its name says ({' '.join(str(error).split())}); correct it.") from error
    if isinstance(values, dict) and {"experiment", "config"} <= values.keys():
        if Path(str(values["experiment"])).stem != Path(recipe.name).stem:  # one's own file may have been moved
            raise UsageError(f"{path} holds the knobs of {values['experiment']}, not of {recipe.name}.")
        values = {name: value for name, value in values["config"].items() if name != "workdir"}  # a new run
    if not isinstance(values, dict):
        raise DataError(f"{path} holds no knobs; write name and value pairs.")
    return values


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Names and values as an object. Raises ValueError: a name stands there twice; readers would take the last."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name} stands in it twice")
        found[name] = value
    return found


def _yaml(text: str) -> Any:
    """YAML as its version 1.2 reads numbers: to PyYAML, which stays with 1.1, 1e-3 is a text."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Its own table of what looks like a number; the library's is everybody's."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            """Names that the node itself has: those of a merged group (`<<`) may be given again."""
            _once((key.value, None) for key, _ in node.value)
            return super().construct_mapping(node, deep)

    number = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return yaml.load(text, Loader)


def form(recipe: "Recipe", start: "Run", more: Sequence[tuple[str, Any, Any]] = ()) -> type:
    """The experiment's knobs, and the options that every experiment has."""
    import tyro

    def text(help: str) -> Any:
        return tyro.conf.arg(help=help)

    presets = f"Start from the knobs of: {', '.join(recipe.PRESETS) or 'no preset here'}."
    return dataclasses.make_dataclass(
        "Train",
        [
            ("knobs", Annotated[recipe.Config, tyro.conf.arg(name="")], dataclasses.field(default=start)),
            ("preset", Annotated[str | None, text(presets)], None),
            ("config", Annotated[Path | None, text("Knobs from a file: a run's config.json, or .toml, .yaml.")], None),
            (
                "dry_run",
                Annotated[bool, text("Print knobs, parameters, FLOPs and memory; train nothing.")],
                False,
            ),
            ("debug", Annotated[bool, text("Show the traceback of an error.")], False),
            *more,
        ],
        frozen=True,
    )


def _about(recipe: "Recipe") -> str:
    """The file's docstring, and each preset with what it changes."""
    from deeplearn.config import changed, flat, to_json

    lines = []
    for name, preset in recipe.PRESETS.items():
        values = flat(to_json(preset))
        first = sorted(changed(preset), key=lambda knob: not knob.startswith(("data.", "model", "method")))
        own = ", ".join(f"{knob} {values[knob]}" for knob in first[:4] if knob in values)
        lines.append(f"  {name:20} {own or 'the default'}")
    return recipe.about + ("\npresets:\n" + "\n".join(lines) if lines else "")
