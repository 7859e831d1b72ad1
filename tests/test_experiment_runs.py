"""What the finished run of every experiment promises: the same numbers again, predictions, exports, no byte changed.

Each is trained at its `SMOKE` knobs by `deeplearn train`'s own way from the file to the run folder.
"""

import base64
import dataclasses
import functools
import hashlib
import io
import json
import typing
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from cases import NAMES, Case, small, with_knobs
from samples import Samples, samples
from trying import TOKEN, listening, predict

from deeplearn import catalog, train
from deeplearn.cli import main
from deeplearn.errors import DataError
from deeplearn.export import export
from deeplearn.plain import finite
from deeplearn.serve import Served
from deeplearn.trained import Trained, load


@pytest.fixture(scope="module", params=NAMES)
def case(request, tmp_path_factory) -> Case:
    return small(request.param, tmp_path_factory.mktemp("own"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """What is predicted as a file of its own, such as sound, goes to the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(case, tmp_path_factory) -> Path:
    """The way from the file to the run folder; competitors take minutes, and have tests of their own."""
    config = dataclasses.replace(case.config, workdir=tmp_path_factory.mktemp("run"))
    return train.train(dataclasses.replace(case.recipe, baseline=None), config)


@pytest.fixture(scope="module")
def result(finished) -> dict[str, Any]:
    return json.loads((finished / "result.json").read_text())


def test_results_hold_what_is_expected(case, result):
    expected = case.recipe.EXPECTED.keys()
    assert not expected or expected & result["metrics"].keys()  # Some metrics belong to the default data alone.
    assert all(value is not None for value in result["metrics"].values())


def test_a_confusion_names_its_classes(result):
    for name, table in result["tables"].items():
        assert not name.endswith("confusion") or len(table) == len(result["classes"]) > 0


def contents(folder: Path) -> dict[str, str]:
    """Name of every file below a folder -> its sha256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_evaluating_the_run_again_gives_the_same_numbers(finished, result):
    before = contents(finished)
    again = train.evaluate_again(finished, trust=True)
    assert contents(finished) == before
    assert again.keys() == result["metrics"].keys()
    for name, value in again.items():
        np.testing.assert_allclose(value, result["metrics"][name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_reading_a_run_changes_no_byte_of_it(case, finished, tmp_path):
    before, page = contents(finished), str(tmp_path / "page.html")
    assert main(["report", str(finished), "--output", page]) == 0
    assert main(["compare", str(finished), str(finished)]) == 0
    load(finished, trust=True)
    assert contents(finished) == before


@pytest.fixture(scope="module")
def predicting(case, finished, tmp_path_factory) -> tuple[Trained, Samples]:
    """The model of the run, and inputs for it."""
    if case.recipe.apply is None:
        pytest.skip(f"{case.name} does not say how to predict")
    trained = load(finished, trust=True)
    return trained, samples(case.name, tmp_path_factory.mktemp("inputs"), trained)


def same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Rows that say the same, but for how long it took and the last digits."""
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        numbers = {name for name, value in one.items() if isinstance(value, float)} - {"real-time factor"}
        for name in one.keys() - {"real-time factor"}:
            if name in numbers:
                np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-4, err_msg=name)
            elif not isinstance(one[name], dict | list):
                assert one[name] == other[name], name


def test_many_inputs_are_predicted_as_each_alone(case, predicting):
    trained, given = predicting
    if given.joint:
        pytest.skip("inputs are looked at together")
    each = [row for one in given.good for row in case.recipe.apply(trained, [one])]
    same(case.recipe.apply(trained, list(given.good)), each)


def test_a_folder_stands_for_the_files_in_it(case, predicting):
    trained, given = predicting
    if not given.files:
        pytest.skip("inputs are no files")
    alone = case.recipe.apply(trained, list(given.good))
    place = Path(given.good[0]).parent
    same(case.recipe.apply(trained, [str(place)]), alone)
    same(case.recipe.apply(trained, [str(place / f"*{Path(given.good[0]).suffix}")]), alone)


def test_a_bad_input_is_named_and_the_others_are_predicted(case, finished, predicting, monkeypatch, capsys):
    trained, given = predicting
    lines = "\n".join([given.good[0], given.bad, *given.good[1:]]) + "\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    code = main(["predict", str(finished), "-", "--output", "-", "--format", "jsonl", "--trust", "--all"])
    out, said = capsys.readouterr()
    assert code == 65 and (Path(given.bad).name or "''") in said and "the others are done" in said
    rows = [json.loads(line, parse_constant=lambda name: 1 / 0) for line in out.split("\n")[:-1]]
    assert len(rows) == len(case.recipe.apply(trained, list(given.good)))
    capsys.readouterr()
    assert main(["predict", str(finished), given.bad or " ", "--trust"]) in (2, 65)
    assert capsys.readouterr().out == ""


def served_by(case: Case, trained: Trained) -> Served:
    """What `deeplearn serve` makes of a run."""
    draw = case.recipe.draw and functools.partial(case.recipe.draw, trained)
    apply = functools.partial(case.recipe.apply, trained)
    texts = not case.recipe.TAKES_FILES
    return Served(name=case.name, about="", apply=apply, draw=draw, token=TOKEN, limit=2**24, texts=texts)


PICTURED = {"detection": 3, "restoration": 3, "neurons": 1, "synthesis": 6, "vocoding": 3}
"""How many pictures and sounds the page shows of three inputs."""


def test_the_page_answers_what_is_predicted(case, predicting):
    trained, given = predicting
    uploads = {
        Path(word).name: base64.b64encode(Path(word).read_bytes()).decode() for word in given.good if _file(word)
    }
    said = {"texts": [word for word in given.good if not _file(word)], "files": uploads}
    with listening(served_by(case, trained)) as address:
        code, found = predict(address, said)
    assert code == 200, found
    text = "".join(json.dumps(finite(row)) + "\n" for row in case.recipe.apply(trained, list(given.good)))
    folder = f"{Path(given.good[0]).parent}/" if uploads else "\0"
    same(found["rows"], [json.loads(line) for line in text.replace(folder, "").splitlines()])
    pictures = found["pictures"]
    assert len(pictures) == PICTURED.get(case.name, 0) and all(picture["address"] for picture in pictures)


def _file(word: str) -> bool:
    return Path(word).is_file()


def test_the_page_shows_what_is_predicted_in_a_browser(case, predicting, browser):
    trained, given = predicting
    said = []
    browser.on("console", lambda message: said.append(message.text))
    with listening(served_by(case, trained)) as (host, port):
        browser.goto(f"http://{host}:{port}/?token={TOKEN}")
        browser.set_input_files("#files", [word for word in given.good if _file(word)])
        assert browser.locator("#texts").count() == (not case.recipe.TAKES_FILES)
        if texts := "\n".join(word for word in given.good if not _file(word)):
            browser.fill("#texts", texts)
        browser.click("#go")
        browser.locator("#go:not([disabled])").wait_for(timeout=120_000)
        assert browser.inner_text("#said").endswith(("rows", "1 row")), browser.inner_text("#said")
        assert not said
        assert browser.locator("#rows tr").count() == 1 + len(case.recipe.apply(trained, list(given.good)))
        assert browser.locator("#pictures figure").count() >= PICTURED.get(case.name, 0)


def test_a_model_is_exported_with_its_inputs_alone(case, finished, tmp_path):
    if case.recipe.task is None:
        pytest.skip(f"{case.name} has no model that predicts")
    before = contents(finished)
    export(finished, tmp_path, ["cpu"], trust=True)
    assert contents(finished) == before
    card = json.loads((tmp_path / "model.json").read_text())
    assert not {"label", "mask", "index", "target"} & card["inputs"].keys()
    trained = load(finished, trust=True)
    program = jax.export.deserialize(bytearray((tmp_path / "model.stablehlo").read_bytes()))
    rng = np.random.default_rng(0)
    for size in (1, 3):
        columns = {
            name: rng.integers(1, 3, (size, *leaf["shape"][1:])).astype(leaf["dtype"])
            for name, leaf in card["inputs"].items()
        }
        ours, theirs = trained.predict(columns, size), program.call(columns)
        theirs = type(ours)(**theirs) if isinstance(theirs, dict) and not isinstance(ours, dict) else theirs
        if (
            "score" in getattr(ours, "_fields", ()) and np.ndim(ours.score) == 2
        ):  # Of a ranking, equals may change places.
            ours, theirs = (jax.tree.map(lambda leaf: np.sort(leaf, axis=1), found) for found in (ours, theirs))
        close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
        jax.tree.map(close, ours, theirs)


VARIANTS = [
    (name, field.name, value)
    for name in catalog.names()
    for field in dataclasses.fields(catalog.load(name).Config)
    if field.name in ("method", "model")
    for value in typing.get_args(typing.get_type_hints(catalog.load(name).Config)[field.name])
    if value != field.default
]
"""(experiment, knob, value) of every method and model that is not the default."""


@pytest.mark.slow  # They compile for ten seconds to a minute each; each has tests of its own.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "knob", "value"), VARIANTS)
def test_every_method_and_model_trains_and_is_exported(name, knob, value, tmp_path):
    recipe = catalog.load(name)
    preset = next((own for own in recipe.PRESETS.values() if getattr(own, knob) == value), recipe.Config())
    if "data" in preset.__dataclass_fields__:  # A preset's own may be a public set that nobody has prepared here.
        preset = dataclasses.replace(preset, data=recipe.Config().data)
    small = {
        "steps": 2,
        "log_every": 2,
        "optimizer.warmup": 0,
        "mesh": "data=1",
        knob: value,
        "workdir": tmp_path / "run",
    }
    config = with_knobs(with_knobs(preset, recipe.SMOKE), small)
    folder = train.train(dataclasses.replace(recipe, baseline=None, figures=None), config)
    assert export(folder, tmp_path / "export", ["cpu"])


@pytest.mark.slow  # Seconds to minutes each, on its own data; those that nobody has prepared here are skipped.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "preset"), [(name, preset) for name in catalog.names() for preset in catalog.load(name).PRESETS]
)
def test_every_preset_ends_with_results(name, preset, tmp_path):
    """On the preset's own data and split, as small and short as a smoke run."""
    recipe = catalog.load(name)
    small = {knob: value for knob, value in recipe.SMOKE.items() if knob != "data.name"}
    short = {"steps": 2, "optimizer.warmup": 0, "mesh": "data=1", "workdir": tmp_path / "run"}
    config = with_knobs(with_knobs(recipe.PRESETS[preset], small), short)
    try:
        folder = train.train(dataclasses.replace(recipe, baseline=None, figures=None), config)
    except DataError as error:
        if "prepare" not in str(error):
            raise
        pytest.skip(str(error))
    assert json.loads((folder / "result.json").read_text())["metrics"]
