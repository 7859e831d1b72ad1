import json
import os

import pytest

from deeplearn.errors import StorageError
from deeplearn.record import seal

FILES = ("config.json", "fit.json", "assets/classes.json", "seed-1/fit.json", "seed-1/fold-2/assets/a/b.bin")
FREE = ("result.json", "seed-1/metrics.jsonl", "figures/a.svg", "checkpoints/4/d/x")


@pytest.fixture
def run(tmp_path):
    for name in (*FILES, *FREE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'["{name}"]')
    seal.write(tmp_path)
    return tmp_path


DAMAGE = {
    "changed": lambda path: path.write_bytes(path.read_bytes()[::-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b" "),
    "missing": lambda path: path.unlink(),
    "a link": lambda path: (path.rename(path.with_name("elsewhere")), path.symlink_to(path.with_name("elsewhere"))),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", DAMAGE)
def test_whatever_happens_to_a_file_its_name_is_said(run, name, how):
    seal.check(run)
    DAMAGE[how](run / name)
    with pytest.raises(StorageError, match=name):
        seal.check(run)


def test_an_asset_that_was_added_is_named(run):
    (run / "seed-1" / "assets").mkdir()
    (run / "seed-1" / "assets" / "new.json").write_text("1")
    with pytest.raises(StorageError, match=r"seed-1/assets/new\.json was added"):
        seal.check(run)


def test_the_checkpoint_with_which_the_run_ended_has_to_be_there(run):
    (run / "checkpoints" / "4").rename(run / "checkpoints" / "3")
    with pytest.raises(StorageError, match=r"checkpoints/4, with which the run ended, is missing"):
        seal.check(run)


def test_what_no_prediction_depends_on_may_change(run):
    for name in FREE:
        (run / name).write_text("other")
    seal.check(run)


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', '{"files": {"a": 1}}', '{"files": {}}', "[" * 100_000])
def test_a_seal_that_says_nothing_is_damage(run, text):
    (run / "seal.json").write_text(text)
    with pytest.raises(StorageError):
        seal.check(run)


def test_a_missing_seal_is_damage_and_an_open_one_is_a_run_under_way(run):
    (run / "seal.json").unlink()
    with pytest.raises(StorageError, match=r"seal\.json is missing"):
        seal.check(run)
    (run / "seal.json").write_text(json.dumps({"files": None}))
    seal.check(run)
