"""The command line: each verb is a file, help is quick, knobs come from presets, files and flags in that order."""

import contextlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest

from deeplearn import flags
from deeplearn.cli import USAGE, VERBS, main
from deeplearn.errors import ConfigError, DataError, UsageError
from deeplearn.experiment import Recipe, Run
from deeplearn.optimizer import Optimizer
from deeplearn.runtime import SWITCH
from deeplearn.verbs import bench, train
from deeplearn.verbs.completion import candidates

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    width: int = 8
    shares: tuple[float, ...] = (0.5,)
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=1e-2))


RECIPE = Recipe(
    name="own",
    path=Path("own.py"),
    about="",
    Config=Config,
    PRESETS={"wide": Config(width=64, optimizer=Optimizer(rate=1e-3))},
)


def test_every_verb_is_a_file_and_every_file_is_in_the_usage():
    files = {path.stem for path in (ROOT / "deeplearn" / "verbs").glob("[!_]*.py")}
    assert files == set(VERBS)
    assert all(f"\n  {verb} " in USAGE for verb in VERBS)


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["bench", "--help"], ["sweep", "--help"]], ids=" ".join
)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_fits_the_terminal_and_loses_no_word(words, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    assert main(words) == 0
    whole = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(words) == 0
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= max(width, 80)  # Usage lines of 80 are as narrow as they get.
    assert narrow.replace("\\\n", "").split() == whole.split()


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("train", "sweep", "bench")])
@pytest.mark.parametrize("width", [60, 80])
def test_help_of_a_verb_fits_the_terminal(verb, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    with contextlib.suppress(SystemExit):
        main([verb, "--help"])
    said = capsys.readouterr().out
    assert f"usage: deeplearn {verb}" in said
    assert max(map(len, said.splitlines())) <= width


@pytest.mark.parametrize("width", [60, 80, 120])
def test_info_fits_the_screen_with_paths_whole(width, capsys, monkeypatch):
    cache = Path("/home/somebody/a-folder" * 2)
    monkeypatch.setattr("deeplearn.data.package.cache", lambda: cache)
    monkeypatch.setattr("deeplearn.record.environment.datetime", Mock(now=lambda _: datetime(2026, 1, 1, tzinfo=UTC)))
    monkeypatch.setenv("GLIBC_TUNABLES", ":".join(["glibc.malloc.trim_threshold=1099511627776"] * 4))
    assert main(["info"]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(["info"]) == 0
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) < width
    assert str(cache) in narrow and "".join(narrow.split()) == "".join(whole.split())


def test_results_of_a_benchmark_have_a_place_before_it_measures(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("benchmarks.matmul.main", lambda config: pytest.fail("measured"))
    assert main(["bench", "matmul", "--quick", "--output", str(tmp_path / "file")]) == 74
    assert "choose another folder with --output" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["index", "query", "x", "y", "--k", "0"]], ids=" ".join)
def test_numbers_of_verbs_have_bounds(words, capsys):
    assert main(words) == 2
    assert "k is 0, and it has to be at least 1" in capsys.readouterr().err


