"""The example of docs/adding-a-task.md, run as a reader would, through the whole life of a run folder."""

import io
import json
import re
import shlex
from pathlib import Path

import pytest

from deeplearn import catalog, train
from deeplearn.cli import main

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with tumours.py in it and a finished run of it."""
    home = tmp_path_factory.mktemp("home")
    text = (ROOT / "docs" / "adding-a-task.md").read_text()
    (home / "tumours.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["train", "tumours.py", "--workdir", "run", "--seeds", "3", "--mesh", "data=1"]) == 0
    return home


def test_the_readme_shows_the_same_file():
    blocks = [
        re.search(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
        for name in ("README.md", "docs/adding-a-task.md")
    ]
    assert blocks[0].group(1) == blocks[1].group(1)


def commands():
    """Every `deeplearn train` of our experiments that the texts show."""
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "experiments").glob("*.py")]
    # A command given to another one stands in quotes, and ends where they do.
    shown = re.compile(rf"""(["']?)deeplearn train ((?:{"|".join(catalog.names())})\b[^\n`#|&\\]*)""")
    found = [match for text in texts for match in shown.findall(text.read_text())]
    return sorted({(command.split(quote)[0] if quote else command).strip() for quote, command in found})


@pytest.mark.parametrize("command", commands())
def test_every_command_in_the_texts_is_understood(command, monkeypatch):
    class Understood(Exception):
        pass

    def understood(recipe, config):
        raise Understood

    monkeypatch.setattr(train, "train", understood)
    with pytest.raises(Understood):
        main(["train", *shlex.split(command)])


def test_the_result_holds_metrics_competitor_and_intervals(home):
    result = json.loads((home / "run" / "result.json").read_text())
    assert result["metrics"]["test/accuracy"] > 0.93
    assert result["baseline"]["logistic regression"]["test/accuracy"] > 0.93
    seeds = result["seeds"]["test/accuracy"]
    assert len(seeds["values"]) == 3
    assert seeds["low"] < seeds["mean"] < seeds["high"]


@pytest.mark.parametrize("together", ["True", "False"])
def test_a_run_is_compared_with_its_competitor_example_by_example(tmp_path, monkeypatch, together):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    words = ["--seeds", "2", "--together", together, "--steps", "60", "--workdir", "run", "--mesh", "data=1"]
    assert main(["train", "own.py", *words]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    found, rate = result["paired"]["always the first"]["test/hit"], result["baseline"]["always the first"]
    assert rate.keys() == {"test/accuracy"} and "test/hit" not in result["metrics"]
    assert found["difference"] == pytest.approx(rate["test/accuracy"] - result["metrics"]["test/accuracy"], abs=1e-6)
    assert found["low"] < found["difference"] < found["high"]


OWN = '''"""Points."""
import numpy as np
from toy import columns, toy
from deeplearn.experiment import Run as Config
from deeplearn.metrics import Each


def score(logits, found):
    return {"hit": Each((logits.argmax(-1) == found["label"])[np.argsort(found["index"])])}


def experiment(config):
    return toy(config, score=score)


def baseline(config):
    hit = columns(100, 1)["label"] == 0
    return {"always the first": {"test/accuracy": hit.mean(), "test/hit": Each(hit)}}
'''


def test_training_again_in_the_same_folder_has_nothing_left_to_do(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    before = json.loads((home / "run" / "result.json").read_text())["metrics"]
    assert main(["train", "tumours.py", "--workdir", "run", "--seeds", "3", "--mesh", "data=1"]) == 0
    assert "restoring step 300" in capsys.readouterr().err
    assert json.loads((home / "run" / "result.json").read_text())["metrics"] == pytest.approx(before)


def test_other_knobs_in_the_same_folder_are_refused(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    assert main(["train", "tumours.py", "--workdir", "run", "--seeds", "3", "--width", "8"]) == 78
    assert "width was 64 and is now 8" in capsys.readouterr().err


def test_evaluate_report_compare_and_export(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    accuracy = json.loads((home / "run" / "result.json").read_text())["seeds"]["test/accuracy"]["values"][0]
    assert main(["evaluate", "run", "--trust"]) == 0
    assert f"{accuracy:.6g}" in capsys.readouterr().out
    assert main(["report", "run", "--output", "page.html"]) == 0
    assert "test/accuracy" in (home / "page.html").read_text()
    assert main(["report", "run", "--format", "latex"]) == 0
    assert r"\toprule" in capsys.readouterr().out
    assert main(["compare", "run", "run"]) == 0
    assert main(["export", "run", "--trust", "--platforms", "cpu"]) == 0


def test_the_exported_program_predicts_any_batch_size(home, monkeypatch):
    import jax
    import numpy as np

    monkeypatch.chdir(home)
    assert main(["export", "run", "--trust", "--platforms", "cpu", "--output", "out"]) == 0
    program = jax.export.deserialize(bytearray((home / "out" / "model.stablehlo").read_bytes()))
    inputs = json.loads((home / "out" / "model.json").read_text())["inputs"]
    for size in (1, 7):
        batch = {name: np.zeros((size, *leaf["shape"][1:]), leaf["dtype"]) for name, leaf in inputs.items()}
        assert program.call(batch).shape == (size, 2)


def test_dry_run_names_the_cost(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    assert main(["train", "tumours.py", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "parameters           6,274" in out
    assert "FLOPs" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["trian", "x"], 2, "did you mean train?"),
        (["train", "clasification"], 2, "did you mean classification?"),
        (["train", "nowhere.py"], 2, "no file nowhere.py"),
        (["predict", "nowhere", "x"], 2, "holds no run"),
        (["predict", "run", "x"], 2, "add --trust if you trust it"),
        (["predict", "run", "x", "--trust"], 2, "has no apply"),
        (["train", "tumours.py", "--preset", "big"], 2, "no preset 'big'"),
        (["train", "tumours.py", "--mesh", "data=0"], 78, "not AXIS=SIZE"),
        (["data", "prepare"], 2, "needs a name"),
        (["bench", "matmull"], 2, "did you mean matmul?"),
        (["report", "nowhere"], 2, "does not exist"),
    ],
)
def test_errors_are_one_sentence_with_the_next_step(home, monkeypatch, capsys, words, code, message):
    monkeypatch.chdir(home)
    assert main(words) == code
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_an_empty_standard_input_is_an_error(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["predict", "run", "-"]) == 2
    assert "held no line" in capsys.readouterr().err


def test_an_unknown_knob_exits_with_2(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    with pytest.raises(SystemExit) as stop:
        main(["train", "tumours.py", "--optimizer.rte", "1"])
    assert stop.value.code == 2
    assert "rate" in capsys.readouterr().err
