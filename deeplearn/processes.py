"""One run on several processes: how they find each other, and how one fails without the others waiting for ever.

`deeplearn train` under Slurm's srun or Open MPI's mpirun needs nothing more; any other launcher sets
JAX_COORDINATOR_ADDRESS (host:port of the first process), JAX_NUM_PROCESSES and JAX_PROCESS_ID; see docs/cluster.md.
"""

import os
import sys
import time
import traceback
from collections.abc import Mapping

from deeplearn.errors import ConfigError

SIZES = ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
"""How launchers say the number of processes; Slurm's is that of the step: a batch script outside srun is alone."""
HOSTS = "TPU_WORKER_HOSTNAMES"
"""Of a TPU pod: its hosts, separated by commas; JAX finds the rest."""
STRANGERS = {"WORLD_SIZE": "torchrun", "PMI_SIZE": "MPICH", "JOB_COMPLETION_INDEX": "an indexed Kubernetes job"}
"""Variable of a launcher whose processes JAX does not join by itself -> its name."""
JOIN_SECONDS = 300
"""Longest wait for the others at the start: nodes of one job may boot, and read their packages, minutes apart."""
HEARTBEAT_SECONDS = 30
"""A process that is silent for so long has died; the heartbeats come from a thread that no computation holds up."""
LEAVE_SECONDS = 24 * 3600
"""Longest wait for the others at the end: the first process may still measure a competitor. Failures do not wait."""
GRACE_SECONDS = 5
"""A failure that all processes share, such as a wrong knob, should be told by all with its own exit code."""
LOST = 75
"""Exit code (EX_TEMPFAIL) of a process whose peers have gone: start the run again, and it resumes."""


def several(environment: Mapping[str, str]) -> bool:
    """Whether a launcher started this process as one of several."""
    counted = any(environment.get(name, "").isdigit() and int(environment[name]) > 1 for name in SIZES)
    return counted or "," in environment.get(HOSTS, "")


def refuse_strangers(environment: Mapping[str, str]) -> None:
    """Raises ConfigError where a launcher that we cannot join by has started several: each would train alone."""
    if "JAX_NUM_PROCESSES" in environment:
        return
    for name, launcher in STRANGERS.items():
        value = environment.get(name, "")
        if value.isdigit() and (int(value) > 1 or name == "JOB_COMPLETION_INDEX"):
            raise ConfigError(
                f"{launcher} ({name}={value}) does not tell JAX how to connect its processes; for each, set "
                "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or JAX_NUM_PROCESSES=1 to run alone."
            )


def join() -> None:
    """Connect to the other processes if there are any; then `jax.devices()` are those of all. Before any use of JAX.

    Raises:
        ConfigError: the launcher's variables do not fit together, or the others did not come.
    """
    refuse_strangers(os.environ)
    if not several(os.environ):
        return
    import jax

    size, rank = (os.environ.get(name, "") for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
    try:
        jax.distributed.initialize(
            num_processes=int(size) if size else None,
            process_id=int(rank) if rank else None,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=LEAVE_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"cannot join the other processes ({str(error).splitlines()[0]}); "
            "set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID for each, see docs/cluster.md."
        ) from error


def first() -> bool:
    """Whether this is the process that speaks and writes for all."""
    import jax

    return jax.process_index() == 0


def fail(code: int) -> int:
    """The exit code of a failed run. One of several processes ends here: an orderly exit would wait for the others."""
    if several(os.environ):
        time.sleep(GRACE_SECONDS)
        _end(code)
    return code


def lost() -> None:
    """End here, with the traceback, if this is one of several processes: call it where an unexpected error is handled.

    Mostly it is the error of a sum that a dead process no longer takes part in.
    """
    if several(os.environ):
        traceback.print_exc()
        _end(LOST)


def _end(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
