"""A functional deep-learning research codebase in JAX: one pure training step, one loop, one file per experiment.

    from deeplearn import Arrays, Evaluation, Experiment, Mean, Run, fit, linen

The names below are the public ones. Each is imported when it is first asked for, so `import deeplearn` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplearn.data.source import Arrays, Records, Source
    from deeplearn.errors import ConfigError, DataError, DeeplearnError, NumericalError, StorageError, UsageError
    from deeplearn.evaluation import evaluate, predict_all
    from deeplearn.experiment import Evaluation, Experiment, Recipe, Run
    from deeplearn.loop import fit
    from deeplearn.metrics import R2, Calibration, Contingency, Correlation, Each, Mean, Metric, Root
    from deeplearn.optimizer import Optimizer, make
    from deeplearn.step import State, eval_step, train_step, variables
    from deeplearn.task import Output, Task, linen, warm
    from deeplearn.trained import Trained, load
    from deeplearn.workspace import Workspace

PLACES = {
    "data.source": ("Arrays", "Records", "Source"),
    "errors": ("ConfigError", "DataError", "DeeplearnError", "NumericalError", "StorageError", "UsageError"),
    "evaluation": ("evaluate", "predict_all"),
    "experiment": ("Evaluation", "Experiment", "Recipe", "Run"),
    "loop": ("fit",),
    "metrics": ("R2", "Calibration", "Contingency", "Correlation", "Each", "Mean", "Metric", "Root"),
    "optimizer": ("Optimizer", "make"),
    "step": ("State", "eval_step", "train_step", "variables"),
    "task": ("Output", "Task", "linen", "warm"),
    "trained": ("Trained", "load"),
    "workspace": ("Workspace",),
}
"""Module -> its public names."""
HOMES = {name: module for module, names in PLACES.items() for name in names}
__all__ = sorted(HOMES)


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(f"deeplearn.{HOMES[name]}"), name)
    raise AttributeError(f"module 'deeplearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
