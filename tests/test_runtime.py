"""Settings before JAX starts: what is set stays, nothing restarts a test, the cache is private."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deeplearn import runtime
from deeplearn.errors import ConfigError

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_what_the_user_set_stays():
    environment = {"GLIBC_TUNABLES": "glibc.malloc.check=1", "NPROC": "7"}
    added = runtime.apply(environment)
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.check=1" and environment["NPROC"] == "7"
    assert "JAX_COMPILATION_CACHE_DIR" in added and not {"GLIBC_TUNABLES", "NPROC"} & set(added)
    assert runtime.apply(environment) == {}


def test_a_run_keeps_the_threads_that_it_began_with(tmp_path):
    """XLA cuts sums by NPROC: with another one a resumed run has other last bits."""
    (tmp_path / "env.json").write_text('{"variables": {"NPROC": "3"}}')
    environment = {}
    runtime.keep_threads(tmp_path, environment)
    assert runtime.apply(environment) and environment["NPROC"] == "3"
    with pytest.raises(ConfigError, match="began with NPROC=3"):
        runtime.keep_threads(tmp_path, {"NPROC": "4"})


@pytest.mark.parametrize(
    "text", ["", "[]", '{"variables": {}}', '{"variables": {"NPROC": "3; rm"}}', '{"variables": {"NPROC": 0}}']
)
def test_threads_that_nobody_can_read_are_those_of_the_machine(tmp_path, text):
    (tmp_path / "env.json").write_text(text)
    environment = {}
    runtime.keep_threads(tmp_path, environment)
    assert environment == {}


def test_the_cache_is_ours_alone(cache):
    folder = Path(runtime.settings()["JAX_COMPILATION_CACHE_DIR"])
    assert folder.is_relative_to(cache) and stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_cache_that_others_can_write_is_refused(capsys):
    Path(runtime.settings()["JAX_COMPILATION_CACHE_DIR"]).chmod(0o777)
    assert "JAX_COMPILATION_CACHE_DIR" not in runtime.settings()
    assert "others can write" in capsys.readouterr().err


def test_a_cache_that_cannot_be_made_is_reported(cache, monkeypatch, capsys):
    (cache / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    assert "JAX_COMPILATION_CACHE_DIR" not in runtime.settings()
    assert "no compilation cache" in capsys.readouterr().err


def test_threads_are_at_most_those_of_the_process():
    assert 1 <= runtime.threads() <= os.cpu_count()


def test_a_test_is_never_restarted(monkeypatch):
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("restarted"))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop(runtime.SWITCH, None)
    os.environ.pop("GLIBC_TUNABLES", None)
    runtime.prepare()


def script(folder: Path, **environment: str) -> list[str]:
    """Lines of a command named `deeplearn` that prepares itself and shows its process and what it sees."""
    command = folder / "deeplearn"
    command.write_text(
        "import os, sys\nprint(os.getpid(), flush=True)\nfrom deeplearn import runtime\nruntime.prepare()\n"
        "seen = [os.environ.get(name) for name in ('GLIBC_TUNABLES', 'NPROC')]\n"
        "print(os.getpid(), *seen, 'jax' in sys.modules, sys.argv[1:])\n"
    )
    clean = {k: v for k, v in os.environ.items() if k not in (runtime.SWITCH, "GLIBC_TUNABLES", "NPROC")}
    done = subprocess.run(
        [sys.executable, str(command), "--flag", "a b"],
        env={**clean, "PYTHONPATH": str(CHECKOUT), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages are set on Linux only")
def test_the_command_restarts_once_in_the_same_process_with_its_arguments(tmp_path):
    first, again, last = script(tmp_path)
    assert first == again and last.split()[0] == first
    assert runtime.MALLOC in last and "False ['--flag', 'a b']" in last


def test_it_can_be_switched_off(tmp_path):
    _, last = script(tmp_path, DEEPLEARN_RUNTIME="off")
    assert "None None False" in last