def test_a_long_command_can_still_be_pasted():
    text = "    deeplearn train mine.py --data.path photos --model.width 16  # any size, grey or colour"
    above, *command = flags.wrapped(text, 50).split("\n")
    assert above.strip() == "# any size, grey or colour"
    assert "\n".join(command).replace("\\\n", "").split() == text.partition("#")[0].split()
    assert max(map(len, command)) <= 50


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("train", "sweep", "bench")])
def test_help_of_a_verb_imports_no_jax(verb):
    code = (
        "import sys; from deeplearn.cli import main\n"
        f"try: main([{verb!r}, '--help'])\nexcept SystemExit as end: print(end.code, 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.endswith("0 False\n"), done.stderr[-500:]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("knobs.json", '{"width": 16, "optimizer": {"decay": 0.5}}'),
        ("knobs.toml", "width = 16\n[optimizer]\ndecay = 0.5\n"),
        ("knobs.yaml", "width: 16\noptimizer:\n  decay: 0.5\n"),
        ("tenths.yaml", "width: 16\noptimizer:\n  decay: 5e-1\n"),
        ("config.json", '{"experiment": "own", "config": {"width": 16, "optimizer": {"decay": 0.5}, "workdir": "x"}}'),
    ],
)
def test_a_file_of_knobs_stands_over_the_preset_and_below_the_flags(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    before = train.default(RECIPE, "wide", str(tmp_path / name))
    assert (before.width, before.optimizer.decay, before.optimizer.rate) == (16, 0.5, 1e-3)
    assert before.workdir is None
    form = flags.parse(train.form(RECIPE, before), ["--optimizer.rate", "3e-3"], verb="train own", about="")
    assert form.knobs == replace(before, optimizer=replace(before.optimizer, rate=3e-3))


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("a.json", '{"widht": 16}', ConfigError, "did you mean `width`"),
        ("a.json", '{"width": "16"}', ConfigError, "expected int"),
        ("a.toml", "width = ", DataError, "not what its name says"),
        ("a.yaml", "- 1\n- 2\n", DataError, "holds no knobs"),
        ("a.yaml", "width: [1\nsteps: 2\n", DataError, r"not what its name says \([^\n]*\); correct it"),
        ("a.json", '{"optimizer": 3}', ConfigError, "optimizer is a group of knobs, not 3"),
        ("a.json", '{"width": 16, "optimizer": {"rate": 1, "rate": 2}}', DataError, "rate stands in it twice"),
        ("a.yaml", "width: 16\nwidth: 8\n", DataError, "width stands in it twice"),
        ("a.yaml", "optimizer:\n", ConfigError, "expected a group of knobs"),
        ("config.json", '{"experiment": "prices", "config": {}}', UsageError, "knobs of prices, not of own"),
        ("config.json", '{"experiment": 3, "config": {}}', UsageError, "knobs of 3, not of own"),
    ],
)
def test_a_wrong_file_of_knobs_is_named(tmp_path, name, text, error, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        train.default(RECIPE, None, str(tmp_path / name))


def test_whole_numbers_may_be_written_with_an_exponent(capsys):
    form = train.form(RECIPE, Config())
    parse = lambda words: flags.parse(form, words, verb="train own", about="")  # noqa: E731
    assert parse(["--steps", "1e3"]).knobs.steps == 1000
    assert parse(["--together", "True"]).knobs.together is True
    with pytest.raises(SystemExit):
        parse(["--steps", "1.5"])
    assert "1.5" in capsys.readouterr().err


@dataclass(frozen=True, kw_only=True)
class Two(Config):
    critic: Optimizer = field(default_factory=lambda: Optimizer(warmup=50))


def test_a_warm_up_is_shortened_to_a_short_run(capsys):
    config = train.shortened(Two(steps=30, optimizer=Optimizer(warmup=100)))
    assert config.optimizer.warmup == config.critic.warmup == 3
    said = capsys.readouterr().err
    assert "optimizer: the warm-up of 100" in said and "critic: the warm-up of 50" in said
    assert train.shortened(Config(steps=200, optimizer=Optimizer(warmup=100))).optimizer.warmup == 100


def test_a_dry_run_shortens_the_warm_up_as_a_run_does(monkeypatch, capsys):
    monkeypatch.setattr("deeplearn.plan.plan", lambda recipe, config: f"warm-up {config.optimizer.warmup}")
    assert main(["train", "classification", "--steps", "30", "--dry-run"]) == 0
    assert "warm-up 3" in capsys.readouterr().out


def test_a_sink_that_is_not_there_is_told_before_there_is_a_run_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setenv("DEEPLEARN_RUNS", str(tmp_path / "runs"))
    assert main(["train", "classification", "--steps", "2", "--sinks", "wandb"]) == 2
    assert "pip install 'deeplearn[wandb]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_training_that_is_refused_says_that_its_folder_is_gone(tmp_path, capsys):
    words = ["train", "classification", "--steps", "2", "--mesh", "data=1", "--exact", "6"]
    assert main([*words, "--workdir", str(tmp_path / "run")]) == 78
    said = capsys.readouterr().err
    assert said.index(f"run folder: {tmp_path / 'run'}") < said.index("the run folder is removed again")
    assert not (tmp_path / "run").exists()


def test_a_report_of_nothing_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("the page of yesterday")
    assert main(["report"]) == 2
    assert (tmp_path / "report.html").read_text() == "the page of yesterday"


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["tra"], {"train", "report"}),
        (["train", ""], {"classification", "prices"}),
        (["bench", ""], {"matmul", "decode"}),
        (["data", ""], {"list", "prepare"}),
        (["train", "prices", "--preset", ""], {"hotels", "ames"}),
        (["train", "prices", "--opt"], {"--optimizer.rate", "--preset"}),
        (["train", "prices", "--model", ""], {"tabm", "ft-transformer"}),
        (["sweep", "prices", "--o"], {"--over", "--optimizer.rate"}),
        (["report", "runs/latest", "--"], {"--format", "--output"}),
        (["report", "--format", ""], {"html", "github"}),
    ],
)
def test_completion_knows_verbs_names_options_and_their_values(words, some, monkeypatch):
    monkeypatch.setenv(SWITCH, "off")
    assert some <= set(candidates(words))


