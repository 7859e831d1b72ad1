import subprocess
import sys
import time

import pytest

from deeplearn.watchdog import STUCK, watched

PROGRAM = """
import pathlib, sys, threading, time
from deeplearn.watchdog import watched
def dead_loop(until):
    while time.monotonic() < until:
        pass
folder, case = pathlib.Path(sys.argv[1]), sys.argv[2]
with watched(folder, 0.5) as live:
    for _ in range(20):
        live()
        time.sleep(0.05)
    if case == "paused before":
        time.sleep(0.3)
        live()
        time.sleep(3)
        live()
    elif case == "loop":
        dead_loop(time.monotonic() + 60)
    elif case == "wait":
        threading.Event().wait(60)
"""


def run(folder, case):
    words = [sys.executable, "-c", PROGRAM, str(folder), case]
    return subprocess.run(words, capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize(("case", "doing"), [("loop", "dead_loop"), ("wait", "wait")])
def test_a_process_that_does_nothing_ends_with_its_stacks(case, doing, tmp_path):
    done = run(tmp_path, case)
    assert done.returncode == STUCK
    assert done.stderr.startswith("deeplearn: no step for ")
    assert f"in {doing}" in (tmp_path / "stacks.txt").read_text()


@pytest.mark.parametrize("case", ["steady", "paused before"])
def test_a_process_that_goes_on_is_left_alone(case, tmp_path):
    assert run(tmp_path, case).returncode == 0
    assert not list(tmp_path.iterdir())


def test_a_process_that_was_stopped_for_a_while_is_not_stuck(tmp_path):
    import signal

    words = [sys.executable, "-c", PROGRAM, str(tmp_path), "steady"]
    with subprocess.Popen(words) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) == 0


def test_none_watches_nothing(tmp_path):
    import threading

    before = threading.active_count()
    with watched(tmp_path, None) as live:
        live()
        assert threading.active_count() == before
