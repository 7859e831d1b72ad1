"""The results as a page of documentation: commands, seeds, intervals and competitors come from the run folders."""

import json
from dataclasses import dataclass

import pytest
from runs import Config, make_run

from deeplearn.cli import main
from deeplearn.errors import UsageError
from deeplearn.record.reading import load_run
from deeplearn.record.results import results


@dataclass(frozen=True, kw_only=True)
class Fed(Config):
    data: str = "digits"


def test_each_table_stands_under_its_command_with_seeds_interval_and_competitor(tmp_path, capsys):
    one = make_run(tmp_path / "one", Fed(), seeds=[0.97, 0.98, 0.99])
    (one / "command.txt").write_text("deeplearn train classification --seeds 3 --workdir runs/x\n")
    make_run(tmp_path / "two", Fed(data="letters"), 0.5)
    assert main(["report", str(tmp_path), "--format", "results"]) == 0
    text = capsys.readouterr().out
    digits = text.partition("## classification · data=digits")[2].partition("\n## ")[0]
    assert "\n    deeplearn train classification --seeds 3\n" in digits
    assert "**0.9800 ± 0.0100** [0.9552, 1.0000]" in digits and "| RBF-SVM" in digits and "0.9677" in digits
    assert "## classification · data=letters" in text and "0.9677" in text.partition("data=letters")[2]


def test_unfinished_runs_are_no_results(tmp_path):
    with pytest.raises(UsageError, match="deeplearn resume"):
        results([load_run(make_run(tmp_path / "one", Fed(), finish=False))])


def test_a_result_of_changed_code_says_so(tmp_path):
    pages = []
    for dirty in (False, True):
        run = make_run(tmp_path / str(dirty), Fed())
        (run / "env.json").write_text(json.dumps({"git": {"commit": "0123456789abcdef" * 2, "dirty": dirty}}))
        pages.append(results([load_run(run)]))
    assert "\n0123456789ab.\n" in f"{pages[0]}\n" and "\n0123456789ab with local changes.\n" in f"{pages[1]}\n"
