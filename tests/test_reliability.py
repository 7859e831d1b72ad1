"""What users do to runs and machines to files: the command line in a process of its own, stopped, starved, damaged."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deeplearn import sealed
from deeplearn.checkpoint import Store, read
from deeplearn.errors import StorageError
from deeplearn.sealed import SEAL

TESTS = Path(__file__).parent
STEPS = 400
WAIT = 0.01  # seconds a step: the run below lasts at least four seconds, so that it can be stopped half way
ANSWER = 30  # seconds from a signal to the end of the process; measured: 0.7, the rest is for a busy machine
SEED = 3
"""The same faults in every run, so that only a change can fail; `deeplearn bench faults` draws new ones."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """One device, and one cache of compiled programs for all processes of this file."""
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=1"  # the last one counts
    cache = str(tmp_path_factory.mktemp("cache"))
    return os.environ | {"PYTHONPATH": str(TESTS), "XLA_FLAGS": flags, "XDG_CACHE_HOME": cache, "NPROC": "1"}


def start(environment, workdir, *knobs, steps=STEPS, prefix=()):
    """`deeplearn train` of the toy experiment."""
    words = [sys.executable, "-m", "deeplearn", "train", str(TESTS / "points.py"), "--workdir", str(workdir)]
    words += ["--steps", str(steps), "--save-every", "50", "--wait", str(WAIT), *knobs]
    return subprocess.Popen(
        [*prefix, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(process, seconds=300):
    """(exit code, what it said)."""
    try:
        said = process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, said


def saved(workdir):
    """path -> array of the newest checkpoint, and its step."""
    step, arrays = read(workdir / "checkpoints")
    return step, {name: np.asarray(leaf) for name, leaf in arrays.items()}


def newest(workdir):
    return max(sealed.steps(workdir / "checkpoints"), default=0)


def reaches(process, workdir, step, seconds=300):
    """Wait until a checkpoint of at least that step is there."""
    end = time.monotonic() + seconds
    while newest(workdir) < step:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(environment, tmp_path_factory):
    """The run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    code, said = finish(start(environment, workdir))
    assert code == 0, said
    return workdir


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def test_a_run_stopped_and_killed_ends_with_the_same_bits(whole, environment, tmp_path):
    workdir, moments = tmp_path / "run", random.Random(SEED)
    for sent, from_step in ((signal.SIGTERM, 0), (signal.SIGKILL, 100), (signal.SIGINT, 200)):
        process = start(environment, workdir)
        reaches(process, workdir, from_step + 50)
        time.sleep(moments.uniform(0, 50 * WAIT))
        before = time.monotonic()
        process.send_signal(sent)
        code, said = finish(process)
        seconds = time.monotonic() - before
        if sent == signal.SIGKILL:
            assert code == -sent
            continue
        assert code == 128 + sent, said
        assert seconds < ANSWER
        assert f"stopped by {sent.name} after step {newest(workdir)}, checkpoint saved" in said
        assert sealed.verify(workdir / "checkpoints" / str(newest(workdir))) is None
    code, said = finish(start(environment, workdir))
    assert code == 0, said
    (step, parts), (_, expected) = saved(workdir), saved(whole)
    assert step == STEPS
    for name, leaf in expected.items():
        np.testing.assert_array_equal(parts[name], leaf, err_msg=f"{name}, seed {SEED}")


def test_a_signal_while_the_competitor_is_measured_ends_the_run_at_once(environment, tmp_path):
    workdir, sent = tmp_path / "run", signal.SIGHUP
    process = start(environment, workdir, "--rest", "600", steps=2)
    for line in process.stderr:
        if "competitor" in line:
            break
    process.send_signal(sent)
    code, said = finish(process, ANSWER)
    assert code == 128 + sent
    assert said.startswith(f"deeplearn: stopped by {sent.name} after the training; ")
    assert f"deeplearn resume {workdir}" in said
    assert "Traceback" not in said


def test_the_second_of_two_runs_in_one_folder_ends_at_once_and_the_first_does_not_notice(environment, tmp_path):
    workdir = tmp_path / "run"
    first = start(environment, workdir)
    reaches(first, workdir, 50)
    code, said = finish(start(environment, workdir), ANSWER)
    assert code == 78
    assert said.startswith(f"deeplearn: {workdir} is in use by process {first.pid} on ")
    code, said = finish(first)
    assert code == 0, said
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert steps == [*range(10, STEPS + 1, 10), STEPS]


