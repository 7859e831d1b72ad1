"""The command line. Nothing heavy is imported before a verb needs it, so that help comes at once."""

import difflib
import io
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from deeplearn import processes
from deeplearn.errors import DeeplearnError, UsageError
from deeplearn.flags import wrapped
from deeplearn.interrupt import Interrupted, promptly
from deeplearn.plain import plain

USAGE = """\
deeplearn: train, evaluate and benchmark deep-learning experiments in JAX

usage: deeplearn VERB ...        (deeplearn VERB --help explains it)

  list                           the experiments, with what each one is
  train EXPERIMENT [--KNOB ...]  train by name or by the path of your own file
  sweep EXPERIMENT --over ...    trials that differ in some knobs, compared on validation data
  resume RUN                     go on with a run where it stopped
  evaluate RUN                   evaluate a run folder's newest checkpoint again
  predict RUN INPUT...           use a trained model on your own files or texts
  serve RUN                      a page in the browser to try a model
  explain RUN IMAGE...           what a network of images looks at, as one HTML page
  report RUN...                  one HTML page, or the tables as GitHub or LaTeX text
  compare RUN RUN                what differs in knobs and metrics
  export RUN                     the model as StableHLO and safetensors
  data list|prepare NAME         public data sets, and how to get them
  index build|add|query ...      find pictures that are like a given one
  bench NAME [--quick]           matmul, step, scaling, input, loop, encoding, search, exact, compare,
                                 faults, growth, start, predict, decode, checkpoint
  info                           versions, devices, settings, folders
  completion bash|zsh|fish       verbs, knobs and presets on the Tab key

first steps:
  deeplearn train classification
  deeplearn train classification --optimizer.rate 3e-3 --steps 500 --workdir DIR
  deeplearn report runs/latest

Errors are one sentence; --debug shows the traceback.
Exit codes: 0 done, 1 failed, 2 usage, 65 data, 70 diverged, 74 disk,
75 lost another process, 76 stuck, 78 config, 129 SIGHUP, 130 Ctrl-C,
143 SIGTERM.
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
            print(wrapped(USAGE), end="")
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
    except ModuleNotFoundError as error:
        if debug or (extra := _extra(error.name or "")) is None:
            processes.lost()
            raise
        print(f"deeplearn: {error.name} is not installed; pip install 'deeplearn[{extra}]'.", file=sys.stderr)
        return processes.fail(UsageError.exit_code)
    except Exception:
        processes.lost()
        raise
    return 0


def _extra(module: str) -> str | None:
    """The smallest extra that brings a package; None where nothing of ours does."""
    from importlib.metadata import requires

    name = re.escape(module.partition(".")[0].replace("_", "-"))
    lines = requires("deeplearn") or ()
    extras = [found[1] for line in lines if (found := re.fullmatch(rf"{name}\b.*extra == ['\"](\w+)['\"]", line))]
    return min(extras, key=lambda extra: extra == "all", default=None)


VERBS = (
    *("list", "train", "sweep", "resume", "evaluate", "predict", "serve", "explain", "report", "compare", "export"),
    *("data", "index", "bench", "info", "completion"),
)
"""Each is a file in verbs/."""


def _verb(word: str) -> Callable[[list[str]], None]:
    if word not in VERBS:
        near = difflib.get_close_matches(word, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else "deeplearn --help lists the verbs."
        raise UsageError(f"there is no verb {word!r}; {hint}")
    return import_module(f"deeplearn.verbs.{word}").main


def run_file(path: str) -> None:
    """`python experiments/NAME.py ...` is `deeplearn train path/to/NAME.py ...`: call it under `__main__`."""
    from deeplearn import catalog

    name = Path(path).stem if Path(path).resolve().parent in catalog.PLACES else path
    sys.exit(main(["train", name, *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
