"""The table of docs/scale.md: what a step costs on many chips, from the numbers below and nothing else.

python docs/scale.py    # the table in docs/scale.md anew
"""

import re
from dataclasses import dataclass
from pathlib import Path

CHIPS = (8, 64, 256, 1024)
PAGE = Path(__file__).with_suffix(".md")


@dataclass(frozen=True)
class Machine:
    """NVIDIA H100 SXM, by its data sheet, in hosts of eight with one 400 Gbit/s port each."""

    peak: float = 989e12
    """FLOPs a second, bfloat16, dense."""
    within: float = 450e9
    """Bytes a second that a chip sends to the others of its host, NVLink."""
    between: float = 50e9
    """Bytes a second that a chip sends to other hosts."""
    hop: float = 10e-6
    """Seconds from one chip to the next, software included."""
    host: int = 8
    """Chips of a host."""
    disk: float = 2e9
    """Bytes a second that a host writes to the shared disk."""


@dataclass(frozen=True)
class Job:
    """One training run; FLOPs are those of forward and backward."""

    name: str
    parameters: float
    flops: float
    """Of one example."""
    batch: int
    """Examples a step, over all chips."""
    efficiency: float
    """Share of the peak that a chip reaches on its own."""
    sliced: bool
    """Parameters over fsdp."""
    rate: float
    """Examples a second that a host prepares."""


# Efficiencies are assumed, in the range that is published for such models on such chips; measure your own.
JOBS = (
    # 2,000 JPEGs a second and host, assumed: some 30 a core and second at full size, on 64 cores.
    Job("ResNet-50, batch 8,192", 25.6e6, 20.0e9, 8192, 0.2, False, 2_000),
    Job("Transformer base, 1,024 pairs", 63.1e6, 2 * 3 * 63.1e6 * 32, 1024, 0.35, False, 100_000),
    Job("7 billion parameters, 4 M tokens", 7e9, 6 * 7e9 * 2048, 2048, 0.4, True, 100_000),
)
OVERLAP = 2 / 3
"""Of the compute, the backward pass, beside which gradients travel."""


def step(job: Job, chips: int, machine: Machine = Machine()) -> dict[str, float]:
    """Seconds of one step: compute, sums (what of them is waited for: exposed), input, all; and efficiency."""
    compute = job.batch * job.flops / (chips * machine.peak * job.efficiency)
    # A ring sends 2 (n - 1) / n of the gradient; slices are gathered twice and added once (Rajbhandari et al., 2020).
    turns = (3 if job.sliced else 2) * (chips - 1) / chips
    slowest = machine.within if chips <= machine.host else machine.between
    sums = turns * 4 * job.parameters / slowest + chips * machine.hop
    exposed = max(sums - OVERLAP * compute, 0.0)
    feed = job.batch / (max(chips // machine.host, 1) * job.rate)
    whole = max(compute + exposed, feed)
    times = {"compute": compute, "sums": sums, "exposed": exposed, "input": feed, "step": whole}
    return times | {"efficiency": compute / whole}


def checkpoint(job: Job, chips: int, machine: Machine = Machine()) -> float:
    """Seconds to write parameters and Adam's two moments, each host its part where they are sliced."""
    hosts = max(chips // machine.host, 1) if job.sliced else 1
    return 12 * job.parameters / (hosts * machine.disk)


def table() -> str:
    """The table as Markdown."""
    lines = [
        "| job | chips | compute, ms | sums, ms | waited for | input, ms | step, ms | efficiency | checkpoint, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for job in JOBS:
        for chips in CHIPS:
            found = step(job, chips)
            ms = [f"{1000 * found[key]:,.1f}" for key in ("compute", "sums", "exposed", "input", "step")]
            share = f"{found['efficiency']:.0%}".replace("%", " %")
            lines.append(f"| {job.name} | {chips:,} | {' | '.join(ms)} | {share} | {checkpoint(job, chips):,.1f} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with its table anew."""
    return re.sub(
        r"(<!-- table -->\n).*(<!-- end -->)", lambda found: f"{found[1]}{table()}\n{found[2]}", text, flags=re.S
    )


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
