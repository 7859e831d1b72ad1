import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runs import Config, make_run

from deeplearn.config import from_json, to_json
from deeplearn.errors import ConfigError, StorageError, UsageError
from deeplearn.lock import locked
from deeplearn.record.folder import Result, _rest, open_run, write_result, write_text
from deeplearn.record.reading import find_runs, load_run
from deeplearn.record.report import page


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPLEARN_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_a_new_folder_is_stamped_and_latest_points_at_it(root: Path) -> None:
    first = open_run(None, Config(model="vit"), "classification")
    second = open_run(None, Config(), "my/own/thing.py", b"pass")
    assert first.parent == root / "classification"
    assert second.parent == root / "thing"
    assert (root / "latest").resolve() == second.resolve()
    head = json.loads((first / "config.json").read_text())
    assert head["experiment"] == "classification"
    assert head["changed"] == ["model"]
    assert from_json(Config, head["config"]) == Config(model="vit")
    assert (second / "experiment.py").read_bytes() == b"pass"
    with pytest.raises(ConfigError, match="has changed since"):
        open_run(second, Config(), "my/own/thing.py", b"other")
    assert (first / "command.txt").read_text().startswith("python ")


def test_folders_made_in_the_same_second_differ(root: Path) -> None:
    assert len({open_run(None, Config(), "x") for _ in range(5)}) == 5


def test_a_given_folder_is_used_as_it_is_and_taken_up_again(tmp_path: Path, root: Path) -> None:
    for _ in range(2):
        assert open_run(tmp_path / "here", Config(), "x") == tmp_path / "here"
    assert len((tmp_path / "here" / "command.txt").read_text().splitlines()) == 2
    assert not root.exists()


def test_foreign_files_are_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.json").write_text('{"mine": 1}')
    with pytest.raises(UsageError, match="files that are not a run"):
        open_run(tmp_path / "home", Config(), "x")
    assert (tmp_path / "home" / "config.json").read_text() == '{"mine": 1}'
    open_run(tmp_path / "run", Config(), "x")
    with pytest.raises(UsageError, match="a run of x"):
        open_run(tmp_path / "run", Config(), "y")


def test_what_a_start_leaves_that_is_killed_at_once_is_taken_up(tmp_path: Path) -> None:
    for left in ({"lock"}, {"lock", "seal.json.partial"}, {"seal.json", "config.json.partial", "experiment.py"}):
        place = tmp_path / str(len(left))
        place.mkdir()
        for name in left:
            (place / name).write_text("")
        open_run(place, Config(), "x")
        assert (place / "config.json").stat().st_size
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "experiment.py").write_text("mine")
    with pytest.raises(UsageError, match="files that are not a run"):
        open_run(tmp_path / "mine", Config(), "x")


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file.*--workdir"):
        open_run(tmp_path / "file" / "run", Config(), "x")


def test_a_refusal_names_a_knob_that_there_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"report\.html .*another folder with --output\.$"):
        page([], tmp_path / "file" / "report.html")
    open_run(tmp_path / "run", Config(), "x")
    (tmp_path / "run" / "lock").mkdir()  # Cannot be opened as a file.
    with (
        pytest.raises(StorageError, match="copy the run to another folder and resume it there"),
        locked(tmp_path / "run"),
    ):
        pass


def test_write_text_keeps_the_old_file_when_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    result = Result(
        experiment="x",
        config=to_json(Config()),
        metrics={"test/loss": math.nan, "test/accuracy": np.float32(0.5)},
        tables={"test/confusion": np.eye(2), "test/bins": [1.0, math.inf]},
    )
    open_run(tmp_path, Config(), "x")
    write_result(tmp_path, result)
    read = load_run(tmp_path).result
    assert read.finished.startswith("20")
    assert replace(read, finished="") == replace(
        result,
        metrics={"test/loss": None, "test/accuracy": 0.5},
        tables={"test/confusion": [[1, 0], [0, 1]], "test/bins": [1.0, None]},
    )
    assert load_run(tmp_path).problems == []


def test_a_run_comes_back_with_its_history(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path, Config(model="vit")))
    assert (run.experiment, run.changed, run.problems) == ("classification", ["model"], [])
    (history,) = run.histories
    assert [entry["step"] for entry in history] == [10, 20, 30, 40]
    assert history[0]["train/loss"] == 0.1


def test_seeds_trained_one_by_one_have_a_history_each(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "r", Config())
    for seed in (0, 1):
        place = tmp_path / "runs" / "r" / f"seed-{seed}"
        place.mkdir()
        (place / "metrics.jsonl").write_text('{"step": 1, "seconds": 0, "train/loss": 1}\n')
    assert len(load_run(tmp_path / "runs" / "r").histories) == 3
    assert find_runs([tmp_path / "runs"]) == [tmp_path / "runs" / "r"]


DAMAGE = {
    "config.json": "{",
    "env.json": "[1]",
    "command.txt": "\xff",
    "metrics.jsonl": '{"step": 1, "seconds": 0}\nnull\n{"step": "x"}\n{"ste',
    "result.json": '{"metrics": 3}',
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("how", ["gone", "torn", "binary", "empty", "folder"])
def test_nothing_in_a_folder_can_make_loading_fail(tmp_path: Path, name: str, how: str) -> None:
    path = make_run(tmp_path / "run", Config()) / name
    path.unlink()
    if how == "torn":
        path.write_text(DAMAGE[name])
    elif how == "binary":
        path.write_bytes(bytes(range(256)))
    elif how == "empty":
        path.write_text("")
    elif how == "folder":
        path.mkdir()
    run = load_run(tmp_path / "run")
    assert run.experiment == "classification" or name == "config.json"
    if name != "command.txt" and (name, how) not in {("metrics.jsonl", "gone"), ("metrics.jsonl", "empty")}:
        assert any(name in problem for problem in run.problems)
    assert not any("\n" in problem for problem in run.problems)


def test_find_runs(tmp_path: Path, root: Path) -> None:
    made = [make_run(None, Config(seed=seed)) for seed in (0, 1)]
    assert sorted(find_runs([root])) == sorted(made)
    (latest,) = find_runs([root / "latest"])
    assert latest == made[1].resolve()
    assert find_runs([made[0], made[0]]) == [made[0]]
    with pytest.raises(UsageError, match="does not exist"):
        find_runs([tmp_path / "no"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no run"):
        find_runs([tmp_path / "empty"])


def test_a_folder_in_which_another_training_renames_checkpoints_is_looked_at_all_the_same(tmp_path, monkeypatch):
    """As a second training does before it is refused; nothing is withdrawn where something has changed."""
    partial = tmp_path / "checkpoints" / "8.partial"
    partial.mkdir(parents=True)
    (partial / "data").write_text("being written")
    (tmp_path / "metrics.jsonl").write_text("")
    usual = os.scandir

    def scandir(path="."):
        if Path(path) == partial:
            raise FileNotFoundError(path)
        return usual(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list(_rest(tmp_path)) == [str(tmp_path / "metrics.jsonl")]


def test_no_empty_patch_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a binary that git cannot compare, say, or where git fails in between."""
    stamp = {"git": {"commit": "0" * 40, "dirty": True}}
    monkeypatch.setattr("deeplearn.record.folder.environment", lambda code: stamp)
    for patch in ("", "+one"):
        monkeypatch.setattr("deeplearn.record.folder.diff_patch", lambda code, patch=patch: patch)
        folder = open_run(tmp_path / f"run{patch}", Config(), "classification")
        assert (folder / "diff.patch").exists() == bool(patch)
