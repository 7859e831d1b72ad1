"""The toy task as an experiment's file, for tests that start the command line on it (`tests` is then on PYTHONPATH)."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from toy import Net, columns, toy

from deeplearn.data.source import Arrays, Batch
from deeplearn.experiment import Experiment, Run
from deeplearn.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """Columns handed over batch by batch, each after a wait, so that a run lasts long enough to be stopped."""

    arrays: Arrays
    wait: float
    process_index: int = 0
    process_count: int = 1

    @property
    def batch(self) -> int:
        return self.arrays.batch

    @property
    def size(self) -> int:
        return self.arrays.size

    def at(self, step: int) -> Batch:
        time.sleep(self.wait)
        return self._slice().at(step)

    def once(self) -> Iterator[Batch]:
        return self._slice().once()

    def _slice(self) -> Arrays:
        return replace(self.arrays, process_index=self.process_index, process_count=self.process_count)

    def fingerprint(self) -> dict[str, Any]:
        return self.arrays.fingerprint()


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    width: int = 32
    """Units of the hidden layer."""
    wait: float = 0.0
    """Seconds that a batch takes to arrive."""
    rest: float = 0.0
    """Seconds that the competitor takes."""
    broken: bool = False
    """Let all measurements be NaN."""
    steps: int = 20
    batch: int = 32
    log_every: int = 10
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=1e-2, average=0.9))


def experiment(config: Config) -> Experiment:
    data = columns()
    if config.broken:
        data["x"][:] = np.nan
    made = toy(config, model=Net(width=config.width), data=data)
    assert isinstance(made.train, Arrays)
    return replace(made, train=Streamed(arrays=made.train, wait=config.wait)) if config.wait else made


def baseline(config: Config) -> dict[str, dict[str, float]]:
    time.sleep(config.rest)
    return {"coin": {"test/accuracy": 0.5}}
