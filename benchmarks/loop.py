"""Our whole training loop against the bare step, a plain Flax loop and a plain PyTorch DataLoader loop; seeds together.

deeplearn bench loop --quick
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import records
from .report import publish, ratio
from .step import environments
from .timing import Budget, Ratio, measure
from .worker import Worker

LOOPS: dict[str, dict[str, Any]] = {
    "ours": {"library": "ours", "seeds": 1, "mesh": ""},
    "ours, 8 seeds": {"library": "ours", "seeds": 8, "mesh": ""},
    "bare step": {"library": "steps_alone"},
    "flax example": {"library": "flax_example"},
    "torch DataLoader": {"library": "dataloader"},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train."""

    cases: tuple[str, ...] = ("mlp-small", "mlp", "lenet")
    """Models by name, as in the step benchmark."""
    steps: int = 1000
    """Steps in a sample of the MLP; the small one takes five times and others a twentieth of them."""
    quick: bool = False
    """Fewer and shorter samples."""
    output: Path = Path("runs/bench")
    """Folder for loop.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records."""
    header = records.begin("loop")
    rows: list[dict[str, Any]] = []
    for name in config.cases:
        print(f"bench loop: {name}", file=sys.stderr, flush=True)
        rows += _case(name, config)
    publish(records.write(config.output / "loop.jsonl", header, rows))


def _case(name: str, config: Config) -> Iterator[dict[str, Any]]:
    steps = config.steps // (10 if config.quick else 1)
    steps = {"mlp-small": 5 * steps, "mlp": steps}.get(name, max(steps // 20, 8))
    wanted = dict(LOOPS)
    if importlib.util.find_spec("torch") is None:
        del wanted["torch DataLoader"]
        yield {"case": {"missing": "no PyTorch: pip install torch adds its DataLoader loop."}}
    if "mlp" not in name:  # Convolutions of several seeds at once are no use on a CPU: the loop trains them one by one.
        del wanted["ours, 8 seeds"]
    environment = environments()
    with ExitStack() as stack:
        workers = {
            who: stack.enter_context(Worker({**job, "case": name}, environment["torch" if "torch" in who else "jax"]))
            for who, job in wanted.items()
        }
        samplers = {who: _of_steps(worker, steps) for who, worker in workers.items()}
        # Our own loop runs five times as many steps as it counts, so that the budget is a third of what it takes.
        budget = Budget(rounds=3 if config.quick else 9, fewest=5, seconds=40.0, warmup=0.0)
        times = measure(samplers, budget)
    for who, timing in times.items():
        against = {other: vars(Ratio.of(times[other], timing)) for other in times if other != who}
        yield {
            "case": {"name": name, "candidate": who},
            "seconds": timing.summary(),
            "samples": timing.samples,
            "steps": steps,
            "faster_than": against,
            "shown": {
                "model": name,
                "loop": who,
                "steps a second, best": f"{steps / timing.minimum:,.0f}",
                "median": f"{steps / timing.median:,.0f}",
                **{f"times {other}": f"{times[other].minimum / timing.minimum:.2f}" for other in times},
                "median of rounds, against bare step": ratio(against["bare step"]) if who != "bare step" else "",
            },
        }


def _of_steps(worker: Worker, steps: int) -> Any:
    """A sampler whose call is `steps` steps."""
    return lambda number, calls: worker.sample(number, calls * steps)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
