"""W&B and MLflow get the numbers that metrics.jsonl gets, with no network; a resumed run goes on in the same place."""

from pathlib import Path

import pytest

from deeplearn.errors import UsageError
from deeplearn.record.log import log_to
from deeplearn.record.sinks import _name, sink


def logged(folder: Path, name: str) -> None:
    for first in (0, 2):  # the second start goes on
        with log_to(folder, 4, quiet=True, sinks=(name,)) as log:
            log.start(first)
            for step in range(first + 1, first + 3):
                log.write(step, {"train/loss": 1 / step})


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_sink_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch, name):
    import sys

    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.entities", None)
    with pytest.raises(UsageError, match=rf"pip install 'deeplearn\[{name}\]'"):
        sink(name, tmp_path, None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_holds_the_same_numbers(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow is an extra")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged(tmp_path / "run", "mlflow")
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    [run] = client.search_runs([client.get_experiment_by_name("deeplearn").experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(entry.step, entry.value) for entry in history] == [(step, 1 / step) for step in range(1, 5)]
    assert run.info.status == "FINISHED"


@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is an extra")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    logged(tmp_path / "run", "wandb")
    stored = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(stored) == 2 and all(b"train/loss" in path.read_bytes() for path in stored)


def test_names_of_metrics_are_made_fit():
    assert _name("test/accuracy@5 (%)") == "test/accuracy_5 ___"
