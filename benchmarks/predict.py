"""Examples a second of a trained model on random inputs: as `deeplearn predict` asks it, and in onnxruntime.

deeplearn bench predict runs/latest
"""

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn import runtime, trained
from deeplearn.errors import UsageError
from deeplearn.export import export
from deeplearn.record import fitfile

from . import records
from .report import publish, ratio
from .timing import Budget, Ratio, Sampler, measure, timed


@dataclass(frozen=True, kw_only=True)
class Config:
    """What predicts."""

    run: Path
    """Run folder whose inputs are all numbers, such as images."""
    examples: int = 10_000
    """At a time."""
    rounds: int = 8
    """Samples of each, in turns."""
    output: Path = Path("runs/bench")
    """Folder for predict.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records.

    Raises:
        UsageError: the folder holds no run that predicts.
    """
    header, rows = records.begin("predict"), []
    recipe, knobs = trained.recipe_of(config.run)
    model = trained.opened(recipe, knobs)
    columns = drawn(fitfile.read(model.folder)["inputs"], config.examples)
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: model.predict(columns)}
    try:
        calls["onnxruntime"] = _onnx(config.run, columns)
    except UsageError as error:
        rows.append({"case": {"missing": str(error)}})
    found = {who: np.asarray(call()) for who, call in calls.items()}
    budget = Budget(rounds=config.rounds, fewest=config.rounds, seconds=60.0)
    times = measure({who: _sampler(call) for who, call in calls.items()}, budget)
    for who, timing in times.items():
        against = None if who == "ours" else vars(Ratio.of(timing, times["ours"]))
        gap = float(np.abs(found[who] - found["ours"]).max())
        rows.append(
            {
                "case": {"experiment": recipe.name, "examples": config.examples, "candidate": who},
                "seconds": timing.summary(),
                "samples": timing.samples,
                "difference": gap,
                "ours_faster": against,
                "shown": {
                    "by": who,
                    "examples a second, best": f"{config.examples / timing.minimum:,.0f}",
                    "largest difference": f"{gap:.1e}",
                    "ours against it [95 %]": ratio(against) if against else "",
                },
            }
        )
    publish(records.write(config.output / "predict.jsonl", header, rows))


def drawn(inputs: dict[str, dict[str, Any]], size: int) -> dict[str, np.ndarray]:
    """Random columns [size, ...] of these shapes and types."""
    rng, found = np.random.default_rng(0), {}
    for name in inputs.keys() - {"index", "mask"}:  # every batch has these
        shape, dtype = (size, *inputs[name]["shape"]), np.dtype(inputs[name]["dtype"])
        whole = dtype.kind in "iu"
        found[name] = (rng.integers(0, 256 if dtype == np.uint8 else 2, shape) if whole else rng.random(shape)).astype(
            dtype
        )
    return found


def _onnx(run: Path, columns: dict[str, np.ndarray]) -> Callable[[], Any]:
    """The exported model, with as many threads as we have. Raises UsageError where it cannot be exported."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise UsageError("no onnxruntime: pip install onnxruntime adds it as a peer.")
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = export(run, Path(folder), ["cpu"], onnx=True)[-1]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = runtime.threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {own.name: columns[own.name] for own in session.get_inputs()}
    parts = range(0, len(next(iter(given.values()))), 256)  # as Trained.predict takes them

    def call() -> np.ndarray:
        return np.concatenate([session.run(None, {n: c[i : i + 256] for n, c in given.items()})[0] for i in parts])

    return call


def _sampler(call: Callable[[], Any]) -> Sampler:
    return timed(lambda number: call())


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
