import signal
import subprocess
import sys
import threading

import pytest

from deeplearn.errors import ConfigError, StorageError
from deeplearn.lock import LOCK, locked

OWNER = """
import pathlib, sys, time
from deeplearn.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(600)
"""


def test_the_second_is_told_who_has_the_folder_and_a_killed_owner_has_it_no_more(tmp_path):
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "mine\n"
        with pytest.raises(ConfigError, match=rf"in use by process {owner.pid} on .*, started 20"), locked(tmp_path):
            pass
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "new" / "run"):
        assert (tmp_path / "new" / "run").is_dir()
    assert not (tmp_path / "new" / "run").exists()


def test_it_is_free_again_after_an_error_and_held_by_one_at_a_time(tmp_path):
    """Threads that take it, leave it and remove its file as fast as they can: never are two inside."""
    inside, most, entered = 0, 0, 0

    def visit():
        nonlocal inside, most, entered
        own = 0
        while own < 50:
            try:
                with locked(tmp_path):
                    own += 1
                    inside += 1
                    most, entered = max(most, inside), entered + 1
                    inside -= 1
                    raise KeyError
            except (ConfigError, KeyError):
                continue

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert entered == 4 * 50
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("code", ["ENOLCK", "EOPNOTSUPP"])
def test_a_disk_without_locks_is_said_and_used(code, tmp_path, monkeypatch, capsys):
    import errno
    import fcntl
    import os

    def refuse(*_):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path):
        assert "a disk without locks" in capsys.readouterr().err


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError, match="cannot write"), locked(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "kept"
