from pathlib import Path

from runs import Adam, Config, make_run

from deeplearn.record.compare import compare
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
