"""The command line. Nothing heavy is imported before a verb needs it, so that help comes at once."""

import difflib
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from deeplearn import processes
from deeplearn.errors import DeeplearnError, UsageError
from deeplearn.interrupt import Interrupted, promptly
from deeplearn.plain import plain

USAGE = """\
deeplearn: train, evaluate and benchmark deep-learning experiments in JAX

usage: deeplearn VERB ...        (deeplearn VERB --help explains a verb)

  list                           the experiments, with what each one is
  train EXPERIMENT [--KNOB ...]  train by name or by the path of your own file
  evaluate RUN                   evaluate a run folder's newest checkpoint again
  predict RUN INPUT...           use a trained model on your own files or texts
  report RUN...                  one HTML page, or the tables as GitHub or LaTeX text
  compare RUN RUN                what differs in knobs and metrics
  export RUN                     the model as StableHLO and safetensors
  data list|prepare NAME         public data sets, and how to get them
  bench NAME [--quick]           matmul, step, scaling, input, loop, compare
  info                           versions, devices, settings, folders

first steps:
  deeplearn train classification
  deeplearn train classification --optimizer.rate 3e-3 --steps 500 --workdir DIR
  deeplearn report runs/latest

Errors are one sentence; --debug shows the traceback.
Exit codes: 0 done, 1 failed, 2 usage, 65 data, 70 diverged, 74 disk, 78 config, 130 Ctrl-C, 143 SIGTERM.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A screen that cannot show a character shows another for it.
            stream.reconfigure(errors="replace")
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(USAGE, end="")
            return 0
        if words[0] == "--version":
            from importlib.metadata import version

            print(version("deeplearn"))
            return 0
        with promptly("while nothing was to be saved"):
            _verb(words[0])(words[1:])
    except (DeeplearnError, Interrupted) as error:
        if debug:
            raise
        print(f"deeplearn: {plain(error, 10_000)}", file=sys.stderr)
        # Above 128: a signal, which all processes answer together.
        return error.exit_code if error.exit_code > 128 else processes.fail(error.exit_code)
    except KeyboardInterrupt:
        return processes.fail(130)
    except BrokenPipeError:  # The reader, such as head, has seen enough.
        return 0
    except OSError as error:
        if debug or error.filename is None:
            raise
        print(f"deeplearn: {plain(error.filename)}: {error.strerror}; --debug shows where.", file=sys.stderr)
        return processes.fail(74)
    except Exception:
        processes.lost()
        raise
    return 0


def _verb(word: str) -> Callable[[list[str]], None]:
    verbs = {
        "list": _list,
        "train": _train,
        "evaluate": _evaluate,
        "predict": _predict,
        "report": _report,
        "compare": _compare,
        "export": _export,
        "data": _data,
        "bench": _bench,
        "info": _info,
    }
    if word not in verbs:
        near = difflib.get_close_matches(word, verbs, n=1)
        hint = f"did you mean {near[0]}?" if near else "deeplearn --help lists the verbs."
        raise UsageError(f"there is no verb {word!r}; {hint}")
    return verbs[word]


def _before_jax() -> None:
    """Settings that XLA and the C library read when the process starts; restarts this one at most once."""
    from deeplearn import runtime

    runtime.prepare()


def run_file(path: str) -> None:
    """`python experiments/NAME.py ...` is `deeplearn train path/to/NAME.py ...`: call it under `__main__`."""
    from deeplearn import catalog

    name = Path(path).stem if Path(path).resolve().parent in catalog.PLACES else path
    sys.exit(main(["train", name, *sys.argv[1:]]))


def _parse(form: Any, words: list[str], *, verb: str, about: str, default: Any = None) -> Any:
    """Words into a dataclass; unknown knobs, wrong types and `--help` end with tyro's explanation (exit 2 and 0)."""
    import tyro

    arguments = {} if default is None else {"default": default}
    style = (tyro.conf.AvoidSubcommands, tyro.conf.PositionalRequiredArgs)
    return tyro.cli(form, args=words, prog=f"deeplearn {verb}", description=about, config=style, **arguments)


