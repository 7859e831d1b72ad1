"""Every experiment at its smallest: what the shared suite asks of each; the guide's stand for a reader's own."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from deeplearn import catalog
from deeplearn.experiment import Experiment, Recipe, Run

ROOT = Path(__file__).resolve().parent.parent
SHOWN = {
    re.search(r"deeplearn train (\w+\.py)", code).group(1): code
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-task.md").read_text(), re.DOTALL)
}
"""The files that docs/adding-a-task.md shows, by name."""
NAMES = [*catalog.names(), *SHOWN]
STEPS = 24
"""Enough for the loss to fall, with two logged windows on each side of a checkpoint half way."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    recipe: Recipe
    config: Run
    experiment: Experiment | None
    """None where nothing is trained."""


def with_knobs(config: Any, knobs: dict[str, Any]) -> Any:
    """Set knobs by their dotted names."""
    for name, value in knobs.items():
        outer, _, inner = name.partition(".")
        config = dataclasses.replace(
            config, **{outer: with_knobs(getattr(config, outer), {inner: value})} if inner else {outer: value}
        )
    return config


def small(name: str, folder: Path) -> Case:
    """An experiment with its `SMOKE` knobs; one that the guide shows is written to the folder."""
    if name in SHOWN:
        path = folder / name
        path.write_text(SHOWN[name])
        name = str(path)
    recipe = catalog.load(name)
    config = with_knobs(recipe.Config(), recipe.SMOKE)
    own = {"steps": STEPS, "log_every": STEPS // 4, "optimizer.warmup": 0, "mesh": "data=1"}
    config = with_knobs(config, own)
    experiment = recipe.experiment(config) if recipe.experiment else None
    return Case(name=name, recipe=recipe, config=config, experiment=experiment)
