"""Where metrics may go besides metrics.jsonl and TensorBoard: W&B and MLflow, behind extras, offline by default."""

import importlib.util
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from deeplearn import files
from deeplearn.config import flat
from deeplearn.errors import UsageError

Name = Literal["wandb", "mlflow"]
Sink = Callable[[int, Mapping[str, float]], None]


def refuse_missing(names: Iterable[Name]) -> None:
    """Raises UsageError for one whose package is not installed: before a run folder is made, not after."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{name} is not installed; pip install 'deeplearn[{name}]', or leave --sinks out.")


def sink(name: Name, folder: Path, stack: ExitStack) -> Sink:
    """What takes (step, values) of the run in that folder, until the stack is left.

    Raises:
        UsageError: the package is not installed.
    """
    refuse_missing([name])
    return {"wandb": _wandb, "mlflow": _mlflow}[name](folder.resolve(), stack)


def _wandb(folder: Path, stack: ExitStack) -> Sink:
    """Into folder/wandb; `wandb sync` sends it later, or at once with WANDB_MODE=online."""
    import wandb

    run = wandb.init(
        dir=folder,
        project=os.environ.get("WANDB_PROJECT", "deeplearn"),
        id=folder.name,  # so that a resumed run goes on
        name=folder.name,
        resume="allow",
        mode="online" if os.environ.get("WANDB_MODE") == "online" else "offline",
        config=_knobs(folder),
        settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True),
    )
    stack.callback(run.finish)
    return lambda step, values: run.log(dict(values), step=step)


def _mlflow(folder: Path, stack: ExitStack) -> Sink:
    """Into MLFLOW_TRACKING_URI, by default the file store mlruns beside the run folder."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.entities import Metric, RunTag
    from mlflow.tracking import MlflowClient

    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or (folder.parent / "mlruns").as_uri())
    known = client.get_experiment_by_name("deeplearn")
    experiment = known.experiment_id if known else client.create_experiment("deeplearn")
    before = client.search_runs([experiment], f"tags.folder = '{folder.name}'")
    run = before[0] if before else client.create_run(experiment, tags={"folder": folder.name}, run_name=folder.name)
    number = run.info.run_id
    if not before:
        client.log_batch(number, tags=[RunTag(f"knob.{name}", str(value)) for name, value in _knobs(folder).items()])
    stack.callback(client.set_terminated, number)

    def write(step: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        client.log_batch(number, metrics=[Metric(_name(name), value, now, step) for name, value in values.items()])

    return write


def _name(metric: str) -> str:
    """The metric in the letters that MLflow takes."""
    return "".join(sign if sign.isalnum() or sign in "_-. /" else "_" for sign in metric)


def _knobs(folder: Path) -> dict[str, Any]:
    """Those of the run folder, or of the run above the folder of one seed."""
    for place in (folder, folder.parent):
        if (place / "config.json").is_file():
            return flat(files.read_json(place / "config.json")["config"])
    return {}
