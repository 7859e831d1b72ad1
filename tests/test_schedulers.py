"""The job script of docs/cluster.md on a real Slurm of one node, and Open MPI; skipped where they are not installed.

Debian has both: apt-get install slurm-wlm munge openmpi-bin. Slurm's daemons listen on the loopback interface alone.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deeplearn import sealed, sweep
from deeplearn.checkpoint import read

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "cluster.md"
STEPS = 120
TRAIN = f"{sys.executable} -m deeplearn train {TESTS / 'points.py'} --steps {STEPS} --save-every 20 --wait 0.05"
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "OMPI_", "XLA_FLAGS", "PYTEST"))
} | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "JAX_PLATFORMS": "cpu", "NPROC": "1"}
CONFIGURATION = """
ClusterName=deeplearn
SlurmctldHost=localhost
SlurmctldPort=16817
SlurmdPort=16818
# A requeued job waits until its credential has expired, two minutes by default.
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=5
SlurmdParameters=config_overrides
NodeName=localhost CPUs=2 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""

pytestmark = pytest.mark.slow


def bits(run):
    """(last step, hash of the learnt arrays)."""
    step, arrays = read(run / "checkpoints")
    return step, hashlib.sha256(b"".join(np.asarray(arrays[name]).tobytes() for name in sorted(arrays))).hexdigest()


def until(true, seconds, what):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


