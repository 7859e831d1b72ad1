"""Made-up run folders for the tests of reports."""

from dataclasses import dataclass
from pathlib import Path

from deeplearn.config import to_json
from deeplearn.record.folder import Result, open_run, write_result
from deeplearn.record.log import log_to
from deeplearn.record.statistics import interval


@dataclass(frozen=True, kw_only=True)
class Adam:
    rate: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    steps: int = 40
    seed: int = 0
    model: str = "cnn"
    workdir: Path | None = None
    optimizer: Adam = Adam()


BASELINE = {"RBF-SVM": {"test/accuracy": 0.9677}}


def make_run(
    folder: Path | None,
    config: Config,
    accuracy: float = 0.98,
    *,
    seeds: list[float] | None = None,
    experiment: str = "classification",
    finish: bool = True,
) -> Path:
    """A run that logged four steps and, where it finished, reached that accuracy (or those, with several seeds)."""
    folder = open_run(folder, config, experiment)
    with log_to(folder, config.steps, quiet=True) as log:
        log.start(0)
        for step in range(10, 50, 10):
            log.write(step, {"train/loss": 1 / step, "valid/accuracy": 1 - 1 / step})
    if finish:
        result = Result(
            experiment=experiment,
            config=to_json(config),
            metrics={"valid/accuracy": 0.99, "test/accuracy": accuracy, "test/loss": 0.07},
            baseline=BASELINE,
            seeds={"test/accuracy": interval(seeds)} if seeds else {},
            tables={"test/confusion": [[9, 1], [0, 10]], "test/bins": [0.5, 0.25]},
            classes=["cat & dog", "<b>"],
            steps=config.steps,
            seconds=12.0,
            parameters=1234,
        )
        write_result(folder, result)
    return folder
