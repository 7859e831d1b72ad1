"""Workers, loops, sources and comparisons of the benchmarks: what they do, never how fast."""

import os

import jax
import numpy as np
import pytest

from benchmarks import compare, loops, records, step, worker
from benchmarks import input as sources
from benchmarks.cases import cases
from benchmarks.timing import Budget, measure
from deeplearn import runtime
from deeplearn.errors import ConfigError, DataError, UsageError

TINY = Budget(rounds=2, fewest=2, seconds=0, warmup=0, rest=0)


def test_a_worker_measures_in_its_own_process_and_tells_the_program_s_cost():
    with worker.Worker({"library": "jax", "case": "mlp"}, {**os.environ, "DEEPLEARN_RUNTIME": "off"}) as found:
        times = measure({"jax": found.sample}, TINY)
    assert times["jax"].minimum > 0
    # Three products a layer in a training step, 2 operations a weight and row: less than one in ten is anything else.
    assert found.facts["flops"] == pytest.approx(6 * 128 * (64 * 256 + 256 * 256 + 256 * 10), rel=0.15)
    assert found.facts["parameters"] == 85_002


def test_a_worker_that_ends_says_why():
    with pytest.raises(ConfigError, match="KeyError: 'no such case'"):
        worker.Worker({"library": "jax", "case": "no such case"}, os.environ)


def test_only_our_candidate_gets_the_product_s_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, value in runtime.settings().items():
        monkeypatch.setenv(name, value)
    found = step.environments()
    assert found["jax"]["NPROC"] == runtime.settings()["NPROC"]
    assert all("NPROC" not in environment for name, environment in found.items() if name != "jax")


def test_an_unknown_case_is_named():
    with pytest.raises(UsageError, match="there is no case 'lenet7'"):
        step.main(step.Config(cases=("lenet7",)))


def test_batches_have_the_promised_shapes():
    for case in cases().values():
        batch = case.draw(0)
        assert {len(column) for column in batch.values()} == {case.batch}
        again = case.draw(0)
        assert all(np.array_equal(batch[name], again[name]) for name in batch)


@pytest.mark.parametrize("build", [loops.ours, loops.flax_example, loops.steps_alone], ids=lambda f: f.__name__)
def test_every_loop_trains(build):
    run, _ = build({"case": "mlp", "seeds": 1, "mesh": "data=1"})
    with jax.numpy_dtype_promotion("standard"):  # Flax's own training state lets optax mix types.
        own = run(0, 4)
    assert own is None or own > 0


def test_an_epoch_visits_every_row_once():
    stream = loops.epochs(np.random.default_rng(0), 150)
    rows = np.concatenate([next(stream) for _ in range(10)])
    assert sorted(rows) == list(range(loops.ROWS))


def test_sources_are_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sources, "QUICK", TINY)
    monkeypatch.setattr(sources, "SHAPES", {"digits": (8, 8, 1)})
    sources.main(sources.Config(batch=8, size=64, quick=True, output=tmp_path))
    assert "Arrays, on the device" in capsys.readouterr().out
    assert {row["case"]["batch"] for row in records.read(tmp_path / "input.jsonl").rows} == {8}


def file(path, benchmark, median, spread=0.01):
    samples = (median * np.random.default_rng(0).lognormal(0, spread, 30)).tolist()
    header = {"schema": records.SCHEMA, "benchmark": benchmark, "environment": {}, "conditions": {}}
    return records.write(path, header, [{"case": {"name": "mlp"}, "samples": samples}])


def test_a_regression_beyond_noise_fails(tmp_path, capsys):
    before = file(tmp_path / "a.jsonl", "step", 1.0)
    for median, code, word in [(1.0, 0, ""), (1.2, 1, "slower"), (0.8, 0, "faster"), (1.04, 0, "")]:
        after = file(tmp_path / "b.jsonl", "step", median)
        assert compare.main(compare.Config(before=before, after=after)) == code
        assert word in capsys.readouterr().out


def test_a_noisy_difference_is_no_regression(tmp_path):
    before, after = file(tmp_path / "a.jsonl", "step", 1.0, 0.5), file(tmp_path / "b.jsonl", "step", 1.1, 0.5)
    assert compare.main(compare.Config(before=before, after=after)) == 0


def test_files_that_do_not_match_are_refused(tmp_path):
    before, after = file(tmp_path / "a.jsonl", "step", 1.0), file(tmp_path / "b.jsonl", "loop", 1.0)
    with pytest.raises(DataError, match="compare two runs of one benchmark"):
        compare.main(compare.Config(before=before, after=after))