class Cluster:
    """A running Slurm of one node."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = ENVIRONMENT | {"SLURM_CONF": str(folder / "slurm.conf")}

    def call(self, *words):
        done = subprocess.run([*map(str, words)], env=self.environment, cwd=self.folder, capture_output=True, text=True)
        return done.stdout.strip() + done.stderr.strip()

    def submit(self, script, *options):
        return self.call("sbatch", "--parsable", *options, script)

    def state(self, job):
        return re.search(r"JobState=(\w+)", self.call("scontrol", "show", "job", job))[1]

    def finish(self, job, seconds=170):
        ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        until(lambda: self.state(job) in ends, seconds, lambda: self.call("scontrol", "show", "job", job))
        return self.state(job)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if not all(map(shutil.which, ("munged", "slurmctld", "slurmd"))) or os.geteuid() != 0:
        pytest.skip("needs root and Slurm: apt-get install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    for parent in (folder, *folder.parents[:-1]):
        parent.chmod(0o755)  # munged refuses a socket in a folder that it cannot reach
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder))
    made = Cluster(folder)
    files = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log"}
    options = [f"--{name}={folder / file}" for name, file in (files | {"seed-file": "munge.seed"}).items()]
    try:
        subprocess.run(["munged", "--force", *options], check=True)
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], env=made.environment, check=True)
        until(lambda: "idle" in made.call("sinfo", "-h", "-o", "%T"), 20, lambda: made.call("sinfo"))
        yield made
    finally:
        for pid in folder.glob("*.pid"):
            os.kill(int(pid.read_text()), signal.SIGTERM)


def job_script(run):
    """That of the page, with two tasks of one processor and a command that needs no GPU."""
    text = re.search(r"```sh\n(#!/bin/bash.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    text, nodes = re.subn(r"#SBATCH --nodes=.*", "#SBATCH --nodes=1 --ntasks-per-node=2 --cpus-per-task=1", text)
    text, command = re.subn(r"deeplearn train (.*\\\n)*.*", f'{TRAIN} --workdir "{run}"', text, count=1)
    assert (nodes, command) == (1, 1)
    return text


def submitted(cluster, name):
    script = cluster.folder / f"{name}.sh"
    script.write_text(job_script(cluster.folder / name))
    return cluster.submit(script, "-o", cluster.folder / f"{name}.out")


def saved(cluster, name, step):
    place = cluster.folder / name / "checkpoints" / str(step) / sealed.SEAL
    until(place.exists, 60, lambda: (cluster.folder / f"{name}.out").read_text())


@pytest.fixture(scope="module")
def whole(cluster):
    """What a job that nobody disturbs ends with."""
    assert cluster.finish(submitted(cluster, "whole")) == "COMPLETED", (cluster.folder / "whole.out").read_text()
    return bits(cluster.folder / "whole")


def test_two_tasks_find_each_other(cluster, whole):
    assert whole[0] == STEPS
    assert json.loads((cluster.folder / "whole" / "env.json").read_text())["processes"] == 2


def test_a_preempted_job_requeues_itself_and_ends_with_the_same_bits(cluster, whole):
    job = submitted(cluster, "term")
    saved(cluster, "term", 40)
    cluster.call("scancel", "--signal=TERM", job)
    assert cluster.finish(job) == "COMPLETED", (cluster.folder / "term.out").read_text()
    said = (cluster.folder / "term.out").read_text()
    assert "stopped by SIGTERM after step" in said and "restoring step" in said
    assert bits(cluster.folder / "term") == whole


def test_a_killed_task_ends_the_step_and_the_job_goes_on(cluster, whole):
    job = submitted(cluster, "kill")
    saved(cluster, "kill", 40)
    os.kill(_task(cluster.folder / "kill", 1), signal.SIGKILL)
    assert cluster.finish(job) == "COMPLETED", (cluster.folder / "kill.out").read_text()
    assert "restoring step" in (cluster.folder / "kill.out").read_text()
    assert bits(cluster.folder / "kill") == whole


def test_an_array_trains_a_seed_each(cluster):
    script = cluster.folder / "array.sh"
    train = f"{TRAIN} --seed $SLURM_ARRAY_TASK_ID --workdir {cluster.folder}/seed-$SLURM_ARRAY_TASK_ID"
    script.write_text(f"#!/bin/bash\n{train}\n")
    job = cluster.submit(script, "--array=0-1", "--ntasks=1", "--time=5", "-o", cluster.folder / "array-%a.out")
    for index in range(2):
        assert cluster.finish(f"{job}_{index}") == "COMPLETED"
    assert bits(cluster.folder / "seed-0") != bits(cluster.folder / "seed-1")


def test_a_sweep_as_jobs_survives_a_preemption(cluster):
    folder = cluster.folder / "sweep"
    words = f"--over width=8,9 --steps 300 --wait 0.03 --save-every 10 --folder {folder} --cluster slurm --workers 2"
    command = [sys.executable, "-m", "deeplearn", "sweep", str(TESTS / "chosen.py"), *words.split()]
    with (cluster.folder / "sweep.out").open("w") as out:
        process = subprocess.Popen(command, env=cluster.environment, stdout=out, stderr=out)
    saved(cluster, "sweep/trial-000", 20)
    job = re.search(r"jobs (\d+)", (cluster.folder / "sweep.out").read_text())[1]
    cluster.call("scancel", "--signal=USR2", job)
    assert process.wait(170) == 0, (cluster.folder / "sweep.out").read_text()
    assert [trial.metrics is not None for trial in sweep.trials_of(folder)] == [True, True]
    logs = "".join(log.read_text() for log in (folder / "jobs").glob("*_log.*"))
    assert "stopped by SIGTERM after step" in logs and "restoring step" in logs and "Requeued job" in logs, logs


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs Open MPI: apt-get install openmpi-bin")
def test_open_mpi_starts_two_processes_and_passes_a_signal_on(tmp_path):
    launch = ["mpirun", "-np", "2", "--oversubscribe", *(["--allow-run-as-root"] if os.geteuid() == 0 else [])]
    command = [*launch, *TRAIN.split(), "--workdir", str(tmp_path / "run")]
    with (tmp_path / "out").open("w") as out:
        first = subprocess.Popen(command, env=ENVIRONMENT, stdout=out, stderr=out)
        place = tmp_path / "run" / "checkpoints" / "40" / sealed.SEAL
        until(place.exists, 90, lambda: (tmp_path / "out").read_text())
        os.kill(_task(tmp_path / "run", 1, "OMPI_COMM_WORLD_RANK"), signal.SIGTERM)
        assert first.wait(60) != 0
    stopped = sealed.steps(tmp_path / "run" / "checkpoints")[-1]
    assert 40 <= stopped < STEPS
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and f"restoring step {stopped}" in done.stderr + done.stdout, done.stderr
    assert bits(tmp_path / "run")[0] == STEPS


def _task(run, rank, variable="SLURM_PROCID"):
    """Process number of the task of that rank that trains in that folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            own = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(run) in words and "train" in words and f"{variable}={rank}" in own and "python" in words[0]:
            return int(entry.name)
    raise AssertionError(f"no task of rank {rank} trains in {run}")
