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


def test_the_stamp_names_what_decides_the_bits_but_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_SOME_NEW_FLAG", "1")
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "node0:1234")
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", "node0:1234")
    stamp = env.environment()
    assert {"scipy", "pillow", "tensorstore", "sentencepiece", "sacrebleu"} <= stamp["packages"].keys()
    assert stamp["variables"]["JAX_SOME_NEW_FLAG"] == "1"
    assert "node0" not in json.dumps(stamp)


def test_every_start_keeps_what_was_different_then() -> None:
    first = {"started": "1", "python": "3.11", "cpu": {"threads": 2}}
    second = env.after(first, {"started": "2", "python": "3.12", "cpu": {"threads": 2}})
    third = env.after(second, {"started": "3", "python": "3.12", "cpu": {"threads": 4}})
    assert third["earlier"] == [{"started": "1", "python": "3.11"}, {"started": "2", "cpu": {"threads": 2}}]
    assert env.after({}, first) == first


def test_an_account_without_a_home_has_a_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    assert env.environment()["python"]


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own repository with an experiment's file, the package being installed elsewhere."""
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
    mine = checkout / "mine.py"
    assert env.git_state(mine) == {"commit": git(checkout, "rev-parse", "HEAD").strip(), "dirty": False}
    assert env.diff_patch(mine) == ""


def test_a_checkout_that_we_only_happen_to_be_in_is_left_alone(checkout: Path) -> None:
    (checkout / "mine.py").write_text("secret = 2\n")
    assert env.git_state() is None
    assert env.diff_patch() == ""


def test_the_settings_of_a_checkout_start_no_program(checkout: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    (checkout / ".gitattributes").write_text("*.py diff=trap\n")
    for name in ("core.fsmonitor", "diff.external", "diff.trap.command", "diff.trap.textconv"):
        git(checkout, "config", name, str(trap))
    (checkout / "mine.py").write_text("one = 2\n")
    assert env.git_state(checkout / "mine.py")["dirty"]
    assert "+one = 2" in env.diff_patch(checkout / "mine.py")
    assert not (tmp_path / "sprung").exists()


def test_the_patch_leads_from_the_commit_to_the_code_that_ran(checkout: Path, tmp_path: Path) -> None:
    (checkout / "mine.py").write_text("one = 2\n")
    (checkout / "new.py").write_text("two = 2\n")
    assert env.git_state(checkout / "mine.py")["dirty"]
    (tmp_path / "diff.patch").write_text(env.diff_patch(checkout / "mine.py"))
    git(tmp_path, "clone", "-q", str(checkout), "copy")
    git(tmp_path / "copy", "apply", str(tmp_path / "diff.patch"))
    for name in ("mine.py", "new.py"):
        assert (tmp_path / "copy" / name).read_text() == (checkout / name).read_text()


def test_new_files_that_are_no_code_are_named_and_make_no_patch(checkout: Path) -> None:
    mine = checkout / "mine.py"
    (checkout / "report.html").write_text("a page\n")
    (checkout / "noted.txt").write_text("a note\n")
    git(checkout, "add", "noted.txt")
    state = env.git_state(mine)
    assert not state["dirty"] and sorted(state["untracked"]) == ["noted.txt", "report.html"]
    assert env.diff_patch(mine) == ""
    told = dict(env.facts({"git": state}))
    assert "local changes" not in told["commit"] and "report.html" in told["files that the commit lacks"]
    (checkout / "inner").mkdir()
    (checkout / "inner" / "new.py").write_text("two = 2\n")
    assert env.git_state(mine)["dirty"] and "+two = 2" in env.diff_patch(mine)


def test_of_many_new_files_some_are_named(checkout: Path) -> None:
    for number in range(env.UNTRACKED + 3):
        (checkout / f"{number}.txt").touch()
    named = env.git_state(checkout / "mine.py")["untracked"]
    assert len(named) == env.UNTRACKED + 1 and named[-1] == "and 3 more"


def test_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(env, "__file__", str(tmp_path / "environment.py"))
    assert env.git_state() is None
    assert env.diff_patch() == ""
