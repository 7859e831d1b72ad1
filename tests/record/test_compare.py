import json
from pathlib import Path

import pytest
from runs import Adam, Config, make_run

from deeplearn.cli import main
from deeplearn.record.compare import compare, differences
from deeplearn.record.reading import load_run


def test_differences_are_named_and_the_same_is_not(tmp_path: Path) -> None:
    a = load_run(make_run(tmp_path / "a", Config(), 0.9))
    b = load_run(make_run(tmp_path / "b", Config(optimizer=Adam(rate=0.01)), 0.95))
    text = compare(a, b)
    assert text.index("optimizer.rate") < text.index("0.001") < text.index("0.01\n")
    assert "steps" not in text
    assert "test/accuracy" in text
    assert "+0.0500" in text
    assert str(tmp_path / "a") in text


def test_truth_values_stay_what_they_are_in_a_narrow_terminal(tmp_path: Path) -> None:
    """tabulate folds cells of its own accord, and takes the word False for something."""
    a = load_run(make_run(tmp_path / "a", Config(), 0.9))
    b = load_run(make_run(tmp_path / "b", Config(), 0.9))
    a.config.update({"shuffled": False, "long": "x" * 100, "none": None})
    b.config.update({"shuffled": True, "long": "y" * 100, "none": 3})
    lines = [line.split() for line in compare(a, b, 60).splitlines()]
    assert ["shuffled", "False", "True"] in lines and ["none", "None", "3"] in lines


def test_seeds_give_an_interval(tmp_path: Path) -> None:
    a = load_run(make_run(tmp_path / "a", Config(), seeds=[0.90, 0.91, 0.92]))
    b = load_run(make_run(tmp_path / "b", Config(), seeds=[0.93, 0.94, 0.95]))
    text = compare(a, b)
    assert "Both have the same knobs." in text
    assert "+0.0300 [+0.0073, +0.0527]" in text  # scipy.stats.ttest_ind(b, a, equal_var=False)


def test_an_unfinished_run_is_said_to_be_so(tmp_path: Path) -> None:
    a = load_run(make_run(tmp_path / "a", Config()))
    b = load_run(make_run(tmp_path / "b", Config(), finish=False))
    assert "B: unfinished: no result.json" in compare(a, b)
    assert "Neither run has metrics." in compare(b, b)


def test_a_knob_that_one_run_does_not_have_is_no_none(tmp_path: Path) -> None:
    a, b = (load_run(make_run(tmp_path / name, Config())) for name in "ab")
    del b.config["steps"]
    (line,) = [line for line in compare(a, b).splitlines() if line.startswith("steps")]
    assert line.split() == ["steps", str(a.config["steps"])]


def test_json_has_the_intervals_and_the_problems_of_the_text(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", Config(), seeds=[0.90, 0.91, 0.92])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("{torn\n")
    a, b = load_run(folder), load_run(make_run(tmp_path / "b", Config(), seeds=[0.93, 0.94, 0.95]))
    found = json.loads(json.dumps(differences(a, b), allow_nan=False))
    own = found["metrics"]["test/accuracy"]
    assert found["problems"] == {"a": a.problems, "b": []} and "damaged" in a.problems[0]
    assert own["sd"]["a"] == pytest.approx(0.01)
    assert own["interval"]["difference"] == pytest.approx([0.0073, 0.0527], abs=1e-4)
    assert own["interval"]["a"] == pytest.approx([0.8852, 0.9348], abs=1e-4)
    alone = found["metrics"]["test/loss"]
    assert alone["sd"]["a"] is None and alone["interval"] == {"a": None, "b": None, "difference": None}


def test_json_names_what_one_run_lacks_and_holds_no_nan(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / name, Config()) for name in "ab"]
    stored = json.loads((folders[0] / "result.json").read_text())
    stored["metrics"] |= {"test/only": 0.5, "test/loss": None}
    (folders[0] / "result.json").write_text(json.dumps(stored))
    env = json.loads((folders[0] / "env.json").read_text())
    (folders[0] / "env.json").write_text(json.dumps(env | {"python": "2.7"}))
    found = json.loads(json.dumps(differences(*map(load_run, folders)), allow_nan=False))
    assert found["metrics"]["test/only"]["a"] == 0.5 and found["metrics"]["test/only"]["b"] is None
    assert found["metrics"]["test/loss"]["a"] is None and found["metrics"]["test/loss"]["difference"] is None
    assert found["environment"]["python"][0] == "2.7"


@pytest.mark.parametrize("width", ["60", "80"])
def test_a_comparison_fits_the_screen(width: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", width)
    a = make_run(Path("a"), Config(model="x" * 120), seeds=[0.90, 0.91])
    b = make_run(Path("b"), Config(), seeds=[0.93, 0.94])
    for folder, digest in ((a, "x"), (b, "y")):
        (folder / "fit.json").write_text(json.dumps({"data": {"train": {"sha256": digest}}}))
    assert main(["compare", "a", "b"]) == 0
    wide = capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["compare", "a", "b"]) == 0
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= int(width) < max(map(len, wide.splitlines()))
    assert "0.9050 ± 0.0071 [0.8415, 0.9685]" in narrow and "+0.0300 [-0.0004, +0.0604]" in narrow
    assert narrow.count("x") == wide.count("x") >= 120  # Wrapped, nothing lost.
