import signal
import subprocess
import sys

import pytest

from deeplearn.interrupt import Interrupted, promptly

DROPPED = """
import os, signal, time
from deeplearn.interrupt import promptly
class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(100):  # Python handles a signal between two of its steps.
            pass
with promptly("here"):
    Last()
    time.sleep(60)
"""


def test_a_signal_whose_exception_python_drops_ends_the_process_all_the_same():
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=40)
    assert done.returncode == 128 + signal.SIGTERM
    assert "Exception ignored" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_an_exception_that_leaves_nothing_behind(number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"stopped by {number.name} here") as stopped, promptly("here"):
        signal.raise_signal(number)
    assert stopped.value.exit_code == 128 + number
    assert not isinstance(stopped.value, Exception)  # Libraries catch those and go on.
    assert signal.getsignal(number) is before
    assert signal.alarm(0) == 0


def test_what_the_user_wants_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with promptly("here"):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
