"""A small task for tests of the core: points of two classes, a LayerNorm MLP (every way of spreading agrees)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from deeplearn.data.source import Arrays
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.metrics import Contingency, Mean
from deeplearn.optimizer import Optimizer, make
from deeplearn.task import linen


class Net(nn.Module):
    width: int = 32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.LayerNorm()(nn.relu(nn.Dense(self.width)(x)))
        return nn.Dense(2)(x)


def objective(logits: jax.Array, batch: dict[str, jax.Array]) -> tuple[Mean, dict[str, Any]]:
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    hit = logits.argmax(-1) == batch["label"]
    table = Contingency.of(batch["label"], logits.argmax(-1), batch["mask"], shape=(2, 2))
    return Mean.of(loss, batch["mask"]), {"accuracy": Mean.of(hit, batch["mask"]), "confusion": table}


def columns(size: int = 256, seed: int = 0) -> dict[str, np.ndarray]:
    points = np.random.default_rng(seed).normal(size=(size, 8)).astype(np.float32)
    return {"x": points, "label": (points[:, 0] * points[:, 1] > 0).astype(np.int32)}


def toy(
    run: Run,
    *,
    model: nn.Module | None = None,
    data: dict[str, np.ndarray] | None = None,
    augment: Callable | None = None,
    score: Callable | None = None,
) -> Experiment:
    return Experiment(
        task=linen(model or Net(), objective, inputs=lambda batch: (batch["x"],), augment=augment),
        optimizer=make(run.optimizer, run.steps),
        train=Arrays(columns=columns() if data is None else data, batch=run.batch, seed=run.seed),
        evaluations={"test": Evaluation(source=Arrays(columns=columns(100, 1), batch=64), score=score)},
    )


RUN = Run(steps=12, batch=32, log_every=4, optimizer=Optimizer(rate=1e-2, average=0.9))
