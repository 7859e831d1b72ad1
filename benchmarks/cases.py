"""Training steps that are measured: a task of our own models, one fixed batch shape, and what counts as an item.

Rows are random; tokens hold neither padding nor sentence ends, so that every position is worked on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from deeplearn.losses import linear_cross_entropy
from deeplearn.metrics import Mean
from deeplearn.models.gnmt import GNMT
from deeplearn.models.lenet import LeNet
from deeplearn.models.mlp import MLP
from deeplearn.models.resnet import ResNet
from deeplearn.models.transformer import Transformer
from deeplearn.models.vit import ViT
from deeplearn.task import Batch, Task, linen

VOCABULARY = 8000
TOKENS = 64
RATE = 1e-3
"""Of AdamW, which every step here uses, in both libraries without clipping: twins must do the same work."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training step."""

    task: Task
    columns: Callable[[np.random.Generator], dict[str, np.ndarray]]
    """Draws one batch without `mask` and `index`."""
    batch: int
    """Rows."""
    items: int
    """What a step gets through: images, or source and target tokens."""
    item: str

    def draw(self, seed: int) -> dict[str, np.ndarray]:
        """A whole batch."""
        columns = self.columns(np.random.default_rng(seed))
        return columns | {"mask": np.ones(self.batch, np.float32), "index": np.arange(self.batch, dtype=np.int32)}


def optimizer() -> optax.GradientTransformation:
    return optax.adamw(RATE, weight_decay=1e-2)


def cases(batch: int | None = None) -> dict[str, Case]:
    """By name, with its own batch or this one; the first six are those that PyTorch twins exist for."""
    return {
        # A step of 0.4 MFLOP: what it takes is the time to ask for it.
        "mlp-small": images(MLP(10, hidden=(32, 32)), batch or 16, (8, 8, 1)),
        "mlp": images(MLP(10), batch or 128, (8, 8, 1)),
        "lenet": images(LeNet(10), batch or 128, (28, 28, 1)),
        "resnet18": images(ResNet(10, stages=(2, 2, 2, 2), stem="cifar"), batch or 32, (32, 32, 3)),
        "gnmt": sentences(GNMT(VOCABULARY, dropout=0.0), batch or 32),
        "transformer": sentences(Transformer(VOCABULARY, layers=2, dropout=0.0), batch or 32),
        "vit": images(ViT(10, width=192, depth=4, heads=3, patch=4), batch or 32, (32, 32, 3)),
        "resnet50": images(ResNet(1000, stages=(3, 4, 6, 3), bottleneck=True), batch or 8, (224, 224, 3)),
    }


def images(model: Any, batch: int, shape: tuple[int, ...]) -> Case:
    """Classification of images [B, H, W, C]."""
    classes = model.classes

    def objective(logits: jax.Array, rows: Batch) -> tuple[Mean, dict[str, Any]]:
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, rows["label"])
        return Mean.of(loss, rows["mask"]), {}

    def columns(rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {
            "image": rng.standard_normal((batch, *shape), np.float32),
            "label": rng.integers(0, classes, batch, np.int32),
        }

    task = linen(model, objective, inputs=lambda rows: (rows["image"],))
    return Case(task=task, columns=columns, batch=batch, items=batch, item="images")


def sentences(model: Any, batch: int) -> Case:
    """Translation of rows of tokens [B, T]."""

    def objective(outputs: tuple[jax.Array, jax.Array], rows: Batch) -> tuple[Mean, dict[str, Any]]:
        weight = jax.numpy.ones(rows["target"].shape, np.float32)
        loss = linear_cross_entropy(*outputs, rows["target"], weight)
        return Mean(total=loss.total, count=weight.sum()), {}

    def columns(rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {name: rng.integers(4, VOCABULARY, (batch, TOKENS), np.int32) for name in ("source", "target")}

    task = linen(model, objective, inputs=lambda rows: (rows["source"], rows["target"]))
    return Case(task=task, columns=columns, batch=batch, items=2 * batch * TOKENS, item="tokens")
