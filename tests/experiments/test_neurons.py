"""The history of neurons: what predict answers, and that its learners are told apart by people they have not seen."""

from dataclasses import replace

import numpy as np
import pytest

from deeplearn import catalog
from deeplearn.cli import main
from deeplearn.record.predictions import columns_of
from deeplearn.trained import Trained

recipe = catalog.load("neurons")
CONFIG = recipe.Config()


@pytest.fixture
def trained(tmp_path):
    return Trained(config=CONFIG, folder=tmp_path, variables={"params": {}})


def test_a_formula_is_answered_by_its_truth_table_and_its_units(trained):
    rows = recipe.apply(trained, ["(a and b) or not c"])
    answer = [*rows[0]][-1]
    assert [row[answer] for row in rows] == [int((row["a"] and row["b"]) or not row["c"]) for row in rows]
    assert [*rows[0]][4:] == ["c+1: 1 of c", "u1: 2 of a, b", "u2: 1 of c+1 unless u1", "u3: always unless u2"]


def test_rows_of_several_formulas_are_shown_under_the_same_columns(trained):
    rows = columns_of(recipe.apply(trained, ["a", "b ^ c", "True"]))
    assert len(rows) == 2 + 4 + 1 and len({tuple(row) for row in rows}) == 1
    assert rows[0]["b"] is None and rows[-1]["u1: always"] == 1


def test_truth_tables_that_nobody_reads_are_refused(trained):
    (row,) = recipe.apply(trained, [" and ".join("abcdefghijk")])
    assert "has 11 inputs" in row["error"]


def test_predict_draws_the_net_in_characters_and_as_a_picture(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deeplearn.trained.recipe_of", lambda folder, trust: (recipe, CONFIG))
    monkeypatch.setattr("deeplearn.trained.opened", lambda recipe, config: trained)
    picture = tmp_path / "new" / "net.svg"
    assert main(["predict", str(tmp_path), "(a and b) or not c", "--picture", str(picture)]) == 0
    shown = capsys.readouterr().out
    assert "└─○ u1, threshold 2" in shown and "c+1: 1 of c" in shown
    assert "(a and b) or not c" in picture.read_text()
    rows = ["predict", str(tmp_path), "a and b", "--output", "-"]
    assert main(rows) == 0 and capsys.readouterr().out.startswith("formula,a,b,")
    assert main([*rows, "--picture", "net.txt"]) == 2 and ".svg or .png" in capsys.readouterr().err


def test_every_competitor_judges_every_patient_once():
    rows = recipe.baseline(replace(CONFIG, folds=3))
    assert len(rows) == 4
    for own in rows.values():
        each = own["cancer/each"].values
        assert each.shape == (569,) and set(np.unique(each)) == {0.0, 1.0}
        assert 0.9 < own["cancer/accuracy"] == each.mean()
