"""The loop that most PyTorch tutorials show: a DataLoader over tensors in memory, one step a batch."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from torch.utils.data import DataLoader, TensorDataset

from ..cases import cases
from ..loops import columns
from . import twin


def loop(job: Mapping[str, Any]) -> tuple[Callable[[int, int], None], dict[str, Any]]:
    """Shuffled batches in the main process, which for data in memory is faster than worker processes."""
    case = cases()[job["case"]]
    module = twin.build(job["case"], jax.jit(case.task.init)(jax.random.key(0), case.draw(0))["params"])
    data = twin.tensors(columns(case))
    loader = DataLoader(TensorDataset(*data.values()), batch_size=case.batch, shuffle=True, drop_last=True)
    step = twin.stepper(module, compile=False)

    def endless() -> Any:
        while True:
            yield from loader

    batches = endless()

    def run(number: int, calls: int) -> None:
        total = 0.0
        for count in range(calls):
            value = step(dict(zip(data, next(batches), strict=True)))
            if count % 100 == 99:
                total += value.item()

    return run, {}
