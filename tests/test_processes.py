"""Several processes on this machine, each with two simulated devices, train one model together."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from points import Streamed
from toy import RUN, Net, toy

from deeplearn import sealed
from deeplearn.checkpoint import Store, read
from deeplearn.errors import ConfigError
from deeplearn.evaluation import predict_all
from deeplearn.experiment import Evaluation
from deeplearn.loop import fit
from deeplearn.optimizer import Optimizer
from deeplearn.parallel import fetched
from deeplearn.processes import HEARTBEAT_SECONDS, LOST, join, refuse_strangers, several
from deeplearn.step import variables

TESTS = Path(__file__).parent
SHORT = dataclasses.replace(RUN, steps=4)
MODEL = Net(width=1024)  # Its first kernel is large enough to be sliced over fsdp.
CASES = {
    "data": {},
    "sliced, streamed": {"mesh": "fsdp=2,tensor=2"},
    "shard_map": {"parallel": "shard_map"},
    "exact": {"exact": 4},
    "exact, sliced, streamed": {"exact": 4, "mesh": "data=2,fsdp=2"},
    "exact, whole": {"exact": 4},
    "best, sliced": {
        "best": "valid/loss",
        "eval_every": 1,
        "mesh": "fsdp=2,tensor=2",
        "optimizer": Optimizer(rate=0.3),
    },
}


WHOLE = np.arange(8, dtype=np.float32)
TASK = toy(SHORT, model=MODEL).task
TESTED = toy(SHORT, model=MODEL).evaluations["test"].source


class Whole:
    """A source that every process reads whole."""

    def __init__(self, arrays):
        self.batch, self.size, self.at, self.once = arrays.batch, arrays.size, arrays.at, arrays.once
        self.fingerprint = arrays.fingerprint


def experiment(case, run):
    made = toy(run, model=MODEL, score=lambda predictions, examples: {"sum": float(examples["index"].sum())})
    kinds = {"streamed": lambda arrays: Streamed(arrays=arrays, wait=0.0), "whole": Whole}
    train = next((kind(made.train) for word, kind in kinds.items() if word in case), made.train)
    valid = {"valid": Evaluation(source=made.evaluations["test"].source)} if run.best else {}
    return dataclasses.replace(made, train=train, evaluations=made.evaluations | valid)


WORKER = """
import sys
from deeplearn import processes
processes.join()
import dataclasses, json, pathlib
import jax, numpy as np
from deeplearn.errors import NumericalError
from deeplearn.evaluation import predict_all
from deeplearn.loop import fit
from deeplearn.metrics import scalars
from deeplearn.parallel import fetched
from deeplearn.step import variables
from test_processes import CASES, MODEL, SHORT, TASK, TESTED, experiment, restored_beside_damage
from toy import columns, toy
assert (jax.process_count(), jax.device_count()) == (2, 4)
here = pathlib.Path(sys.argv[1])
own = f"process-{jax.process_index()}"
for case, knobs in CASES.items():
    run = dataclasses.replace(SHORT, **knobs)
    state, results = fit(experiment(case, run), run, here / case)
    np.savez(here / case / own, *map(np.asarray, jax.tree.leaves(fetched(state.params))))
    (here / case / f"{own}.json").write_text(json.dumps(scalars(results)))
    np.save(here / case / f"predicted-{own}", predict_all(TASK, variables(state), TESTED, spread=not run.exact))
if sys.argv[2:] == ["diverge"]:
    data = columns()
    data["x"][:] = np.nan
    try:
        fit(toy(SHORT, model=MODEL, data=data), SHORT, here / "nan")
    except NumericalError as error:
        (here / f"{own}.txt").write_text(str(error))
    restored_beside_damage(here / "damaged", own)
"""


def restored_beside_damage(folder, own):
    """In each of several processes: three steps are saved, the last two damaged, each in another one's share."""
    import jax
    from jax.experimental import multihost_utils

    folder.mkdir(exist_ok=True)
    everywhere = jax.sharding.NamedSharding(jax.make_mesh((jax.device_count(),), ("data",)), jax.P("data"))
    leaf = jax.ShapeDtypeStruct((8,), np.float32, sharding=everywhere)
    with Store(folder / "checkpoints", keep=3) as store:
        for step in (1, 2, 3):
            store.save(step, {"w": jax.make_array_from_callback((8,), everywhere, lambda own, s=step: WHOLE[own] * s)})
    multihost_utils.sync_global_devices("saved")
    if jax.process_index() == 0:
        for step, process in ((2, 0), (3, 1)):
            path = folder / "checkpoints" / str(step)
            share = sorted(json.loads((path / sealed.SEAL).read_text())["files"])[process::2]
            largest = max((path / name for name in share), key=lambda file: file.stat().st_size)
            largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    multihost_utils.sync_global_devices("damaged")
    with Store(folder / "checkpoints", keep=3) as store:
        step, found = store.restore({"w": leaf})
    (folder / own).write_text(json.dumps([step, *fetched(found)["w"].tolist()]))


