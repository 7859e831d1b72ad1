"""Sweeps: what is tried, that the test is not looked at, and that nothing is lost or done twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deeplearn import catalog, proposals, sweep, workers
from deeplearn.cli import main
from deeplearn.errors import ConfigError
from deeplearn.flags import parse
from deeplearn.proposals import Span, axis
from deeplearn.verbs.train import form
from deeplearn.workers import Worker

ROOT = Path(__file__).resolve().parent.parent
FILE = str(ROOT / "tests" / "chosen.py")
BASE = ["sweep", FILE, "--steps", "4", "--log-every", "4"]


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    """Two rates by two widths, of which one cannot be built, with two seeds each."""
    folder = tmp_path_factory.mktemp("sweep") / "grid"
    over = ["--over", "optimizer.rate=1e-3,3e-2", "width=8,13"]
    assert main([*BASE, *over, "--seeds", "2", "--folder", str(folder)]) == 0
    return folder


def test_a_grid_tries_each_combination_once_and_never_the_test(grid):
    trials = sweep.trials_of(grid)
    assert [(t.knobs["optimizer.rate"], t.knobs["width"]) for t in trials] == [
        *((1e-3, 8), (1e-3, 13), (3e-2, 8), (3e-2, 13))
    ]
    assert ["bad luck" in trial.failed for trial in trials] == [False, True, False, True]
    for trial in (trials[0], trials[2]):
        result = json.loads((grid / trial.name / "result.json").read_text())
        assert {name.partition("/")[0] for name in result["metrics"]} == {"validation"}
        assert result["metrics"] == trial.metrics
        assert len(result["seeds"]["validation/accuracy"]["values"]) == 2
        assert result["baseline"] == {}


def test_a_trial_is_an_ordinary_run_that_says_how_to_repeat_it(grid, capsys):
    assert main(["report", str(grid / "trial-000"), "--format", "text"]) == 0
    command = (grid / "trial-000" / "command.txt").read_text().strip()
    assert command == f"deeplearn train {FILE} --config {grid / 'trial-000' / 'config.json'}"


def test_the_page_and_the_table_have_the_best_first_with_intervals(grid, capsys):
    assert main(["sweep", str(grid)]) == 0
    lines = capsys.readouterr().out.splitlines()
    best = max(sweep.trials_of(grid), key=lambda trial: (trial.metrics or {}).get("validation/accuracy", 0))
    assert best.name in lines[2] and "±" in lines[2] and "[" in lines[2]
    assert f"--config {grid / best.name / 'config.json'}" in lines[-1]
    page = (grid / "report.html").read_text()
    assert page.index(best.name) < page.index("trial-001") and page.count("<svg") == 2
    assert "<script" not in page and "bad luck" in page


def test_going_on_trains_nothing_twice_and_refuses_another_sweep(grid, capsys):
    before = {path: path.stat().st_mtime_ns for path in grid.glob("trial-*/result.json")}
    journal = (grid / "journal.jsonl").read_bytes()
    again = [*BASE, "--seeds", "2", "--folder", str(grid), "--over", "optimizer.rate=1e-3,3e-2"]
    assert main([*again, "width=8,13"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (grid / "journal.jsonl").read_bytes() == journal
    assert main([*again, "width=8,14"]) == 78
    assert "holds another sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--over", "width=8,9", "--metric", "test/accuracy"], 2, "may not look at test/accuracy"),
        (["--over", "width=8,9", "--no-validated"], 78, "nothing on validation data"),
        (["--over", "width=8,9", "--metric", "valid/accuracy"], 78, "--metric validation/NAME"),
        (["--over", "widht=8,9"], 78, "did you mean `width`"),
        (["--over", "width=8,wide"], 78, "expected int"),
        (["--over", "optimizer.rate=0.1,-1"], 78, "has to be"),
        (["--over", "seed=0,1,2"], 2, "--seeds 3"),
        (["--over", "restart=True,False"], 2, "vary another"),
        (["--over", "width=8,8.0"], 2, "has 8 twice"),
        (["--over", "width=8,9", "width=10"], 2, "width twice"),
        (["--over", "optimizer.rate=1e-2..1e-3", "--trials", "2"], 2, "does not end above where it begins"),
        (["--over", "width=8,9", "--best", "test/accuracy", "--eval-every", "2"], 78, "--best test/accuracy"),
        (["--over", "width"], 2, "KNOB=VALUE"),
        (["--over", "width=8,9", "--workdir", "runs/x"], 2, "with --folder"),
        (["--over", "width=8..64"], 2, "--trials 20"),
        (["--over", "width=8,9", "--trials", "5", "--sampler", "grid"], 2, "the grid has 2"),
        (["--over", "width=8..64", "--trials", "0"], 2, "--trials 0: give at least 1"),
        (["--over", "width=8,9", "--workers", "-1"], 2, "--workers -1: give at least 1"),
        (["--over", "width=8", "--metric", "validation/blanks"], 78, "neither small nor large"),
        ([], 2, "what to vary"),
    ],
)
def test_what_cannot_be_swept_is_said_before_anything_is_trained(tmp_path, capsys, words, code, message):
    folder = tmp_path / "sweep"
    assert main([*BASE, "--folder", str(folder), *words]) == code
    assert message in capsys.readouterr().err
    assert not folder.exists()


def test_a_metric_that_is_not_measured_is_named_with_those_that_are(tmp_path, capsys):
    words = ["--over", "width=8", "--metric", "validation/bleu", "--folder", str(tmp_path / "sweep")]
    assert main([*BASE, *words]) == 78
    assert "validation/accuracy" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1"])
def test_a_sweep_is_not_gone_on_with_by_nobody(grid, capsys, count):
    assert main(["sweep", str(grid), "--workers", count]) == 2
    assert f"--workers {count}: give at least 1" in capsys.readouterr().err


def test_a_folder_without_a_sweep_is_named(tmp_path, capsys):
    assert main(["sweep", str(tmp_path)]) == 2
    assert f"{tmp_path} holds no sweep; give" in capsys.readouterr().err
    assert main(["sweep", str(tmp_path / "swep")]) == 2
    assert "swep does not exist; give" in capsys.readouterr().err


def test_a_folder_takes_more_trials_but_not_fewer_and_a_grid_has_all(tmp_path, grid, capsys):
    folder = tmp_path / "sweep"
    words = [*BASE, "--over", "width=8..16", "--folder", str(folder), "--trials"]
    assert main([*words, "1"]) == 0
    assert main(["sweep", str(folder), "--trials", "2"]) == 0
    assert sweep.read(folder).trials == len(sweep.trials_of(folder)) == 2
    capsys.readouterr()
    for fewer in (["sweep", str(folder), "--trials", "1"], [*words, "1"]):
        assert main(fewer) == 2
        assert "has 2 trials, and --trials may only grow" in capsys.readouterr().err
    assert sweep.read(folder).trials == 2
    assert main(["sweep", str(grid), "--trials", "5"]) == 2
    assert "4 trials and no more" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["gone", "folder", "torn", "empty"])
def test_a_trial_whose_result_is_lost_is_taken_up_again(tmp_path, capsys, fault):
    folder = tmp_path / "sweep"
    assert main([*BASE, "--over", "width=8,9", "--folder", str(folder)]) == 0
    result, before = folder / "trial-000" / "result.json", sweep.trials_of(folder)
    if fault == "folder":
        shutil.rmtree(result.parent)
    elif fault == "gone":
        result.unlink()
    else:
        result.write_text('{"experiment": "chosen", "config": {}, "metr' if fault == "torn" else "{}")
    assert "no validation/accuracy in result.json" in sweep.told(folder)
    capsys.readouterr()
    assert main(["sweep", str(folder)]) == 0
    said = capsys.readouterr()
    assert f"{result} is missing or damaged" in said.err and "under way" not in said.out
    assert sweep.trials_of(folder) == before
    assert json.loads(result.read_text())["metrics"] == before[0].metrics


@pytest.mark.parametrize("name", ["prices", "clustering", "verification", "brain", "neurons"])
def test_an_experiment_that_chooses_by_nothing_is_refused_before_the_first_trial(tmp_path, capsys, name):
    folder = tmp_path / "sweep"
    assert main(["sweep", name, "--over", "batch=8,16", "--folder", str(folder)]) == 78
    assert "nothing on validation data" in capsys.readouterr().err
    assert not folder.exists()


def test_values_are_read_as_the_knob_has_them():
    assert axis("1e-3,3e-3", whole=False) == (1e-3, 3e-3)
    assert axis("1e3,None", whole=True) == (1000, None) and isinstance(axis("1e3,64", whole=True)[0], int)
    assert axis("[64,64],[128]", whole=False) == ([64, 64], [128])
    assert axis("cnn,vit", whole=False) == ("cnn", "vit")
    assert axis("True,False", whole=False) == (True, False)
    assert axis(".5,None", whole=False) == (0.5, None)
    assert axis("8..64", whole=True) == Span(low=8, high=64, whole=True)


@pytest.mark.parametrize("knob", ["model.width", "save_every", "batch"])
def test_a_range_of_a_knob_of_whole_numbers_is_of_whole_numbers_whatever_it_is_now(knob):
    from deeplearn import catalog

    recipe = catalog.load("classification")
    planned = sweep.plan(recipe, recipe.Config(), [f"{knob}=4..8"], trials=2, sampler="random", metric="")
    assert planned.over == {knob: "4..8"}


def test_a_range_above_zero_is_even_in_the_logarithm():
    assert Span(low=1e-4, high=1e-2, whole=False).at(0.5) == pytest.approx(1e-3)
    assert Span(low=0, high=0.5, whole=False).at(0.5) == 0.25
    assert Span(low=8, high=512, whole=True).at(0.5) == 64


def test_random_trials_are_a_function_of_seed_and_number():
    axes = {"rate": Span(low=1e-4, high=1e-2, whole=False), "name": ("a", "b", "c")}
    draw = lambda number, seed: proposals.proposal(Path(), "random", axes, number, seed)  # noqa: E731
    assert draw(3, 0) == draw(3, 0) != draw(3, 1)
    assert len({draw(number, 0)[1]["rate"] for number in range(20)}) == 20
    assert all(1e-4 <= draw(number, 0)[1]["rate"] <= 1e-2 for number in range(20))


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_optuna_comes_near_the_best_and_remembers(tmp_path, sampler):
    pytest.importorskip("optuna", reason="the samplers of optuna are an extra")
    pytest.importorskip("cmaes" if sampler == "cmaes" else "optuna", reason="the sampler cmaes is an extra")
    axes = {"x": Span(low=-1, high=1, whole=False), "y": Span(low=-1, high=1, whole=False)}
    seen = []
    for expected in range(24):
        number, knobs = proposals.proposal(tmp_path, sampler, axes, expected, 0)
        assert number == expected
        seen.append((knobs["x"] - 0.3) ** 2 + (knobs["y"] + 0.2) ** 2)
        proposals.told(tmp_path, sampler, number, 0, None if number == 5 else seen[-1])
    assert len(set(seen)) == 24 and min(seen) < 0.1


def _start(folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "DEEPLEARN_RUNTIME": "off"}
    return subprocess.Popen(
        [sys.executable, "-m", "deeplearn", "sweep", str(folder)],
        **dict(env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True),
    )


def _begun(folder: Path, over: str, steps: int = 30) -> None:
    """A sweep of trials that take a while, of which none is trained yet."""
    recipe = catalog.load(FILE)
    words = ["--steps", str(steps), "--wait", "0.03", "--save-every", "10"]
    config = parse(form(recipe, recipe.Config()), words, verb="", about="").knobs
    sweep.begin(folder, sweep.plan(recipe, config, [over], trials=None, sampler=None, metric=""))


def test_two_processes_share_a_sweep_and_a_killed_one_is_gone_on_with(tmp_path):
    folder = tmp_path / "sweep"
    _begun(folder, "width=8,9")
    victim = _start(folder)
    while not list(folder.glob("trial-000/checkpoints/10*")):
        assert victim.poll() is None, victim.communicate()
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('{"trial": 0, "metr')  # a line that the kill has torn
    both = [_start(folder) for _ in range(2)]
    said = [one.communicate() for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines() if line.endswith("}")]
    assert sorted(line["trial"] for line in lines if "metrics" in line) == [0, 1]
    assert sorted(line["trial"] for line in lines if "knobs" in line) == [0, 1]
    assert not list(folder.glob("*.lock"))
    steps = [json.loads(line)["step"] for line in (folder / "trial-000" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and len((folder / "trial-000" / "command.txt").read_text().splitlines()) == 1


@pytest.mark.slow  # two jobs, each of which imports everything
def test_jobs_of_submitit_work_on_one_sweep(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    folder = tmp_path / "sweep"
    words = ["--over", "width=8,9", "--folder", str(folder), "--cluster", "local", "--workers", "2"]
    assert main([*BASE, *words, "--job", "timeout_min=30"]) == 0
    assert all(trial.metrics for trial in sweep.trials_of(folder)) and len(sweep.trials_of(folder)) == 2


@pytest.mark.slow  # submitit counts a job's time in minutes
def test_a_job_whose_time_is_over_is_queued_again_and_its_trial_gone_on_with(tmp_path, monkeypatch):
    import submitit

    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    folder = tmp_path / "sweep"
    _begun(folder, "width=8", steps=800)  # 24 s of waiting alone
    executor = submitit.LocalExecutor(tmp_path / "jobs")
    executor.update_parameters(timeout_min=1, signal_delay_s=40)
    job = executor.submit(Worker(folder))
    job.result()
    assert [trial.metrics is not None for trial in sweep.trials_of(folder)] == [True]
    log = job.stderr()
    assert "stopped by SIGTERM after step" in log and "restoring step" in log, log
    steps = [json.loads(line)["step"] for line in (folder / "trial-000" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_jobs_that_fail_are_named_with_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("deeplearn.workers._command", lambda folder: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(ConfigError, match=r"2 of 2 jobs failed \(.*jobs\); go on with deeplearn sweep "):
        workers.submitted(tmp_path, "local", 2, ["timeout_min=30"])
