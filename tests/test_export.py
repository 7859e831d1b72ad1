"""A model outside this code: what docs/using-a-model.md shows works in a process that cannot import deeplearn."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deeplearn import catalog, train
from deeplearn.cli import main
from deeplearn.errors import UsageError
from deeplearn.export import export, used
from deeplearn.trained import load

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    here = tmp_path_factory.mktemp("own")
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-task.md").read_text(), re.DOTALL)
    (here / "tumours.py").write_text(shown[0])
    recipe = catalog.load(str(here / "tumours.py"))
    return train.train(recipe, recipe.Config(steps=20, workdir=here / "run", mesh="data=1"))


def test_the_shown_lines_use_the_program_with_jax_alone(run, tmp_path):
    export(run, tmp_path, ["cpu"], trust=True)
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "using-a-model.md").read_text(), re.DOTALL)[1]
    assert len(shown.strip().splitlines()) <= 12
    code = "import sys; sys.modules['deeplearn'] = sys.modules['flax'] = None\n" + shown
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "(5, 2)", done.stderr[-1000:]


def test_labels_and_masks_are_no_inputs():
    import jax

    shape = jax.ShapeDtypeStruct((4, 3), np.float32)
    columns = dict.fromkeys(("image", "label", "mask"), shape)
    program = jax.jit(lambda batch: batch["image"] * 2)
    assert used(lambda batch: (program({"image": batch["image"]}), batch["label"].sum())[0], columns) == ["image"]


def test_onnx_gives_the_same_numbers(run, tmp_path):
    pytest.importorskip("jax2onnx")
    runtime = pytest.importorskip("onnxruntime")
    export(run, tmp_path, ["cpu"], onnx=True, trust=True)
    x = np.random.default_rng(0).normal(100, 50, (7, 30)).astype(np.float32)
    found = runtime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, load(run, trust=True).predict({"x": x}), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "words",
    [
        ["export", "RUN", "--trust", "--output", "FILE/x"],
        ["explain", "RUN", "a.png", "--trust", "--output", "FILE/x.html"],
        ["bench", "matmul", "--quick", "--output", "FILE"],
    ],
)
def test_a_place_that_takes_no_files_is_named_before_the_work(run, tmp_path, words, capsys):
    (tmp_path / "file").touch()
    words = [word.replace("RUN", str(run)).replace("FILE", str(tmp_path / "file")) for word in words]
    assert main(words) == 74
    assert f"cannot write {tmp_path / 'file'}" in (said := capsys.readouterr().err) and "--output" in said


@pytest.mark.parametrize("words", [["export"], ["explain", "a.png"], ["predict", "a.png"]])
def test_a_run_that_cannot_be_read_leaves_no_folder_behind(tmp_path, words):
    verb, *inputs = words
    assert main([verb, str(tmp_path / "run"), *inputs, "--output", str(tmp_path / "new" / "x.json")]) != 0
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_model_has_nothing_to_export(tmp_path):
    (tmp_path / "own.py").write_text("from deeplearn import Run as Config\ndef main(config, work):\n    return {}\n")
    recipe = catalog.load(str(tmp_path / "own.py"))
    folder = train.train(recipe, recipe.Config(workdir=tmp_path / "run"))
    with pytest.raises(UsageError, match="no program to export"):
        export(folder, tmp_path / "out", ["cpu"], trust=True)
    assert json.loads((folder / "result.json").read_text())["metrics"] == {}