def start(folder, *command, count=2, devices=2):
    """The processes of one run, each with so many devices, with their errors in `folder`/<rank>.err."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    common = os.environ | {
        "PYTHONPATH": str(TESTS),
        # The last one counts.
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_COORDINATOR_BIND_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(count),
        "DEEPLEARN_RUNTIME": "off",
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    words, processes = [sys.executable, *map(str, command)], []
    for rank in range(count):
        own = common | {"JAX_PROCESS_ID": str(rank)}
        with (folder / f"{rank}.err").open("w") as err:
            processes.append(subprocess.Popen(words, env=own, stdout=subprocess.DEVNULL, stderr=err, cwd=folder))
    return processes


def codes(processes, seconds=500):
    """Exit codes of processes that end within the time; those that do not are killed and fail the test."""
    try:
        return [process.wait(seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()


def said(folder):
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.err")))


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two processes that have trained all cases, and a run that diverges."""
    folder = tmp_path_factory.mktemp("together")
    assert codes(start(folder, "-c", WORKER, folder, "diverge")) == [0, 0], said(folder)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process, one device."""
    run = dataclasses.replace(SHORT, mesh="data=1")
    return fit(experiment("data", run), run, tmp_path_factory.mktemp("alone"))


# float32 sums in another order, as in test_fit.py.
@pytest.mark.parametrize("case", [case for case in CASES if "best" not in case])
def test_two_processes_learn_what_one_learns(case, together, alone):
    import jax

    state, results = alone
    ours = [np.load(together / case / f"process-{rank}.npz") for rank in range(2)]
    for i, leaf in enumerate(jax.tree.leaves(state.params)):
        np.testing.assert_array_equal(ours[0][f"arr_{i}"], ours[1][f"arr_{i}"])
        np.testing.assert_allclose(ours[0][f"arr_{i}"], np.asarray(leaf), atol=1e-5)
    for rank in range(2):
        found = json.loads((together / case / f"process-{rank}.json").read_text())
        assert found["test/accuracy"] == pytest.approx(results["test/accuracy"])
        assert found["test/sum"] == results["test/sum"]  # The score saw every example once.
        predicted = np.load(together / case / f"predicted-process-{rank}.npy")
        np.testing.assert_allclose(predicted, predict_all(TASK, variables(state), TESTED), atol=1e-4)


def test_what_both_have_written_is_in_one_seal(together):
    folder = together / "data" / "checkpoints"
    assert not [path for path in folder.iterdir() if sealed.PARTIAL in path.name]
    names = json.loads((folder / str(SHORT.steps) / sealed.SEAL).read_text())["files"]
    assert {f"ocdbt.process_{rank}/manifest.ocdbt" for rank in range(2)} < set(names)
    assert sealed.verify(folder / str(SHORT.steps)) is None


EXACT = """
import sys
from deeplearn import processes
processes.join()
import dataclasses, pathlib
import jax, numpy as np
from deeplearn.loop import fit
from deeplearn.parallel import fetched
from test_processes import SHORT, experiment
assert (jax.process_count(), jax.device_count()) == (4, 8)
here = pathlib.Path(sys.argv[1])
for mesh, steps in (("data=8", 4), ("data=4,fsdp=2", 4), ("data=8", 2), ("data=2,fsdp=4", 4)):
    constant = dataclasses.replace(SHORT.optimizer, schedule="constant")
    run = dataclasses.replace(SHORT, exact=8, mesh=mesh, steps=steps, optimizer=constant)
    folder = here / ("resumed" if steps == 2 or mesh == "data=2,fsdp=4" else mesh)
    state, _ = fit(experiment("exact, streamed", run), run, folder)
    np.savez(folder / f"process-{jax.process_index()}", *map(np.asarray, jax.tree.leaves(fetched(state.params))))
