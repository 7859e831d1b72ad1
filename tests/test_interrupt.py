import signal
import subprocess
import sys

import pytest

from deeplearn.interrupt import Interrupted, promptly, signals

PROGRAM = """
import os, signal, sys, time
from deeplearn.interrupt import promptly
class Last:
    def __del__(self):  # Python drops an exception that comes up in here.
        os.kill(os.getpid(), int(sys.argv[1]))
        for _ in range(100):
            pass
with promptly("here"):
    Last()
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_process_at_once_wherever_it_is(number):
    words = [sys.executable, "-c", PROGRAM, str(int(number))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=40)
    assert done.returncode == 128 + number
    assert done.stderr == f"deeplearn: stopped by {number.name} here\n"


def test_an_evaluation_that_makes_another_error_of_it_was_interrupted():
    with signals() as stop, pytest.raises(Interrupted, match="stopped by SIGTERM there"), stop.at_once("there"):
        try:
            signal.raise_signal(signal.SIGTERM)
        except Interrupted:
            raise ImportError("as a module of C would") from None


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with promptly("here"), signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_the_user_wants_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with promptly("here"):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
