"""What every file in experiments/ promises by existing; those of docs/adding-a-task.md stand for a reader's own.

An experiment is trained at its `SMOKE` knobs. One comparison is narrower than it looks: where ways of spreading are
compared, dropout is off, since its mask is drawn for the rows of a device, and models with batch statistics are left
out, since the statistics are those of a device's rows.
"""

import ast
import dataclasses
import functools
import hashlib
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from samples import Samples, samples

from deeplearn import catalog, train
from deeplearn.cli import main
from deeplearn.errors import ConfigError
from deeplearn.evaluation import evaluate
from deeplearn.experiment import Experiment, Recipe, Run
from deeplearn.export import export
from deeplearn.loop import collections, fit
from deeplearn.parallel import make_mesh
from deeplearn.step import State, variables
from deeplearn.trained import Trained, load

ROOT = Path(__file__).resolve().parent.parent
SHOWN = {
    re.search(r"deeplearn train (\w+\.py)", code).group(1): code
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-task.md").read_text(), re.DOTALL)
}
"""The files that docs/adding-a-task.md shows, by name."""
NAMES = [*catalog.names(), *SHOWN]
STEPS = 24
"""Enough for the loss to fall, with two logged windows on each side of a checkpoint half way."""


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Equal programs of several runs are compiled once."""
    from jax.experimental.compilation_cache import compilation_cache

    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path_factory.mktemp("cache")), 0.1), strict=True):
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    recipe: Recipe
    config: Run
    experiment: Experiment | None
    """None where nothing is trained."""


def with_knobs(config: Any, knobs: dict[str, Any]) -> Any:
    """Set knobs by their dotted names."""
    for name, value in knobs.items():
        outer, _, inner = name.partition(".")
        config = dataclasses.replace(
            config, **{outer: with_knobs(getattr(config, outer), {inner: value})} if inner else {outer: value}
        )
    return config


def without_dropout(config: Any) -> Any:
    """All knobs named dropout at zero, at any depth."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    changed = {"dropout": 0.0} if "dropout" in values else {}
    changed |= {name: without_dropout(value) for name, value in values.items() if dataclasses.is_dataclass(value)}
    return dataclasses.replace(config, **changed)


