"""A candidate in a process of its own, with its own settings: what must precede JAX can then differ within one
comparison, and idle threads of one library do not disturb another.

The parent speaks JSON lines: first a job (whose `clock` is wall, or cpu for the seconds of all threads together), then
`[first call, calls]`, each answered by the seconds these calls took.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deeplearn.errors import ConfigError

Builder = Callable[[Mapping[str, Any]], tuple[Callable[..., float | None], dict[str, Any]]]
"""job -> (run, facts); `run(first call, calls)` may return its own seconds, else it is timed from outside."""

HERE = Path(__file__).parent.parent
"""The checkout that this file is part of."""


class Worker:
    """Starts `python -m benchmarks.worker` of a checkout on a job; a context manager that ends it.

    `sample` is a timing.Sampler.

    Raises:
        ConfigError: the process ended; with the last line it said.
    """

    facts: Mapping[str, Any]
    """What the candidate tells about itself, once `wait` has been called for the first time."""

    def __init__(
        self, job: Mapping[str, Any], environment: Mapping[str, str], *, wait: bool = True, checkout: Path = HERE
    ):
        # Not a pipe: one that nobody reads fills up and stops the process.
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env=dict(environment),
            cwd=checkout,
        )
        self.ask(job)
        if wait:
            self.facts = self.wait()

    def sample(self, number: int, calls: int) -> float:
        """Seconds of `calls` calls."""
        self.ask([number, calls])
        return self.wait()["seconds"]

    def ask(self, message: Any) -> None:
        """Send without waiting for the answer; several workers then work at once."""
        with contextlib.suppress(OSError):  # `wait` says why the process ended.
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def wait(self) -> dict[str, Any]:
        """The answer to the oldest question."""
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        self.said.seek(0)
        said = (self.said.read().strip().splitlines() or ["nothing"])[-1]
        self.close()
        raise ConfigError(f"the process that measures ended and said: {said}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if it has not ended by itself."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.said):
            stream.close()
        with contextlib.suppress(OSError):  # What was asked last may never have been read.
            self.process.stdin.close()


def serve() -> None:
    """The other end: build what the job names, then answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What a library prints, such as Gloo, must not be taken for an answer.

    def say(message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    run, facts = _builder(job := json.loads(sys.stdin.readline()))(job)
    say(facts)
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[job.get("clock", "wall")]
    for line in sys.stdin:
        start = clock()
        own = run(*json.loads(line))
        say({"seconds": clock() - start if own is None else own})


def _builder(job: Mapping[str, Any]) -> Builder:
    """What makes the step or loop; PyTorch is imported where it is asked for only."""
    library = job["library"]
    if library in ("torch", "dataloader"):
        from .peers import loader

        return {"torch": _torch_step, "dataloader": loader.loop}[library]
    if library == "torch_search":
        from .peers import search

        return search.greedy
    if library == "ctranslate2":
        from .peers import ctranslate

        return ctranslate.search
    from . import growth, loops, searches, spread

    return {
        "spread": spread.step,
        "growth": growth.work,
        "decode": searches.ours,
        "jax": _jax_step,
        "ours": loops.ours,
        "steps_alone": loops.steps_alone,
        "flax_example": loops.flax_example,
    }[library]


def _jax_step(job: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    import jax

    from deeplearn.step import init, train_step

    from .cases import cases, optimizer
    from .timing import compiled

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

    from .cases import cases
    from .peers import twin

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
