"""A candidate in a process of its own, with its own settings: what must precede JAX can then differ within one
comparison, and idle threads of one library do not disturb another.

The parent speaks JSON lines: first a job, then `[first call, calls]`, each answered by the seconds these calls took.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deeplearn.errors import ConfigError


class Worker:
    """Starts `python -m benchmarks.worker` on a job; a context manager that ends it. `sample` is a timing.Sampler.

    Raises:
        ConfigError: the process ended; with the last line it said.
    """

    def __init__(self, job: Mapping[str, Any], environment: Mapping[str, str]):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(environment),
            cwd=Path(__file__).parent.parent,
        )
        self.facts = self._ask(job)

    def sample(self, number: int, calls: int) -> float:
        """Seconds of `calls` calls."""
        return self._ask([number, calls])["seconds"]

    def _ask(self, message: Any) -> dict[str, Any]:
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError) as error:
            said = (self.process.stderr.read().strip().splitlines() or ["nothing"])[-1]
            raise ConfigError(f"the process that measures ended and said: {said}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()


def serve() -> None:
    """The other end: build the step that the job names, then answer until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # What a library prints must not be taken for an answer.

    def say(message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    job = json.loads(sys.stdin.readline())
    start = time.perf_counter()
    run, facts = {"jax": _jax_step, "torch": _torch_step}[job["library"]](job)
    say({**facts, "ready": time.perf_counter() - start})
    for line in sys.stdin:
        number, calls = json.loads(line)
        start = time.perf_counter()
        run(number, calls)
        say({"seconds": time.perf_counter() - start})


def _jax_step(job: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    import jax

    from benchmarks.cases import cases, optimizer
    from benchmarks.timing import compiled
    from deeplearn.step import init, train_step

    case, transformation = cases()[job["case"]], optimizer()
    batches = [jax.device_put(case.draw(seed)) for seed in range(4)]
    state = jax.jit(lambda batch: init(case.task, transformation, 0, batch))(batches[0])
    program, seconds = compiled(
        lambda state, batch: train_step(case.task, transformation, state, batch, jax.numpy.uint32(0)),
        state,
        batches[0],
        donate_argnums=0,
    )
    cost, memory = program.cost_analysis() or {}, program.memory_analysis()

    def run(number: int, calls: int) -> None:
        nonlocal state
        for i in range(number, number + calls):
            state, _ = program(state, batches[i % len(batches)])
        jax.block_until_ready(state)

    return run, {
        "compile": seconds,
        "flops": cost.get("flops"),
        "bytes": cost.get("bytes accessed"),
        "memory": memory.temp_size_in_bytes + memory.argument_size_in_bytes if memory else None,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }


def _torch_step(job: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    import jax
    import torch

    from benchmarks.cases import cases
    from benchmarks.peers import twin

    case = cases()[job["case"]]
    params = jax.jit(case.task.init)(jax.random.key(0), case.draw(0))["params"]
    module = twin.build(job["case"], params)
    batches = [twin.tensors(case.draw(seed)) for seed in range(4)]
    step = twin.stepper(module, compile=job["compile"])
    start = time.perf_counter()
    step(batches[0])
    seconds = time.perf_counter() - start

    def run(number: int, calls: int) -> None:
        for i in range(number, number + calls):
            step(batches[i % len(batches)])

    return run, {"compile": seconds, "threads": torch.get_num_threads(), "torch": torch.__version__}


if __name__ == "__main__":
    serve()