def test_readers_of_a_run_under_way_get_whole_models_and_do_not_disturb_it(environment, tmp_path):
    workdir = tmp_path / "run"
    process = start(environment, workdir, "--save-every", "2", steps=100)
    reaches(process, workdir, 2)
    seen = []
    while process.poll() is None:
        time.sleep(0.1)
        step, arrays = read(workdir / "checkpoints")
        assert int(arrays["step"]) == step
        seen.append(step)
    assert finish(process)[0] == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 1


def test_a_full_disk_ends_the_run_and_spares_older_checkpoints(environment, tmp_path):
    """A limit on the size of files stands for the full disk: any user can set it, and writing fails half way, too."""
    workdir = tmp_path / "run"
    wide = ("--width", "10000")  # 2 MB of state, so that only the checkpoint hits the limit
    code, said = finish(start(environment, workdir, *wide, steps=4))
    assert code == 0, said
    limited = ("sh", "-c", 'ulimit -f 1000; exec "$@"', "sh")  # blocks of 512 bytes
    code, said = finish(start(environment, workdir, *wide, steps=6, prefix=limited))
    assert code == 74, said
    # Threads of Orbax may say more, before and after.
    (error,) = [line for line in said.splitlines() if line.startswith("deeplearn: ")]
    assert error.startswith("deeplearn: cannot write a checkpoint into")
    assert "(File too large); older checkpoints are untouched" in error
    assert "run again there to resume" in error
    assert saved(workdir)[0] == 4


def test_a_disk_too_full_for_a_checkpoint_is_not_filled_up(copy, monkeypatch):
    step, arrays = saved(copy)
    usage = shutil.disk_usage(copy)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="No space left on device"), Store(copy / "checkpoints") as store:
        store.save(step + 1, arrays)
    assert sealed.steps(copy / "checkpoints") == [step - 50, step]


def test_a_folder_that_cannot_be_written_to_ends_the_run_at_once(environment, tmp_path):
    shut = Path("/proc") if os.getuid() == 0 else tmp_path / "shut"  # Root may write everywhere else.
    if os.getuid():
        shut.mkdir(mode=0o500)
    code, said = finish(start(environment, shut / "run"))
    assert code == 74, said
    assert said.strip().splitlines()[-1].startswith(f"deeplearn: cannot write {shut / 'run'}")
    assert "Traceback" not in said


def test_bad_numbers_end_the_run_with_their_steps_and_leaves(environment, tmp_path):
    code, said = finish(start(environment, tmp_path / "run", "--broken"))
    assert code == 70, said
    assert "steps 0 to 2" in said
    assert "kernel" in said.strip().splitlines()[-1]
    assert "Traceback" not in said
    assert not sealed.steps(tmp_path / "run" / "checkpoints")


def flipped(data, where):
    data[where] ^= 1 << (where % 8)


def zeroed(data, where):
    data[where : where + 512] = bytes(len(data[where : where + 512]))


def cut(data, where):
    del data[where:]


def doubled(data, where):
    data[where:where] = data[where : where + 64]


def test_a_damaged_checkpoint_is_never_taken_for_a_whole_one(copy):
    faults = random.Random(SEED)
    step = copy / "checkpoints" / str(STEPS)
    files = [path for path in sorted(step.rglob("*")) if path.is_file() and path.stat().st_size]
    done = 0
    while done < 200:
        path, fault = faults.choice(files), faults.choice([flipped, zeroed, cut, doubled])
        before = path.read_bytes()
        after = bytearray(before)
        fault(after, faults.randrange(len(before)))
        if after == before:
            continue  # Zeros where there were zeros.
        path.write_bytes(after)
        # A damaged seal over whole files may still say what is true of them.
        assert sealed.verify(step) or path.name == SEAL, f"{fault.__name__} of {path.name}, seed {SEED}"
        path.write_bytes(before)
        done += 1
    assert sealed.verify(step) is None


def test_a_run_goes_on_from_the_older_checkpoint_when_the_newest_is_damaged(whole, copy, environment):
    data = max((copy / "checkpoints" / str(STEPS)).rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(data.read_bytes())
    flipped(content, len(content) // 2)
    data.write_bytes(content)
    code, said = finish(start(environment, copy))
    assert code == 0, said
    assert f"checkpoint {STEPS} is damaged ({data.relative_to(copy / 'checkpoints' / str(STEPS))} has changed)" in said
    assert "restoring step 350" in said
    for name, leaf in saved(whole)[1].items():
        np.testing.assert_array_equal(saved(copy)[1][name], leaf)
