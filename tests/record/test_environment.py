import getpass
import json
import socket
import subprocess
from pathlib import Path

import jax
import pytest

from deeplearn.record import environment as env


def test_the_stamp_is_json_and_says_what_a_result_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = env.environment()
    assert json.loads(json.dumps(stamp)) == stamp
    assert stamp["packages"]["jax"] == jax.__version__
    assert stamp["devices"] == [{"platform": "cpu", "kind": "cpu", "count": 8}]
    assert "--xla_force_host_platform_device_count=8" in stamp["variables"]["XLA_FLAGS"]
    assert stamp["cpu"]["cores"] >= stamp["cpu"]["threads"] >= 1
    assert stamp["memory_gib"] > 0


def test_the_stamp_names_neither_machine_nor_user_nor_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/somebody"))
    monkeypatch.setenv("DEEPLEARN_DATA", "/home/somebody/data")
    monkeypatch.setenv("WANDB_API_KEY", "hidden-away")
    monkeypatch.setattr(socket, "gethostname", pytest.fail)
    text = json.dumps(env.environment())
    assert "somebody" not in text
    assert "hidden-away" not in text
    assert "~/data" in text
    host, user = subprocess.run(["uname", "-n"], capture_output=True, text=True).stdout.strip(), getpass.getuser()
    assert len(host) < 5 or host not in text
    assert len(user) < 5 or user not in text


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own repository as the working directory, with the package installed elsewhere."""
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init", "-q")
    (project / "mine.py").write_text("one = 1\n")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    monkeypatch.chdir(project)
    monkeypatch.setattr(env, "__file__", str(tmp_path / "site-packages" / "environment.py"))
    return project


def test_a_clean_checkout(checkout: Path) -> None:
    assert env.git_state() == {"commit": git(checkout, "rev-parse", "HEAD").strip(), "dirty": False}
    assert env.diff_patch() == ""


def test_the_patch_leads_from_the_commit_to_the_code_that_ran(checkout: Path, tmp_path: Path) -> None:
    (checkout / "mine.py").write_text("one = 2\n")
    (checkout / "new.py").write_text("two = 2\n")
    assert env.git_state()["dirty"]
    (tmp_path / "diff.patch").write_text(env.diff_patch())
    git(tmp_path, "clone", "-q", str(checkout), "copy")
    git(tmp_path / "copy", "apply", str(tmp_path / "diff.patch"))
    for name in ("mine.py", "new.py"):
        assert (tmp_path / "copy" / name).read_text() == (checkout / name).read_text()


def test_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(env, "__file__", str(tmp_path / "environment.py"))
    assert env.git_state() is None
    assert env.diff_patch() == ""
