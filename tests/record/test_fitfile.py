import os

import pytest

from deeplearn.errors import ConfigError, StorageError, UsageError
from deeplearn.record.fitfile import admit, read, read_asset

OWN = {"knobs": {"width": 3, "steps": 4}, "data": {"train": {"sha256": "1"}}, "inputs": {}, "fitted": None}
ASSETS = {"classes.json": ["cat", "dog"], "codes.bin": b"\0\1"}


@pytest.fixture
def folder(tmp_path):
    admit(tmp_path, OWN, ASSETS, {"steps"})
    return tmp_path


def test_a_fit_is_taken_up_again_and_keeps_its_id(folder):
    before = read(folder)
    admit(folder, {**OWN, "knobs": {"width": 3, "steps": 8}}, ASSETS, {"steps"})
    assert read(folder) == before
    assert read_asset(folder, "classes.json") == ["cat", "dog"]
    assert read_asset(folder, "codes.bin") == b"\0\1"
    with pytest.raises(ConfigError, match="width was 3 and is now 4"):
        admit(folder, {**OWN, "knobs": {"width": 4}}, ASSETS, {"steps"})


def test_beginning_again_is_another_fit(folder):
    before = read(folder)["id"]
    admit(folder, {**OWN, "knobs": {"width": 4}}, ASSETS, {"steps"}, again=True)
    assert read(folder)["id"] != before


@pytest.mark.parametrize("spoil", ["reorder", "remove", "link", "pipe"])
def test_an_asset_that_changed_is_named_by_whoever_resumes_or_reads(folder, spoil):
    path = folder / "assets" / "classes.json"
    path.unlink()
    if spoil == "reorder":
        path.write_text('["dog", "cat"]')
    elif spoil == "link":
        path.symlink_to("/etc/passwd")
    elif spoil == "pipe":
        os.mkfifo(path)
    for use in (lambda: read_asset(folder, "classes.json"), lambda: admit(folder, OWN, ASSETS, {"steps"})):
        with pytest.raises(StorageError, match=r"assets/classes\.json is damaged or missing"):
            use()


def test_nothing_that_lies_there_instead_makes_a_reader_wait_or_fail(folder):
    for spoil in (lambda path: path.write_text("[" * 10**5), os.mkfifo, lambda path: path.write_text("{}")):
        (folder / "fit.json").unlink()
        spoil(folder / "fit.json")
        with pytest.raises(StorageError, match=r"fit\.json is damaged"):
            read(folder)
    (folder / "fit.json").unlink()
    with pytest.raises(UsageError, match="holds no model yet"):
        read(folder)
