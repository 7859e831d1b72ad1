"""A case of `benchmarks.cases` in PyTorch: the twin, its weights from ours, its training step, proof of equality."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..cases import RATE, VOCABULARY, Case
from . import translation, vision

TWINS: dict[str, Callable[[], nn.Module]] = {
    "mlp-small": lambda: vision.MLP(width=32),
    "mlp": vision.MLP,
    "lenet": vision.LeNet,
    "resnet18": vision.ResNet18,
    "gnmt": lambda: translation.GNMT(VOCABULARY),
    "transformer": lambda: translation.Transformer(VOCABULARY),
}
RENAMED = (
    # Regex of a Flax path with dots -> PyTorch's name.
    (r"(^|\.)(batch|layer)(?=\.)", ""),
    (r"^(forward|backward)\.", r"\1_lstm."),
    (r"project\.kernel$", "inner.weight_ih_l0"),
    (r"recurrent$", "inner.weight_hh_l0"),
    (r"((?:_lstm|coder_\d+))\.bias$", r"\1.inner.bias_ih_l0"),
    (r"(kernel|scale)$", "weight"),
)


def build(name: str, params: Any) -> nn.Module:
    """The twin with our weights; images in channels-last memory, which oneDNN prefers as XLA does."""
    module = TWINS[name]()
    with torch.no_grad():
        own = dict(module.named_parameters())
        for key, value in translated(params, module).items():
            own[key].copy_(torch.from_numpy(value))
    return module.to(memory_format=torch.channels_last) if name in ("lenet", "resnet18") else module


def translated(tree: Any, module: nn.Module) -> dict[str, np.ndarray]:
    """Our parameters, or gradients, by PyTorch's names and in its layouts. KeyError if a name is not the twin's."""
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    result = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        for pattern, new in RENAMED:
            name = re.sub(pattern, new, name)
        result[name] = _layout(np.asarray(leaf), shapes[name], is_table=name == "embedding")
    return result


def _layout(leaf: np.ndarray, shape: tuple[int, ...], *, is_table: bool) -> np.ndarray:
    if len(shape) == 4:  # [H, W, in, out] -> [out, in, H, W]
        leaf = leaf.transpose(3, 2, 0, 1)
    elif len(shape) == 2 and not is_table:  # [in..., out...] -> [out, in]
        leaf = leaf.reshape(shape[1], shape[0]).T
    return np.ascontiguousarray(leaf.reshape(shape))


def tensors(columns: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """A batch as PyTorch wants it: images [B, C, H, W] in channels-last memory, labels and tokens as int64."""
    found = {name: torch.from_numpy(np.asarray(column)) for name, column in columns.items()}
    for name, value in found.items():
        found[name] = (
            value.permute(0, 3, 1, 2) if name == "image" else value.long() if not value.is_floating_point() else value
        )
    return found


def loss(module: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The mean cross-entropy that our objective has too."""
    if "image" in batch:
        return F.cross_entropy(module(batch["image"]), batch["label"])
    features, table = module(batch["source"], batch["target"])
    return F.cross_entropy(F.linear(features, table).flatten(0, 1), batch["target"].flatten())


def stepper(module: nn.Module, *, compile: bool) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
    """One training step with AdamW as in `cases.optimizer`, fused, which is PyTorch's fastest."""
    trained = [value for value in module.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=1e-2, fused=True)
    objective = torch.compile(loss) if compile else loss

    def step(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = objective(module, batch)
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def differences(name: str, case: Case, seed: int = 0) -> dict[str, float]:
    """How far loss and gradients of the twins are apart, with the same weights on the same batch.

    Returns:
        "loss": relative difference; then every parameter: difference of the gradients over the norm of the larger,
        where norms below 1e-6 of the largest gradient count as that (in front of a normalisation they are zero).
    """
    columns = case.draw(seed)
    variables = case.task.init(jax.random.key(seed), columns)
    # A scale of zero at the end of every residual block would hide the block: all scales get noise.
    noise = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf) + noise.normal(0, 0.05, leaf.shape).astype(np.float32), variables["params"]
    )
    rest = {key: value for key, value in variables.items() if key != "params"}

    def mean_loss(params: Any) -> jax.Array:
        out = case.task.loss({"params": params, **rest}, columns, jax.random.key(0), True)
        return out.loss.total / out.loss.count

    ours, gradient = jax.jit(jax.value_and_grad(mean_loss))(params)
    module = build(name, params)
    theirs = loss(module, tensors(columns))
    theirs.backward()
    found = {key: value.grad.numpy() for key, value in module.named_parameters() if value.requires_grad}
    expected = translated(gradient, module)
    floor = 1e-6 * max(np.linalg.norm(value) for value in expected.values())
    result = {"loss": abs(float(ours) - theirs.item()) / abs(float(ours))}
    for key, value in expected.items():
        size = max(np.linalg.norm(value), np.linalg.norm(found[key]), floor)
        result[key] = float(np.linalg.norm(value - found[key]) / size)
    return result
