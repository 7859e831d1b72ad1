import base64
import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
from runs import Config, make_run

from deeplearn.cli import main
from deeplearn.record.figures import curves
from deeplearn.record.reading import load_run
from deeplearn.record.report import page
from deeplearn.record.results import results
from deeplearn.record.statistics import interval
from deeplearn.record.table import decimals, lower_is_better, rows, shown, table

VOID = {"meta", "img", "br", "wbr", "link", "hr", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced and keeps the text and what the page would load."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data") and value]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three seeds of one system, another system, an unfinished run, a damaged one, another experiment."""
    made = [make_run(tmp_path / f"cnn-{s}", Config(seed=s), [0.97, 0.98, 0.99][s]) for s in range(3)]
    made.append(make_run(tmp_path / "vit", Config(model="vit"), 0.95))
    made.append(make_run(tmp_path / "unfinished", Config(model="mlp"), finish=False))
    made.append(make_run(tmp_path / "damaged", Config(model="vgg")))
    (made[-1] / "result.json").write_text("{")
    made.append(make_run(tmp_path / "prices", Config(), seeds=[0.5, 0.6], experiment="prices"))
    (made[0] / "figures").mkdir()
    (made[2] / "figures").mkdir()
    (made[2] / "figures" / "sample_predictions.svg").write_text(
        "<svg onload='alert(1)'><script>alert(2)</script></svg>"
    )
    return made


def test_the_page_is_one_file_that_holds_everything(folders: list[Path], tmp_path: Path) -> None:
    out = page([load_run(folder) for folder in folders], tmp_path / "page.html")
    found = Page(out.read_text())
    assert all(load.startswith(("#", "data:")) for load in found.loads)
    assert not {"script", "link", "iframe", "object"} & found.tags
    assert not re.search(r"url\((?!#)|@import", out.read_text())
    for word in ("test/accuracy", "valid/accuracy", "test/loss", "test/bins", "RBF-SVM", "0.9800 ± 0.0100"):
        assert word in found.text
    for label in ("cnn", "vit", "mlp", "vgg", "prices", "sample predictions", "optimizer.rate", "1,234"):
        assert label in found.text
    assert f"{tmp_path / 'unfinished'}: unfinished: no result.json, last logged step 40" in found.text
    assert f"{tmp_path / 'damaged'}: result.json is damaged" in found.text
    assert "cat & dog" in found.text  # Class names, escaped in the picture of the confusion matrix.


def test_a_picture_of_a_run_folder_cannot_run_anything(folders: list[Path], tmp_path: Path) -> None:
    html = page([load_run(folders[2])], tmp_path / "page.html").read_text()
    assert "onload" not in html
    assert base64.b64encode((folders[2] / "figures" / "sample_predictions.svg").read_bytes()).decode() in html


def test_what_the_maker_of_a_run_notes_stands_beside_it_as_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", Config())
    (run / "notes.md").write_text("Chosen on validation.\n\n<script>alert(1)</script> \x1b[2J\n")
    page([load_run(run)], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "Chosen on validation.\n\n&lt;script&gt;" in text and "<script" not in text and "\x1b" not in text
    noted = results([load_run(run)])
    assert "Chosen on validation.\n\n&lt;script>" in noted and "\x1b" not in noted


@pytest.mark.parametrize("format", ["github", "latex"])
def test_what_is_pasted_elsewhere_does_not_depend_on_the_screen(format, folders, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown = []
    for width in ("30", "300"):
        monkeypatch.setenv("COLUMNS", width)
        assert main(["report", *map(str, folders), "--format", format]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]


def test_a_small_number_is_not_shown_as_zero() -> None:
    assert shown(interval([3e-16]), decimals([3e-16]))[0] == "3.0e-16"
    assert shown(interval([0.0]), 4)[0] == "0.0000"


def test_a_large_picture_is_shown_whole(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config())
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "large.svg").write_bytes(data := b"<svg>" + b" " * 50_000 + b"</svg>")
    assert (
        f'"data:image/svg+xml;base64,{base64.b64encode(data).decode()}"'
        in page([load_run(folder)], tmp_path / "page.html").read_text()
    )


def test_a_sound_of_a_run_folder_can_be_played(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config())
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "spoken.wav").write_bytes(b"RIFF....WAVE")
    html = page([load_run(folder)], tmp_path / "page.html").read_text()
    assert f'<audio controls src="data:audio/wav;base64,{base64.b64encode(b"RIFF....WAVE").decode()}"' in html
    assert "media-src data:" in html


def test_text_of_a_run_folder_is_escaped(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config(model="<script>alert(1)</script>"))
    (folder / "command.txt").write_text("train '<script>x</script>'\n")
    found = Page(page([load_run(folder)], tmp_path / "page.html").read_text())
    assert "script" not in found.tags
    assert "train '<script>x</script>'" in found.text


def test_a_page_of_nothing_but_broken_runs(tmp_path: Path) -> None:
    folders = []
    for number, name in enumerate(("config.json", "env.json", "metrics.jsonl", "result.json")):
        folders.append(make_run(tmp_path / str(number), Config()))
        (folders[-1] / name).write_bytes(b"\x00\xff{")
    (tmp_path / "empty").mkdir()
    runs = [load_run(folder) for folder in [*folders, tmp_path / "empty"]]
    found = Page(page(runs, tmp_path / "page.html").read_text())
    for number in range(4):
        assert str(tmp_path / str(number)) in found.text
    assert Page(page([], tmp_path / "none.html").read_text()).text


def test_strange_results_do_not_break_the_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config())
    result = json.loads((folder / "result.json").read_text())
    result["metrics"] = {"test/accuracy": None, "test/loss": 1e300}
    result["tables"] = {"a/confusion": [[1, 2], [3]], "b/confusion": "x", "c": [[[1]]], "d": None, "e/confusion": []}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "env.json").write_text('{"devices": 3, "cpu": "x", "git": [], "packages": {"a": null}}')
    assert "NaN" in Page(page([load_run(folder)], tmp_path / "page.html").read_text()).text


def test_the_table_joins_seeds_and_stands_beside_the_competitor(folders: list[Path]) -> None:
    text = table([load_run(folder) for folder in folders[:4]], "github")
    header, _, cnn, vit, svm = text.splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        *("model", "test/accuracy", "test/loss", "seeds", "parameters", "seconds")
    ]
    assert "| cnn " in cnn
    assert "**0.9800 ± 0.0100** [0.9552, 1.0000]" in cnn
    assert "| vit " in vit
    assert "0.9500" in vit
    assert "RBF-SVM" in svm
    assert "0.9677" in svm
    assert text.count("**") == 2  # One best value; the losses are all equal.


@pytest.mark.parametrize(
    "metric", ["recall@10", "map@r", "tar@far=0.01", "top5", "ap50", "ar_small", "accuracy at 100"]
)
def test_the_interval_of_a_share_stays_within_one(metric: str, tmp_path: Path) -> None:
    runs = []
    for seed, value in enumerate([0.999, 0.93]):
        folder = make_run(tmp_path / str(seed), Config(seed=seed))
        result = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(result | {"metrics": {f"test/{metric}": value}}))
        runs.append(load_run(folder))
    assert ", 1.0000]" in table(runs)


def test_the_same_seed_twice_is_not_two_seeds(tmp_path: Path) -> None:
    runs = [load_run(make_run(tmp_path / str(i), Config(seed=0), 0.9)) for i in range(2)]
    assert "±" not in table(runs)


def test_competitors_that_differ_between_systems_say_beside_which(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a", Config()), make_run(tmp_path / "b", Config(model="vit"))
    result = json.loads((second / "result.json").read_text())
    result["baseline"]["RBF-SVM"]["test/accuracy"] = 0.5
    (second / "result.json").write_text(json.dumps(result))
    text = table([load_run(first), load_run(second)])
    assert "RBF-SVM (cnn)" in text
    assert "RBF-SVM (vit)" in text


@pytest.mark.parametrize("format", ["github", "latex", "text", "html"])
def test_what_was_compared_example_by_example_stands_below_the_table(format: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", Config())
    result = json.loads((folder / "result.json").read_text())
    result["paired"] = {"RBF-SVM": {"test/hit": {"difference": -0.0123, "low": -0.02, "high": -0.004, "p": 0.0001}}}
    (folder / "result.json").write_text(json.dumps(result))
    last = re.sub(r"<[^>]*>", " ", table([load_run(folder)], format)).splitlines()[-1]
    assert "test/hit, RBF-SVM - cnn: -0.0123 [-0.0200, -0.0040], p" in last


def test_latex_is_escaped_and_in_booktabs(tmp_path: Path) -> None:
    text = table([load_run(make_run(tmp_path / "a", Config(model="50%_a&b"), seeds=[0.1, 0.2]))], "latex")
    assert r"50\%\_a\&b" in text
    assert [rule for rule in re.findall(r"\\(\w+rule)", text)] == ["toprule", "midrule", "bottomrule"]
    assert r"$\pm$" in text
    assert text.count("{") == text.count("}")


def test_a_github_cell_cannot_end_early(tmp_path: Path) -> None:
    assert r"a\|b" in table([load_run(make_run(tmp_path / "a", Config(model="a|b")))], "github")


@pytest.mark.parametrize("format", ["github", "latex", "text", "html"])
def test_no_finished_run_gives_no_table(format: str, tmp_path: Path) -> None:
    assert table([load_run(make_run(tmp_path / "a", Config(), finish=False))], format) == ""


def test_which_end_is_good() -> None:
    assert lower_is_better("test/log_rmse")
    assert lower_is_better("test/top5-error")
    assert not lower_is_better("test/accuracy")
    assert lower_is_better("test/coverage") is None
    assert lower_is_better("Grad-CAM/deletion") and not lower_is_better("Grad-CAM/insertion")
    assert lower_is_better("strokes/depth") is None


@pytest.mark.parametrize(("value", "places"), [(0.98, 4), (22.67, 2), (1532.0, 0), (0.07, 4), (0.00745, 5), (0.0, 0)])
def test_decimals(value: float, places: int) -> None:
    assert decimals([value, -value / 3]) == places


@dataclass(frozen=True, kw_only=True)
class Data:
    name: str = "digits"
    shuffled: bool = False


@dataclass(frozen=True, kw_only=True)
class OnData(Config):
    data: Data = Data()


def test_runs_on_different_data_are_not_compared_in_one_table(tmp_path: Path) -> None:
    sets = Data(), Data(name="mnist5k"), Data(shuffled=True)
    made = [make_run(tmp_path / str(i), OnData(data=data), 0.9 + i / 100) for i, data in enumerate(sets)]
    text = table([load_run(folder) for folder in made], "github")
    titles = re.findall("^### (.*)$", text, re.MULTILINE)
    assert titles == [
        "classification · digits · shuffled=False",
        "classification · mnist5k",
        "classification · digits · shuffled=True",
    ]
    assert text.count("RBF-SVM") == 3


def test_confusions_of_several_seeds_are_shares_and_of_one_are_counts(tmp_path: Path) -> None:
    one = Page(page([load_run(make_run(tmp_path / "one", Config()))], tmp_path / "1.html").read_text()).text
    assert "how many examples of each true class" in one
    runs = [load_run(make_run(tmp_path / str(seed), Config(seed=seed))) for seed in range(2)]
    several = Page(page(runs, tmp_path / "2.html").read_text()).text
    assert "per cent of each true class" in several and "mean over 2 seeds" in several
    assert {"90", "100"} <= set(several.split())  # of [[9, 1], [0, 10]]
    both = make_run(tmp_path / "both", Config(seed=0), seeds=[0.9, 0.95])
    again = Page(page([*runs, load_run(both)], tmp_path / "3.html").read_text()).text
    assert "mean over 2 seeds" in again  # the same two, trained twice


def test_where_a_run_lies_is_no_knob(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "one", Config(workdir=Path("somewhere"))))
    assert "workdir" not in Page(page([run], tmp_path / "1.html").read_text()).text


def test_runs_of_other_data_are_named(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / str(seed), Config(seed=seed)) for seed in range(2)]
    for folder, digest in zip(folders, "xy", strict=True):
        (folder / "fit.json").write_text(json.dumps({"data": {"train": {"sha256": digest}}}))
    found = Page(page([load_run(folder) for folder in folders], tmp_path / "1.html").read_text()).text
    assert f"{folders[1]}: not the same data as {folders[0]} (train)" in " ".join(found.split())


def test_a_large_picture_is_whole(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config())
    (folder / "figures").mkdir()
    (folder / "figures" / "sheet.png").write_bytes(data := bytes(range(256)) * 400)
    text = page([load_run(folder)], tmp_path / "page.html").read_text()
    assert f'src="data:image/png;base64,{base64.b64encode(data).decode()}"' in text


def test_a_seed_that_is_a_list_does_not_stop_the_table(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config())
    head = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(head | {"config": head["config"] | {"seed": [1]}}))
    assert "0.9800" in table([load_run(folder)])


def test_a_row_is_named_after_the_network_that_was_looked_into(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Looking(Config):
        network: str = "efficientnet-lite0"

    make_run(tmp_path / "run", Looking(), experiment="hierarchy")
    make_run(tmp_path / "other", Config())
    named = [rows([load_run(tmp_path / name)])[0].label for name in ("run", "other")]
    assert named == ["efficientnet-lite0", "cnn"]


def test_a_knob_that_older_runs_do_not_know_names_no_system(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / model, Config(model=model)) for model in ("cnn", "vit")]
    for name in ("config.json", "result.json"):
        stored = json.loads((runs[0] / name).read_text())
        stored["config"]["newer"] = ""
        (runs[0] / name).write_text(json.dumps(stored))
    assert [row.label for row in rows([load_run(run) for run in runs])][:2] == ["cnn", "vit"]


def test_a_table_of_many_metrics_has_a_line_for_each(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config())
    stored = json.loads((folder / "result.json").read_text())
    stored["metrics"] |= {f"test/m{i}": 0.1234 + i for i in range(12)}
    (folder / "result.json").write_text(json.dumps(stored))
    lines = table([load_run(folder)], "html").replace("<wbr>", "").split("</tr>")
    assert lines[0].count("</th>") == 3  # metric, model, competitor
    assert sum("test/m" in line for line in lines) == 12
    assert "7.123<" in next(line for line in lines if "test/m7" in line)


def test_names_on_paper_break_at_their_seams_alone(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config())
    stored = json.loads((folder / "result.json").read_text())
    stored["metrics"]["test/calibration_error"] = 0.1
    (folder / "result.json").write_text(json.dumps(stored))
    html = page([load_run(folder)], tmp_path / "page.html").read_text()
    assert "test/<wbr>calibration_<wbr>error</th>" in html
    assert "test/calibration_error" in Page(html).text
    on_paper = html.partition("@media print")[2].partition("</style>")[0]
    assert not re.search(r"th[^{}]*{[^}]*anywhere", on_paper)


@pytest.mark.parametrize("count", [3, 30])
def test_only_many_knobs_stand_in_columns_on_paper(count: int, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config())
    head = json.loads((folder / "config.json").read_text())
    head["config"] = {f"k{i}": i for i in range(count)}
    (folder / "config.json").write_text(json.dumps(head))
    html = page([load_run(folder)], tmp_path / "page.html").read_text()
    assert ('class="wide knobs"' in html) == (count == 30)


def test_curves_say_what_they_show_in_words(folders: list[Path], tmp_path: Path) -> None:
    one = Page(page([load_run(folders[0])], tmp_path / "1.html").read_text()).text
    assert "accuracy, valid" in one and "accuracy (0 to 1)" in one and "steps" in one.split()
    several = Page(page([load_run(folder) for folder in folders[:4]], tmp_path / "2.html").read_text()).text
    assert "loss, train" in several and "accuracy, valid" in several


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_picture_is_captioned_by_what_it_shows(suffix: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config())
    days = [1.0, 2.0]
    curves({"a": (days, days)}, folder / "figures" / f"year{suffix}", x="day", y="price in €", title="Held-out <days>")
    html = page([load_run(folder)], tmp_path / "page.html").read_text()
    caption = "Held-out &lt;days&gt;: price in € over day"
    assert f'alt="{caption}"' in html and f"<figcaption>{caption}</figcaption>" in html


@pytest.mark.parametrize("title", [b"&#x1b;[2J&lt;script&gt;", b"\xff" * 5000, b"", b"a<b>c</b>"])
def test_no_title_of_a_strangers_picture_does_harm(title: bytes, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Config())
    (folder / "figures").mkdir()
    (folder / "figures" / "mine.svg").write_bytes(b"<svg><title>" + title + b"</title></svg>")
    (folder / "figures" / "mine.png").write_bytes(b"\xff\xff\xff\xfftEXtTitle\0" + title)
    html = page([load_run(folder)], tmp_path / "page.html").read_text()
    assert "\x1b" not in html and "script" not in Page(html).tags and len(html) < 100_000