def _list(words: list[str]) -> None:
    from deeplearn import catalog

    @dataclass(frozen=True)
    class List:
        pass

    _parse(List, words, verb="list", about="The experiments that come with the code.")
    for name in catalog.names():
        print(f"{name:16} {catalog.summary(catalog.locate(name))}")
    print("\ndeeplearn train NAME --help shows the knobs; deeplearn train path/to/mine.py runs your own.")


def _train(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        print("usage: deeplearn train EXPERIMENT [--preset NAME] [--dry-run] [--KNOB VALUE ...]\n")
        print("EXPERIMENT is one of the names below or the path of your own file; --help after it shows its knobs.\n")
        _list([])
        return
    name, words = words[0], words[1:]
    from deeplearn import catalog

    catalog.locate(name)  # A wrong name is told before anything heavy is imported.
    _before_jax()
    processes.join()
    recipe = catalog.load(name)
    dry = "--dry-run" in words
    preset, words = _option([word for word in words if word != "--dry-run"], "--preset")
    presets = recipe.PRESETS
    if preset is not None and preset not in presets:
        near = difflib.get_close_matches(preset, presets, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(presets) or 'none'}."
        raise UsageError(f"{name} has no preset {preset!r}; {hint}")
    about = recipe.about + (f"\npresets: {', '.join(presets)}" if presets else "")
    config = _parse(recipe.Config, words, verb=f"train {name}", about=about, default=presets.get(preset))
    if dry:
        from deeplearn.plan import plan

        print(plan(recipe, config))
        return
    from deeplearn import train
    from deeplearn.record.reading import load_run
    from deeplearn.record.table import table

    folder = train.train(recipe, config)
    if processes.first():
        print(table([load_run(folder)], "text"))
        print(f"\nrun folder: {folder}\nlook at it: deeplearn report {folder}")


def _option(words: list[str], name: str) -> tuple[str | None, list[str]]:
    """Take `--name VALUE` or `--name=VALUE` out of the words."""
    for i, word in enumerate(words):
        if word == name:
            if i + 1 == len(words):
                raise UsageError(f"{name} needs a value.")
            return words[i + 1], words[:i] + words[i + 2 :]
        if word.startswith(f"{name}="):
            return word.partition("=")[2], words[:i] + words[i + 1 :]
    return None, words


def _evaluate(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Evaluate:
        run: Annotated[Path, tyro.conf.Positional]
        """Run folder, such as runs/latest."""
        other_data: bool = False
        """Go on where the data are no longer those of the training; by default that is an error."""
        trust: bool = False
        """Run the experiment's file that lies in the folder; needed where it does not come with this code."""

    form = _parse(
        Evaluate, words, verb="evaluate", about="Evaluate a run folder's newest checkpoint on all its evaluations."
    )
    _before_jax()
    from deeplearn import train

    for name, value in train.evaluate_again(form.run, other_data=form.other_data, trust=form.trust).items():
        print(f"{name:32} {value:.6g}")


def _predict(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Predict:
        run: Annotated[Path, tyro.conf.Positional]
        """Run folder, such as runs/latest."""
        inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
        """Files or texts, as the experiment takes them; - reads lines from standard input."""
        output: Path | None = None
        """Write the rows to this .csv, .json or .jsonl file instead of printing a table."""
        trust: bool = False
        """Run the experiment's file that lies in the folder; needed where it does not come with this code."""

    form = _parse(
        Predict, words, verb="predict", about="Use a trained model on your own inputs; the data set is not needed."
    )
    if not form.inputs:
        raise UsageError("give at least one input after the run folder, or - to read lines from standard input.")
    _before_jax()  # Before standard input is read: it may start this process again.
    lines = [i for word in form.inputs for i in (sys.stdin.read().splitlines() if word == "-" else [word])]
    if not lines:
        raise UsageError("standard input held no line; write one input a line into it.")
    from deeplearn import trained
    from deeplearn.record.predictions import show

    recipe, config = trained.recipe_of(form.run, trust=form.trust)
    if recipe.apply is None:
        raise UsageError(f"{recipe.name} has no apply(), so there is nothing to predict with.")
    show(recipe.apply(trained.opened(recipe, config), lines), form.output)


def _report(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Report:
        runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
        """Run folders, or folders that hold some."""
        format: Literal["html", "text", "github", "latex"] = "html"
        """One self-contained page, or the tables as text."""
        output: Path = Path("report.html")
        """Where the page goes."""

    form = _parse(Report, words, verb="report", about="Curves, tables, pictures and environment of one or more runs.")
    from deeplearn.record.reading import find_runs, load_run
    from deeplearn.record.report import page
    from deeplearn.record.table import table

    runs = [load_run(folder) for folder in find_runs(form.runs)]
    if form.format == "html":
        print(page(runs, form.output))
    else:
        print(table(runs, form.format))


def _compare(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Compare:
        first: Annotated[Path, tyro.conf.Positional]
        """Run folder."""
        second: Annotated[Path, tyro.conf.Positional]
        """Run folder that is compared with the first."""

    form = _parse(Compare, words, verb="compare", about="What differs between two runs: knobs and metrics.")
    from deeplearn.record.compare import compare
    from deeplearn.record.reading import find_runs, load_run

    first, second = (load_run(find_runs([folder])[-1]) for folder in (form.first, form.second))
    print(compare(first, second))


def _export(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Export:
        run: Annotated[Path, tyro.conf.Positional]
        """Run folder, such as runs/latest."""
        output: Path | None = None
        """Folder for model.stablehlo, model.safetensors and model.json; by default export/ in the run folder."""
        platforms: tuple[str, ...] = field(default_factory=lambda: ("cpu", "cuda", "tpu"))
        """Where the program is to run."""
        onnx: bool = False
        """Write model.onnx, too (needs the package jax2onnx)."""
        trust: bool = False
        """Run the experiment's file that lies in the folder; needed where it does not come with this code."""

    form = _parse(
        Export,
        words,
        verb="export",
        about="The trained model without this code: StableHLO (any batch size) and safetensors.",
    )
    _before_jax()
    from deeplearn.export import export

    output = form.output or form.run / "export"
    for path in export(form.run, output, form.platforms, onnx=form.onnx, trust=form.trust):
        print(path)


def _data(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Data:
        action: Annotated[Literal["list", "prepare"], tyro.conf.Positional]
        """What to do."""
        name: Annotated[str | None, tyro.conf.Positional] = None
        """Data set to prepare."""

    form = _parse(
        Data, words, verb="data", about="Public data sets that experiments take by name, stored under TFDS_DATA_DIR."
    )
    from deeplearn.data import tfds

    if form.action == "list":
        print(tfds.listing())
    elif form.name is None:
        raise UsageError("deeplearn data prepare needs a name; deeplearn data list shows them.")
    else:
        print(tfds.prepare(form.name))


def _bench(words: list[str]) -> None:
    from importlib import import_module

    known = ("matmul", "step", "scaling", "input", "loop", "compare")
    if not words or words[0] not in known:
        near = difflib.get_close_matches(words[0], known, n=1) if words else []
        asked = words and words[0] not in ("-h", "--help")
        text = "usage: deeplearn bench NAME [--quick] [--KNOB ...] with NAME one of: " + ", ".join(known)
        if asked:
            raise UsageError(f"there is no benchmark {words[0]!r}; " + (f"did you mean {near[0]}?" if near else text))
        print(text)
        return
    _before_jax()
    module = import_module(f"benchmarks.{words[0]}")
    config = _parse(module.Config, words[1:], verb=f"bench {words[0]}", about=module.__doc__ or "")
    if code := module.main(config):
        sys.exit(code)


def _info(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Info:
        pass

    _parse(Info, words, verb="info", about="Versions, devices, settings and folders: what to put into a bug report.")
    _before_jax()
    from deeplearn.data.package import cache
    from deeplearn.record.environment import environment, facts

    for name, value in [*facts(environment()), ("data cache", str(cache()))]:
        print(f"{name:18} {value}")


if __name__ == "__main__":
    sys.exit(main())
