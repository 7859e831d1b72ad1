"""What an experiment's file may define, and which files are run."""

import hashlib

import pytest

from deeplearn import catalog
from deeplearn.errors import StorageError, UsageError

LEAST = "from deeplearn.experiment import Run as Config\n"


def own(folder, text, name="own.py"):
    (folder / name).write_text(LEAST + text)
    return str(folder / name)


def test_a_file_that_trains_nothing_is_an_experiment(tmp_path):
    recipe = catalog.load(own(tmp_path, "def main(config, work):\n    return {}\n"))
    assert recipe.experiment is None and recipe.main is not None and recipe.PRESETS == {}


def test_too_little_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="does not define experiment or main"):
        catalog.load(own(tmp_path, "", "empty.py"))


@pytest.mark.parametrize(("wrong", "right"), [("figure", "figures"), ("PRESET", "PRESETS"), ("expected", "EXPECTED")])
def test_a_name_that_is_nearly_one_of_the_contract_is_an_error(tmp_path, wrong, right):
    text = f"def main(config, work):\n    return {{}}\n{wrong} = {{}}\n"
    with pytest.raises(UsageError, match=f"defines {wrong}; did you mean {right}"):
        catalog.load(own(tmp_path, text, f"{wrong.lower()}_.py"))


def test_a_run_folder_runs_no_code_that_does_not_come_with_us(tmp_path):
    code = own(tmp_path, "raise SystemExit('it was run')\n", catalog.COPY)
    head = {"experiment": code, "source": hashlib.sha256((tmp_path / catalog.COPY).read_bytes()).hexdigest()}
    with pytest.raises(UsageError, match="add --trust"):
        catalog.of_run(tmp_path, head, trust=False)
    with pytest.raises(SystemExit):
        catalog.of_run(tmp_path, head, trust=True)
    (tmp_path / catalog.COPY).write_text(LEAST)
    with pytest.raises(StorageError, match="not the file that the run was trained with"):
        catalog.of_run(tmp_path, head, trust=True)


def test_a_path_to_one_of_our_files_is_that_experiment():
    path = catalog.locate("classification")
    assert catalog.load(str(path)).name == catalog.load("classification").name == "classification"
