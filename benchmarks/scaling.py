"""Strong and weak scaling over devices and processes, and the share of a step that the all-reduce takes.

Every point is a group of new processes. Without accelerators the processor plays several devices: that shows that the
programs run and what communication costs them, not a speed-up, since all devices share its cores.

deeplearn bench scaling --quick
"""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax

from . import records
from .report import publish
from .timing import QUICK, Budget, Sampler, measure
from .worker import Worker


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to spread."""

    case: str = "mlp"
    """Model, as in the step benchmark."""
    devices: tuple[int, ...] = ()
    """Numbers of devices in one process; by default powers of two up to all (1 and 2 simulated ones on a processor)."""
    processes: tuple[int, ...] = (1, 2)
    """Numbers of processes with one device each on this host; accelerators are measured in one process."""
    batch: int = 256
    """Rows: of all devices together in strong scaling, of each in weak scaling."""
    quick: bool = False
    """Fewer rounds."""
    output: Path = Path("runs/bench")
    """Folder for scaling.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the tables, write the records."""
    header = records.begin("scaling")
    simulated = jax.default_backend() == "cpu"
    counts = config.devices or ((1, 2) if simulated else tuple(2**i for i in range(jax.device_count().bit_length())))
    rows: list[dict[str, Any]] = []
    for kind in ("strong", "weak"):
        rows += _points(kind, "devices", [(1, count) for count in counts], config, simulated)
        if simulated:
            rows += _points(kind, "processes", [(count, 1) for count in config.processes], config, simulated)
    publish(records.write(config.output / "scaling.jsonl", header, rows))


def _points(
    kind: Literal["strong", "weak"], over: str, points: list[tuple[int, int]], config: Config, simulated: bool
) -> Iterator[dict[str, Any]]:
    """Rows of one table, the (processes, devices in each) in turns."""
    print(f"bench scaling: {kind}, over {over}", file=sys.stderr, flush=True)
    with ExitStack() as stack:
        groups = {}
        for processes, devices in points:
            total = processes * devices
            batch = config.batch if kind == "strong" else config.batch * total
            groups[total] = [
                stack.enter_context(worker) for worker in _group(processes, devices, batch, config.case, simulated)
            ]
        samplers: dict[str, Sampler] = {}
        for total, group in groups.items():
            samplers |= {f"{total}": _together(group, 0), f"{total} apart": _together(group, 1)}
        times = measure(samplers, QUICK if config.quick else Budget(seconds=60))
    first = times[f"{min(groups)}"].minimum * min(groups)
    for total in groups:
        step, apart = times[f"{total}"], times[f"{total} apart"]
        ideal = first / total if kind == "strong" else first / min(groups)
        yield {
            "case": {"table": f"{kind} scaling over {over}, {config.case}", over: total},
            "seconds": step.summary(),
            "samples": step.samples,
            "without_reduction": apart.summary(),
            "shown": {
                over: f"{total}",
                "rows": f"{config.batch if kind == 'strong' else config.batch * total}",
                "ms a step, best": f"{step.minimum * 1e3:.3g}",
                "efficiency": f"{ideal / step.minimum:.0%}",
                "share of the all-reduce": f"{max(0.0, 1 - apart.minimum / step.minimum):.0%}",
            },
        }


def _group(processes: int, devices: int, batch: int, case: str, simulated: bool) -> list[Worker]:
    """Workers that train one model together."""
    environment = dict(os.environ)
    if simulated:
        flag = f"--xla_force_host_platform_device_count={devices}"
        environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    job = {"library": "spread", "case": case, "batch": batch, "devices": devices, "processes": processes}
    workers = [
        Worker({**job, "process": index, "address": address}, environment, wait=False) for index in range(processes)
    ]
    for worker in workers:  # They wait for each other, so none may be waited for before all have started.
        worker.wait()
    return workers


def _together(group: list[Worker], which: int) -> Sampler:
    """Seconds of the slowest process; `which` is 0 for the whole step, 1 for the one that does not add up gradients."""

    def sample(number: int, calls: int) -> float:
        for worker in group:
            worker.ask([number, calls, which])
        return max(worker.wait()["seconds"] for worker in group)

    return sample


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
