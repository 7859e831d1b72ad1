"""The points of `toy` with a validation part, and a test that must not be looked at: an experiment for sweeps."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from points import Config as Points
from points import Streamed
from toy import columns, toy

from deeplearn.data.source import Arrays, Batch
from deeplearn.errors import ConfigError
from deeplearn.experiment import Evaluation, Experiment
from deeplearn.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Config(Points):
    validated: bool = True
    """Have a validation part."""
    layers: tuple[int, ...] = (32,)
    """Widths, of which the first counts."""
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=1e-2))


class Sealed(Arrays):
    """Whoever reads it gives the secret away."""

    def once(self) -> Iterator[Batch]:
        raise AssertionError("the test was looked at")


def experiment(config: Config) -> Experiment:
    if config.width == 13:
        raise ConfigError("the width 13 brings bad luck; choose another.")
    made = toy(config)
    train, test = made.train, Evaluation(source=Sealed(columns=columns(50, 2), batch=50), final=True)
    assert isinstance(train, Arrays)
    evaluations = {"validation": made.evaluations["test"]} if config.validated else {}
    source = Streamed(arrays=train, wait=config.wait) if config.wait else train
    return replace(made, train=source, evaluations=evaluations | {"test": test})


EXPECTED = {"test/accuracy": (0.9, 0.1)}