@pytest.mark.parametrize(
    "words", [["report", ""], ["train", "prices", "--config", ""], ["evaluate", "runs/latest", ""]]
)
def test_completion_leaves_files_to_the_shell(words, monkeypatch):
    monkeypatch.setenv(SWITCH, "off")
    assert not candidates(words)


def test_the_tab_key_runs_no_file_of_the_users(tmp_path):
    path, seen = tmp_path / "own.py", tmp_path / "seen"
    path.write_text(f"open({str(seen)!r}, 'w')")
    for words in (["--opt"], ["--preset", ""]):
        assert not candidates(["train", str(path), *words])
    assert not seen.exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_a_verb(shell, capsys):
    assert main(["completion", shell]) == 0
    lines = capsys.readouterr().out
    assert "deeplearn" in lines
    if shell != "bash":
        return
    lines += "COMP_WORDS=(deeplearn tra); COMP_CWORD=1; _deeplearn; echo ${COMPREPLY[*]}"
    place = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    found = subprocess.run(["bash", "-c", lines], env=place, capture_output=True, text=True, check=True)
    assert found.stdout == "train\n"


def test_a_table_that_is_too_wide_is_turned(tmp_path):
    from runs import Config as Knobs
    from runs import make_run

    from deeplearn.record.reading import load_run
    from deeplearn.record.table import table

    runs = [
        load_run(make_run(tmp_path / str(i), replace(Knobs(), model=f"a-long-name-{i}"), 0.9 + i / 100))
        for i in range(4)
    ]
    wide, narrow = table(runs, "text"), table(runs, "text", width=60)
    assert max(map(len, narrow.splitlines())) <= 60 < max(map(len, wide.splitlines()))
    numbers = lambda text: sorted(word for word in text.split() if word.replace(".", "").isdigit())  # noqa: E731
    assert set(numbers(wide)) <= set(numbers(narrow))


def test_comparisons_as_json_say_where_the_data_differ(tmp_path, capsys):
    from runs import Config as Knobs
    from runs import make_run

    folders = [make_run(tmp_path / name, Knobs(), accuracy) for name, accuracy in (("a", 0.9), ("b", 0.8))]
    for folder, digest in zip(folders, "xy", strict=True):
        (folder / "fit.json").write_text(json.dumps({"data": {"train": {"sha256": digest}}}))
    assert main(["compare", *map(str, folders), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["other_data"] == "train"
    assert found["metrics"]["test/accuracy"]["difference"] == pytest.approx(-0.1)
    assert main(["compare", *map(str, folders)]) == 0
    assert "Not the same data (train)" in capsys.readouterr().out


def test_a_package_of_an_extra_that_is_missing_is_named_with_the_extra(monkeypatch, capsys):
    def main_of(words):
        raise ModuleNotFoundError("No module named 'sentencepiece'", name="sentencepiece")

    monkeypatch.setattr("deeplearn.verbs.info.main", main_of)
    assert main(["info"]) == 2
    assert capsys.readouterr().err == "deeplearn: sentencepiece is not installed; pip install 'deeplearn[text]'.\n"


def test_every_benchmark_is_named_in_the_help():
    (line,) = re.findall(r"bench NAME \[--quick\] +(.*(?:\n {33}.*)*)", USAGE)
    assert set(re.split(r",\s+", line.strip())) == set(bench._files())
