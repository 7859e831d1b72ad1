"""Run folders made to do harm: a bad run is named on the page, the others appear, nothing hangs or leaks."""

import json
import random
import shutil
import time
from pathlib import Path

import pytest
from runs import Config, make_run

from benchmarks.hostile import spoil
from deeplearn.errors import UsageError
from deeplearn.record import report
from deeplearn.record.compare import compare
from deeplearn.record.reading import find_runs, load_run
from deeplearn.record.report import page
from deeplearn.record.table import table

SEED = 2293
"""Among the hundred that follow from it is a result whose list of values is empty; `bench faults` draws new ones."""


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("good") / "run", Config())


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("other") / "run", Config(model="vit"), seeds=[0.9, 0.95])
    (folder / "figures").mkdir()
    (folder / "figures" / "a.svg").write_text('<svg viewBox="0 0 10 10"></svg>')
    return folder


def test_nothing_a_stranger_puts_into_a_folder_stops_the_tables(good, other, tmp_path):
    for number in range(100):
        draw, folder = random.Random(SEED + number), tmp_path / str(number)
        shutil.copytree(other, folder)
        what = spoil(folder, draw)
        start = time.monotonic()
        runs = [load_run(good), load_run(folder)]
        for form in ("text", "github", "latex", "html"):
            shown = table(runs, form)
            assert "RBF-SVM" in shown, what
            assert "\x1b" not in shown, what
            assert shown.encode(), what
        assert compare(*runs).encode(), what
        assert time.monotonic() - start < 20, what


def test_the_page_shows_the_good_run_beside_bad_ones_and_reads_nothing_outside(good, other, tmp_path):
    secret = Path("/etc/passwd").read_text().splitlines()[0]
    folders = [good]
    for number in range(12):
        folders.append(shutil.copytree(other, tmp_path / str(number)))
        spoil(folders[-1], random.Random(SEED + number))
    text = page([load_run(folder) for folder in folders], tmp_path / "page.html").read_text()
    assert "RBF-SVM" in text, SEED
    assert secret not in text
    assert "cm9vdDp4" not in text  # "root:x", as a picture would carry it.


@pytest.mark.parametrize("values", ["[]", "[0.9, 1e400]", "[1e308, 1e308]", "[1e400]"])
def test_no_list_of_values_stops_the_tables(good, other, tmp_path, values):
    folder = shutil.copytree(other, tmp_path / "run")
    stored = json.loads((folder / "result.json").read_text())
    for found in stored["seeds"].values():
        found["values"] = "values"
    (folder / "result.json").write_text(json.dumps(stored).replace('"values": "values"', f'"values": {values}'))
    runs = [load_run(good), load_run(folder)]
    assert "RBF-SVM" in table(runs, "text")
    assert compare(*runs) and compare(*reversed(runs))
    assert any("there are no values" in problem for problem in runs[1].problems) == (values == "[]")


@pytest.mark.parametrize("odd", [[1], {"a": 1}, "1", None, 1e300])
def test_a_seed_of_any_kind_and_endless_values_are_tabled_and_compared(other, tmp_path, odd):
    folder = shutil.copytree(other, tmp_path / "run")
    for name in ("config.json", "result.json"):
        stored = json.loads((folder / name).read_text())
        stored["config"]["seed"] = odd
        for found in stored.get("seeds", {}).values():
            found["values"] = [-1e300, 1e300]
        (folder / name).write_text(json.dumps(stored))
    runs = [load_run(other), load_run(folder)]
    assert "RBF-SVM" in table(runs, "text")
    assert compare(*runs) and compare(*reversed(runs))


def test_a_run_that_cannot_be_drawn_is_named_and_the_others_appear(good, other, tmp_path, monkeypatch):
    drawn = report._section

    def fails(name, runs):
        if any(run.folder == other for run in runs):
            raise ZeroDivisionError("by its numbers")
        return drawn(name, runs)

    monkeypatch.setattr(report, "_section", fails)
    text = page([load_run(good), load_run(other)], tmp_path / "page.html").read_text()
    assert "this run cannot be shown (ZeroDivisionError: by its numbers)" in text
    assert "RBF-SVM" in text


def test_links_to_pictures_and_folders_are_not_followed(good, tmp_path):
    folder = shutil.copytree(good, tmp_path / "run")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret.png").write_text("secret")
    (folder / "figures").symlink_to(tmp_path / "private")
    run = load_run(folder)
    assert run.figures == []
    assert "figures is a link, which is not followed" in run.problems
    (folder / "figures").unlink()
    (folder / "figures").mkdir()
    (folder / "figures" / "report.png").symlink_to(tmp_path / "private" / "secret.png")
    text = page([load_run(folder)], tmp_path / "page.html").read_text()
    assert "c2VjcmV0" not in text
    assert "report.png is left out (Too many levels of symbolic links)" in text


def test_names_are_shown_as_they_are_in_every_format(good, tmp_path):
    import json

    folder = shutil.copytree(good, tmp_path / "run")
    stored = json.loads((folder / "result.json").read_text())
    odd = "$x_1^2$ <b>*a*</b> [l](http://x) `c` ~/p|q #5 {} \\input & \x1b[31m"
    stored["baseline"] = {odd: {"test/accuracy": 0.5}}
    stored["classes"] = ["$", "$$"]
    (folder / "result.json").write_text(json.dumps(stored))
    run = load_run(folder)
    assert page([run], tmp_path / "page.html").read_text().count("$$") >= 2
    (latex,) = [line for line in table([run], "latex").splitlines() if "x\\_1" in line]
    assert r"\$x\_1\textasciicircum{}2\$ \textless{}b\textgreater{}*a*" in latex
    assert r"\textasciitilde{}/p|q \#5 \{\} \textbackslash{}input \& \textbackslash{}x1b[31m" in latex
    (markdown,) = [line for line in table([run], "github").splitlines() if "x_1" in line]
    assert r"$x_1^2$ \<b>\*a\*\</b> [l]\(http:\/\/x) \`c\` \~/p\|q #5 {} \\input & \\x1b[31m" in markdown
    (text,) = [line for line in table([run], "text").splitlines() if "x_1" in line]
    assert odd.replace("\x1b", "\\x1b") in text


def test_a_place_with_folders_nested_without_end_is_searched_in_no_time(good, tmp_path):
    inner = tmp_path / "place"
    for _ in range(40):
        inner = inner / "a"
    inner.mkdir(parents=True)
    shutil.copytree(good, tmp_path / "place" / "run")
    assert find_runs([tmp_path / "place"]) == [tmp_path / "place" / "run"]


@pytest.mark.parametrize("read", [load_run, lambda place: find_runs([place])])
def test_a_file_in_the_place_of_a_folder_is_said_to_be_one(read, tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match=r"table\.csv is a file, not a folder; give a folder"):
        read(tmp_path / "table.csv")
    with pytest.raises(UsageError, match="nowhere does not exist"):
        read(tmp_path / "nowhere")