"""


@pytest.mark.slow  # four processes on two cores
def test_four_processes_with_two_devices_each_have_the_bits_of_one_in_exact_mode(tmp_path):
    """Also after a resume on another mesh half way."""
    import jax

    assert codes(start(tmp_path, "-c", EXACT, tmp_path, count=4)) == [0] * 4, said(tmp_path)
    constant = dataclasses.replace(SHORT.optimizer, schedule="constant")
    run = dataclasses.replace(SHORT, mesh="data=1", exact=8, optimizer=constant)
    state, _ = fit(experiment("exact", run), run, tmp_path / "alone")
    for folder in ("data=8", "data=4,fsdp=2", "resumed"):
        for rank in range(4):
            theirs = np.load(tmp_path / folder / f"process-{rank}.npz")
            for i, leaf in enumerate(jax.tree.leaves(state.params)):
                np.testing.assert_array_equal(theirs[f"arr_{i}"], np.asarray(leaf))


@pytest.mark.parametrize("case", [case for case in CASES if "exact" in case])
def test_two_processes_have_the_bits_of_one_in_exact_mode(case, together, tmp_path):
    import jax

    run = dataclasses.replace(SHORT, mesh="data=1", exact=4)
    state, results = fit(experiment(case, run), run, tmp_path)
    theirs = np.load(together / case / "process-0.npz")
    for i, leaf in enumerate(jax.tree.leaves(state.params)):
        np.testing.assert_array_equal(theirs[f"arr_{i}"], np.asarray(leaf))
    for rank in range(2):
        assert json.loads((together / case / f"process-{rank}.json").read_text())["test/loss"] == results["test/loss"]


def test_two_processes_keep_the_step_that_one_keeps(together, tmp_path):
    import jax

    run = dataclasses.replace(SHORT, **CASES["best, sliced"] | {"mesh": "data=1"})
    state, _ = fit(experiment("best, sliced", run), run, tmp_path)
    ours = [np.load(together / "best, sliced" / f"process-{rank}.npz") for rank in range(2)]
    for i, leaf in enumerate(jax.tree.leaves(state.params)):
        np.testing.assert_array_equal(ours[0][f"arr_{i}"], ours[1][f"arr_{i}"])
        np.testing.assert_allclose(ours[0][f"arr_{i}"], np.asarray(leaf), atol=1e-4)
    kept = [int(read(folder / "checkpoints")[1]["step"]) for folder in (together / "best, sliced", tmp_path)]
    assert kept[0] == kept[1]


def test_damage_in_the_share_of_any_process_leads_all_to_an_older_checkpoint(together):
    for rank in range(2):
        assert json.loads((together / "damaged" / f"process-{rank}").read_text()) == [1, *WHOLE]
    aside = sorted(path.name for path in (together / "damaged" / "checkpoints").iterdir())
    assert aside == ["1", f"2{sealed.DAMAGED}", f"3{sealed.DAMAGED}"]
    said = (together / "0.err").read_text()
    assert "checkpoint 2 is damaged" in said and "(process 1 finds a file missing or changed)" in said


def test_one_process_restores_what_two_have_saved(together):
    import jax

    run = dataclasses.replace(SHORT, mesh="data=2")
    state, _ = fit(experiment("sliced, streamed", run), run, together / "sliced, streamed")  # Nothing is left to train.
    theirs = np.load(together / "sliced, streamed" / "process-0.npz")
    for i, leaf in enumerate(jax.tree.leaves(state.params)):
        np.testing.assert_array_equal(theirs[f"arr_{i}"], np.asarray(leaf))


def test_all_processes_name_the_step_that_diverged(together):
    first, second = ((together / f"process-{rank}.txt").read_text() for rank in range(2))
    assert "steps 0 to 2" in first
    assert first == second


def wait_for(path, processes, seconds=500):
    """Until a file or folder is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert all(process.poll() is None for process in processes), said(path.parent.parent)
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_signal_to_one_stops_both_at_one_step_and_both_go_on(tmp_path):
    train = ["-m", "deeplearn", "train", TESTS / "points.py", "--workdir", tmp_path / "run", "--save-every", "20"]
    processes = start(tmp_path, *train, "--steps", "100000", "--wait", "0.01")
    wait_for(tmp_path / "run" / "checkpoints" / "20", processes)
    processes[1].send_signal(signal.SIGTERM)
    assert codes(processes, 60) == [143, 143], said(tmp_path)  # Takes half a second on a free machine.
    stopped = sealed.steps(tmp_path / "run" / "checkpoints")[-1]
    assert sealed.verify(tmp_path / "run" / "checkpoints" / str(stopped)) is None
    for rank in range(2):
        assert f"stopped by SIGTERM after step {stopped}, checkpoint saved" in (tmp_path / f"{rank}.err").read_text()

    processes = start(tmp_path, *train, "--steps", str(stopped + 5), "--wait", "0.01")
    assert codes(processes) == [0, 0], said(tmp_path)
    assert f"restoring step {stopped}" in (tmp_path / "0.err").read_text()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(result["baseline"]) == {"coin"}


def test_when_one_is_killed_the_other_does_not_wait_for_it(tmp_path):
    train = ["-m", "deeplearn", "train", TESTS / "points.py", "--workdir", tmp_path / "run", "--save-every", "20"]
    processes = start(tmp_path, *train, "--steps", "100000", "--wait", "0.01")
    wait_for(tmp_path / "run" / "checkpoints" / "20", processes)
    processes[1].kill()
    # Either the next sum fails, or JAX misses the heartbeats first and aborts.
    code = codes(processes, HEARTBEAT_SECONDS + 30)[0]
    assert code in (LOST, -signal.SIGABRT), said(tmp_path)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4"}, False),  # A batch script, outside srun.
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"JAX_NUM_PROCESSES": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "t0,t1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "t0"}, False),
    ],
)
def test_what_a_launcher_says(environment, expected):
    assert several(environment) == expected


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, "torchrun"),
        ({"PMI_SIZE": "4", "PMI_RANK": "1"}, "MPICH"),
        ({"JOB_COMPLETION_INDEX": "0"}, "Kubernetes"),
    ],
)
def test_a_launcher_that_we_cannot_join_by_is_named(environment, name):
    with pytest.raises(ConfigError, match=name):
        refuse_strangers(environment)
    refuse_strangers(environment | {"JAX_NUM_PROCESSES": "1"})  # An array of runs.
    refuse_strangers({"WORLD_SIZE": "1"})


def test_a_launcher_that_says_half_is_an_error(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(ConfigError, match="JAX_PROCESS_ID"):
        join()
