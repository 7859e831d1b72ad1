"""Workers of a sweep: processes on this machine, or jobs of a cluster. They know each other by the sweep's folder."""

import contextlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deeplearn.errors import ConfigError, UsageError, note

SIGNAL = signal.SIGUSR2
"""By which submitit lets a job know that it has to end."""
MINUTES = 60
"""Of a job where the user says nothing: short enough for any queue, as what is stopped is gone on with."""
STARTS = 1000
"""Times that a job is queued again when its minutes are over: as often as there is something left to train."""
GRACE = 25
"""Seconds for a stopped training to save itself: submitit asks for it 90 s before the end under Slurm, 30 without."""


class Worker:
    """What a job runs. submitit calls `checkpoint` when the job's time is over, or it is preempted, and queues again
    what that returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen | None = None

    def __call__(self) -> None:
        """Work on the sweep. Raises CalledProcessError where that fails."""
        # Slurm signals whatever runs in the job, and this signal ends a process that does not know it.
        self.process = subprocess.Popen(
            _command(self.folder), preexec_fn=partial(signal.signal, SIGNAL, signal.SIG_IGN)
        )
        while self.process.poll() is None:  # Not `wait`, whose lock `checkpoint` would find taken.
            time.sleep(0.2)
        if self.process.returncode:
            raise subprocess.CalledProcessError(self.process.returncode, _command(self.folder))

    def checkpoint(self) -> Any:
        """Let the trial that is trained be saved, and whoever comes next go on with it."""
        import submitit

        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):  # its last checkpoint then has to do
                self.process.wait(GRACE)
            self.process.kill()
        return submitit.helpers.DelayedSubmission(Worker(self.folder))


def together(folder: Path, workers: int) -> None:
    """Processes of this machine, and their end. Raises ConfigError where one has failed."""
    started = [subprocess.Popen(_command(folder), stdout=subprocess.DEVNULL) for _ in range(workers)]
    try:
        codes = [one.wait() for one in started]
    finally:  # Ctrl-C reaches all of them; what else ends this one must not leave them behind.
        for one in started:
            one.terminate()
    if any(codes):
        raise ConfigError(f"{sum(map(bool, codes))} of {workers} workers failed; {_on(folder)}")


def submitted(folder: Path, cluster: str, workers: int, job: Sequence[str]) -> None:
    """A job a worker, and their end.

    Args:
        cluster: as submitit calls it.
        job: NAME=VALUE for submitit, such as timeout_min=60.

    Raises:
        UsageError: submitit is not installed, or an option is no NAME=VALUE.
        ConfigError: a job has failed.
    """
    try:
        import submitit
    except ImportError as error:
        raise UsageError("jobs are submitted by submitit, which comes with pip install 'deeplearn[sweep]'.") from error
    again = {f"{cluster}_max_num_timeout": STARTS}
    executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=cluster, **again)
    executor.update_parameters(**{"timeout_min": MINUTES, **_parameters(job)})
    jobs = [executor.submit(Worker(folder.resolve())) for _ in range(workers)]
    output = shlex.quote(str(folder / "jobs"))
    note(f"jobs {', '.join(job.job_id for job in jobs)}; output in {output}")
    failed = [job.job_id for job in jobs if job.exception() is not None]
    if failed:
        raise ConfigError(f"{len(failed)} of {workers} jobs failed ({', '.join(failed)}, see {output}); {_on(folder)}")


def _parameters(job: Sequence[str]) -> Mapping[str, int | str]:
    pairs = [word.partition("=") for word in job]
    if bad := [name for name, equals, _ in pairs if not equals]:
        raise UsageError(f"--job {bad[0]}: give NAME=VALUE, such as timeout_min=60.")
    return {name: int(value) if value.isdigit() else value for name, _, value in pairs}


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "deeplearn", "sweep", str(folder)]


def _on(folder: Path) -> str:
    return f"go on with deeplearn sweep {shlex.quote(str(folder))}"
