"""From an experiment to a run folder: seeds, competitor, result, and a finished run taken up again."""

import json
import shutil
from dataclasses import replace

import orbax.checkpoint as ocp
import pytest
from toy import RUN, toy

from deeplearn import catalog, train
from deeplearn.errors import ConfigError

OWN = '''"""Points."""
from toy import RUN, columns, toy
from deeplearn.experiment import Run as Config


def experiment(config):
    return toy(config)


def baseline(config):
    return {"always the first": {"test/accuracy": float((columns(100, 1)["label"] == 0).mean())}}
'''


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN)
    return catalog.load(str(path))


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def together(recipe, tmp_path_factory):
    config = replace(RUN, seeds=2, mesh="data=1", workdir=tmp_path_factory.mktemp("together") / "run")
    return train.train(recipe, config)


def test_seeds_in_turn_give_the_values_of_seeds_together(recipe, together, tmp_path):
    config = replace(RUN, seeds=2, together=False, mesh="data=1", workdir=tmp_path / "run")
    apart = result(train.train(recipe, config))["seeds"]["test/loss"]["values"]
    assert apart == pytest.approx(result(together)["seeds"]["test/loss"]["values"], rel=1e-4)
    assert (tmp_path / "run" / "seed-1" / "fit.json").is_file()


def test_the_competitor_stands_beside_the_result(together):
    found = result(together)
    assert found["baseline"]["always the first"]["test/accuracy"] > 0
    assert found["metrics"]["test/loss"] == pytest.approx(sum(found["seeds"]["test/loss"]["values"]) / 2)
    assert found["parameters"] == 8 * 32 + 32 + 2 * 32 + 2 * 32 + 2


def test_where_nothing_is_drawn_the_learnt_numbers_are_not_read_again(recipe, together, tmp_path, monkeypatch):
    """A model that needs all devices would not fit on the one that wrote the result."""
    monkeypatch.setattr(ocp.Checkpointer, "restore", None)
    copy = shutil.copytree(together, tmp_path / "copy")
    config = replace(RUN, seeds=2, mesh="data=1", workdir=copy)
    train._write(recipe, config, copy, train._split([{}]), 0.0)
    assert result(copy)["parameters"] == 8 * 32 + 32 + 2 * 32 + 2 * 32 + 2


def test_training_again_changes_no_number(recipe, together):
    before = result(together)["metrics"]
    again = replace(RUN, seeds=2, mesh="data=1", workdir=together)
    seconds = result(together)["seconds"]
    assert result(train.train(recipe, again))["metrics"] == pytest.approx(before)
    assert result(together)["seconds"] > seconds  # of all starts


def test_the_seconds_of_a_start_that_was_killed_count_too(together):
    log = together / "metrics.jsonl"
    *lines, last = log.read_text().splitlines()
    log.write_text("\n".join([*lines, json.dumps(json.loads(last) | {"seconds": 1000.0})]) + "\n")
    assert train._spent(together) >= 1000
    (together / "result.json").rename(together / "kept.json")
    assert train._spent(together) == 1000
    (together / "kept.json").rename(together / "result.json")


def test_other_knobs_are_refused_before_anything_is_loaded(together, recipe):
    def loaded(config):
        raise AssertionError("the data were loaded")

    other = replace(RUN, seeds=2, batch=16, mesh="data=1", workdir=together)
    with pytest.raises(ConfigError, match="batch was 32 and is now 16"):
        train.train(replace(recipe, experiment=loaded), other)


def test_a_command_on_other_data_is_refused_and_changes_no_byte(together, recipe):
    """Also of what says how the run was started: it was not."""

    def moved(config):
        one = recipe.experiment(config)
        columns = {**one.train.columns, "x": one.train.columns["x"] + 1}
        return replace(one, train=replace(one.train, columns=columns))

    contents = lambda: {path: path.read_bytes() for path in sorted(together.rglob("*")) if path.is_file()}  # noqa: E731
    before = contents()
    with pytest.raises(ConfigError, match="other data"):
        train.train(replace(recipe, experiment=moved), replace(RUN, seeds=2, mesh="data=1", workdir=together))
    assert contents() == before


def test_a_stamp_that_is_a_link_stops_no_training_and_is_left_alone(recipe, tmp_path):
    config = replace(RUN, mesh="data=1", workdir=tmp_path / "run")
    folder = train.train(recipe, config)
    (tmp_path / "elsewhere").write_text("mine")
    (folder / "diff.patch").unlink(missing_ok=True)
    (folder / "diff.patch").symlink_to(tmp_path / "elsewhere")
    train.train(recipe, config)
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_the_loop_refuses_a_folder_of_other_knobs_when_it_is_called_from_a_script(tmp_path):
    from deeplearn import fit

    fit(toy(RUN), replace(RUN, mesh="data=1"), tmp_path)
    other = replace(RUN, batch=16, mesh="data=1")
    with pytest.raises(ConfigError, match="batch was 32 and is now 16"):
        fit(toy(other), other, tmp_path)