@pytest.fixture(scope="module", params=NAMES)
def case(request, tmp_path_factory) -> Case:
    """An experiment at its smallest."""
    name = request.param
    if name in SHOWN:
        path = tmp_path_factory.mktemp("own") / name
        path.write_text(SHOWN[name])
        name = str(path)
    recipe = catalog.load(name)
    config = with_knobs(recipe.Config(), recipe.SMOKE)
    own = {"steps": STEPS, "log_every": STEPS // 4, "optimizer.warmup": 0, "mesh": "data=1"}
    config = with_knobs(config, own)
    experiment = recipe.experiment(config) if recipe.experiment else None
    return Case(name=name, recipe=recipe, config=config, experiment=experiment)


@pytest.fixture(scope="module")
def trains(case) -> Experiment:
    """What the loop trains; experiments that train nothing are skipped."""
    if case.experiment is None:
        pytest.skip(f"{case.name} trains nothing")
    return case.experiment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned:
    folder: Path
    state: State
    results: dict[str, Any]
    traces: dict[bool, int]
    """How often the loss was traced, by whether for training."""


@pytest.fixture(scope="module")
def learned(case, trains, tmp_path_factory) -> Learned:
    """The experiment trained by the loop, with a checkpoint half way."""
    traces, task = {True: 0, False: 0}, trains.task

    def loss(variables, batch, key, train):
        traces[train] += 1
        return task.loss(variables, batch, key, train)

    watched = dataclasses.replace(trains, task=dataclasses.replace(task, loss=loss))
    half = dataclasses.replace(case.config, save_every=STEPS // 2, eval_every=STEPS // 2)
    folder = tmp_path_factory.mktemp("learned")
    state, results = fit(watched, half, folder)
    return Learned(folder=folder, state=state, results=results, traces=traces)


@pytest.fixture(scope="module")
def finished(case, tmp_path_factory) -> Path:
    """The way from the file to the run folder; competitors take minutes, and have tests of their own."""
    config = dataclasses.replace(case.config, workdir=tmp_path_factory.mktemp("run"))
    return train.train(dataclasses.replace(case.recipe, baseline=None), config)


@pytest.fixture(scope="module")
def result(finished) -> dict[str, Any]:
    return json.loads((finished / "result.json").read_text())


def test_it_learns(learned):
    lines = [json.loads(line) for line in (learned.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_it_resumes_to_the_bit(case, learned, tmp_path):
    half = Path("checkpoints", str(STEPS // 2))
    shutil.copytree(learned.folder / half, tmp_path / half)
    shutil.copy(learned.folder / "fit.json", tmp_path)
    if (learned.folder / "assets").is_dir():
        shutil.copytree(learned.folder / "assets", tmp_path / "assets")
    state, _ = fit(dataclasses.replace(case.experiment, evaluations={}), case.config, tmp_path)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), learned.state, state)


def test_it_compiles_once_for_each_shape(case, learned):
    # The look for convolutions, the shapes of the loop's carry, the program: however the run is cut into dispatches.
    batches = (case.experiment.train.at(step) for step in range(STEPS))
    shapes = {tuple(column.shape for column in batch.values()) for batch in batches}
    assert 1 <= learned.traces[True] <= 2 + len(shapes) <= 2 + 4
    assert learned.traces[False] <= len(case.experiment.evaluations)


def two_updates(case: Case, folder: Path, knobs: dict[str, Any]) -> Any:
    """Parameters after two plain gradient steps: Adam would blow differences of rounding up where gradients vanish."""
    own = {"steps": 2, "log_every": 2, "mesh": "data=2", **knobs}
    config = dataclasses.replace(without_dropout(case.config), **own)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))
    plain = dataclasses.replace(case.recipe.experiment(config), optimizer=optimizer, evaluations={})
    return fit(plain, config, folder)[0].params


def test_spreading_does_not_change_the_numbers(case, trains, tmp_path, capsys):
    """The compiler's sums over two devices against explicit ones over two devices with two microbatches each."""
    explicitly = {"parallel": "shard_map", "microbatches": 2}
    if trains.task.couples:
        with pytest.raises(ConfigError, match="compares the rows of a batch"):
            two_updates(case, tmp_path / "explicit", explicitly)
        return
    if "batch_stats" in collections(trains):
        two_updates(case, tmp_path / "explicit", explicitly)
        assert "batch normalisation sees parts of the batch" in capsys.readouterr().err
        return
    jit = two_updates(case, tmp_path / "jit", {})
    explicit = two_updates(case, tmp_path / "explicit", explicitly)
    # Two updates of norm 0.1 at most, in float32 sums of another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5), jit, explicit)


def test_metrics_do_not_depend_on_the_evaluation_batch(case, learned):
    changed = {}
    for name, evaluation in case.experiment.evaluations.items():
        other = dataclasses.replace(
            evaluation.source, batch=max(1, min(evaluation.source.batch, evaluation.source.size) * 2 // 3)
        )
        changed[name] = dataclasses.replace(evaluation, source=other)
    again = evaluate(
        dataclasses.replace(case.experiment, evaluations=changed), variables(learned.state), make_mesh("data=1")
    )
    assert again.keys() == learned.results.keys()
    for name, value in learned.results.items():
        if case.experiment.task.couples and name.endswith("/loss"):
            continue  # It compares the rows of a batch.

        def close(a: Any, b: Any, name: str = name) -> None:
            if np.asarray(b).dtype.kind in "US":  # what ties examples together
                np.testing.assert_array_equal(a, b, err_msg=name)
            else:
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=name)

        jax.tree.map(close, again[name], value)


def test_results_hold_what_is_expected(case, result):
    expected = case.recipe.EXPECTED.keys()
    assert not expected or expected & result["metrics"].keys()  # Some metrics belong to the default data alone.
    assert all(value is not None for value in result["metrics"].values())


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


@pytest.mark.parametrize(("name", "knob", "value"), VARIANTS)
def test_every_method_and_model_trains_and_is_exported(name, knob, value, tmp_path):
    recipe = catalog.load(name)
    preset = next((own for own in recipe.PRESETS.values() if getattr(own, knob) == value), recipe.Config())
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


def test_the_docstring_says_what_it_is_and_how_to_start_it(case):
    assert f"deeplearn train {Path(case.name).name}" in case.recipe.about
    assert catalog.summary(case.recipe.path).endswith((".", ":"))


def test_every_knob_is_read(case):
    """As an attribute: in the experiment's file, in one whose config it extends, or where the knob's class is defined;
    what `Run` has, in the core."""
    core = sorted((ROOT / "deeplearn").glob("*.py"))
    own = {Path(inspect.getsourcefile(base)) for base in type(case.config).__mro__[:-1]}
    unread = []
    for owner, knob in set(knobs_of(type(case.config))):
        home = Path(inspect.getsourcefile(owner))
        places = {case.recipe.path, *own, home, *(core if home.parent == ROOT / "deeplearn" else [])}
        if not any(knob in attributes_read(place) for place in places):
            unread.append(f"{owner.__name__}.{knob}")
    assert not unread


def knobs_of(cls: type) -> Iterator[tuple[type, str]]:
    """(class that first has it, knob) for all knobs of a config and of the dataclasses inside it."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        yield (
            next(base for base in reversed(cls.__mro__) if field.name in vars(base).get("__annotations__", {})),
            field.name,
        )
        for kind in (hints[field.name], *typing.get_args(hints[field.name])):
            if dataclasses.is_dataclass(kind):
                yield from knobs_of(kind)


@functools.cache
def attributes_read(path: Path) -> set[str]:
    tree = ast.walk(ast.parse(path.read_text()))
    return {node.attr for node in tree if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", catalog.names())
def test_the_default_reaches_what_it_promises(name, tmp_path):
    recipe = catalog.load(name)
    if not recipe.EXPECTED:
        pytest.skip("promises no number")
    # As a user starts it: one device, optimised code, none of this test environment's settings.
    environment = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "OPENBLAS_NUM_THREADS")}
    command = [sys.executable, "-m", "deeplearn", "train", name, "--workdir", str(tmp_path / "run")]
    subprocess.run(command, check=True, env=environment)
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    for metric, (value, tolerance) in recipe.EXPECTED.items():
        assert metrics[metric] == pytest.approx(value, abs=tolerance), metric
