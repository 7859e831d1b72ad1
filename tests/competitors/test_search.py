"""The search for a competitor's settings: its budget holds, the usual setting is among the tried, and it says so."""

import time

import numpy as np
import pytest

from deeplearn.competitors.search import Space, between, drawn, effort, progress, search, whole

SPACE = Space({"x": 5.0}, lambda rng: {"x": between(rng, 0.1, 10)})


def test_the_best_of_the_settings_is_found_and_the_budget_is_said(capsys):
    seen = []

    def loss(setting):
        seen.append(setting["x"])
        return abs(np.log(setting["x"]))

    found = search("curve", SPACE, loss, settings=40)
    assert len(seen) == found.tried == 40 and seen[0] == 5.0
    assert found.loss == min(abs(np.log(seen))) < 0.2
    assert found.setting["x"] == min(seen, key=lambda x: abs(np.log(x)))
    assert capsys.readouterr().err.startswith("curve: the best of 40 settings on the inner split in 0 CPU seconds: x ")
    again = search("curve", SPACE, loss, settings=40)
    assert again.setting == found.setting


def test_no_setting_is_begun_when_the_time_is_up(capsys):
    def loss(setting):
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        return setting["x"]

    found = search("slow", SPACE, loss, settings=40, seconds=0.12)
    assert 1 <= found.tried <= 4
    assert "of 40, for want of time" in capsys.readouterr().err


def test_settings_that_fail_to_give_a_number_are_not_chosen():
    assert search("holes", SPACE, lambda s: np.nan if s["x"] < 5 else s["x"], settings=20).setting["x"] >= 5


def test_draws_stay_between_their_ends():
    rng = np.random.default_rng(0)
    drawn = [whole(rng, 4, 48) for _ in range(500)]
    assert min(drawn) >= 4 and max(drawn) <= 48
    assert np.median(drawn) == pytest.approx(np.sqrt(4 * 48), rel=0.2)


def test_a_try_of_few_steps_does_not_wait_for_its_competitor(capsys):
    assert effort(100) == effort(5000) == 1.0
    seen = []
    search("curve", SPACE, lambda s: seen.append(s) or s["x"], effort=effort(5))
    assert [s["x"] for s in seen][:1] == [5.0] and len(seen) == 2  # the usual one is always among them
    assert "5% of the usual effort" in capsys.readouterr().err


def test_rows_that_are_left_out_are_said(capsys):
    assert sorted(drawn("trees", 10, 40)) == list(range(10)) and not capsys.readouterr().err
    assert len(set(drawn("trees", 1000, 40))) == 40
    assert "trees: learns from 40 of 1,000 rows" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [30, 60, 120])
def test_progress_fits_the_terminal_and_leaves_a_clean_line(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    progress("HOG + SVM: 17 of 100 pictures looked through")
    assert capsys.readouterr().err == f"{'HOG + SVM: 17 of 100 pictures looked through'[: columns - 1]:{columns - 1}}\r"
    search("curve", SPACE, lambda setting: setting["x"], settings=2)
    *shown, last = capsys.readouterr().err.split("\r")
    assert {len(line) for line in shown} == {columns - 1} and not shown[-1].strip()
    assert last.startswith("curve: the best of 2 settings")
