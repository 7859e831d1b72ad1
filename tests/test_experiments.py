"""What every file in experiments/ promises by existing; those of docs/adding-a-task.md stand for a reader's own.

An experiment is trained at its `SMOKE` knobs. One comparison is narrower than it looks: where ways of spreading are
compared, dropout is off, since its mask is drawn for the rows of a device, and models with batch statistics are left
out, since the statistics are those of a device's rows.
"""

import ast
import dataclasses
import functools
import inspect
import json
import os
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
from cases import NAMES, ROOT, STEPS, Case, small

from deeplearn import catalog
from deeplearn.beginning import collections
from deeplearn.errors import ConfigError
from deeplearn.evaluation import evaluate
from deeplearn.experiment import Experiment
from deeplearn.loop import fit
from deeplearn.parallel import make_mesh
from deeplearn.step import State, variables


@pytest.fixture(scope="module", params=NAMES)
def case(request, tmp_path_factory) -> Case:
    return small(request.param, tmp_path_factory.mktemp("own"))


def without_dropout(config: Any) -> Any:
    """All knobs named dropout at zero, at any depth."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    changed = {"dropout": 0.0} if "dropout" in values else {}
    changed |= {name: without_dropout(value) for name, value in values.items() if dataclasses.is_dataclass(value)}
    return dataclasses.replace(config, **changed)


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


LARGE = ("detection", "prices", "recognition", "restoration", "synthesis", "translation", "verification")
"""Whose programs for two devices take twenty seconds and more to compile."""


def two_updates(case: Case, folder: Path, knobs: dict[str, Any]) -> Any:
    """Parameters after two plain gradient steps: Adam would blow differences of rounding up where gradients vanish."""
    own = {"steps": 2, "log_every": 2, "mesh": "data=2", **knobs}
    config = dataclasses.replace(without_dropout(case.config), **own)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))
    plain = dataclasses.replace(case.recipe.experiment(config), optimizer=optimizer, evaluations={})
    return fit(plain, config, folder)[0].params


def test_spreading_does_not_change_the_numbers(case, trains, tmp_path, capsys):
    """The compiler's sums over two devices against explicit ones over two devices with two microbatches each."""
    if case.name in LARGE:
        pytest.skip("takes long to compile; see the slow test below")
    spread(case, trains, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_spreading_does_not_change_the_numbers_of_large_programs(name, tmp_path, capsys):
    large = small(name, tmp_path)
    spread(large, large.experiment, tmp_path, capsys)


def spread(case: Case, trains: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
