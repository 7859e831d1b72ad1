"""Words of a command line into frozen dataclasses."""

import contextlib
import io
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deeplearn.errors import ConfigError, UsageError


def before_jax(run: Path | None = None) -> None:
    """Settings that XLA and the C library read when the process starts; restarts this one at most once.

    Args:
        run: folder of a run that is gone on with; it keeps the number of threads that it began with.

    Raises:
        ConfigError: the user has set another number.
    """
    from deeplearn import runtime

    runtime.prepare(run)


def parse(form: Any, words: list[str], *, verb: str, about: str, default: Any = None, pairs: bool = False) -> Any:
    """Words into a dataclass; unknown knobs, wrong types and `--help` end with tyro's explanation (exit 2 and 0).

    Args:
        pairs: `--no-NAME` beside `--NAME` for a value that a file or a preset may already have turned on or off.
    """
    import tyro

    arguments = {} if default is None else {"default": default}
    style = (tyro.conf.AvoidSubcommands, tyro.conf.PositionalRequiredArgs)
    style += () if pairs else (tyro.conf.FlagCreatePairsOff,)
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def whole(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
        if info.type is not int:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="INT",
            instance_from_str=lambda words: _whole(words[0]),
            is_instance=_is_whole,
            str_from_instance=lambda value: [str(value)],
        )

    def parsed() -> Any:
        prog = f"deeplearn {verb}"
        return tyro.cli(form, args=words, prog=prog, description="", config=style, registry=registry, **arguments)

    if not {"-h", "--help", "-H", "--help-verbose"} & set(words):
        return parsed()
    # tyro wraps its tables, neither the paragraphs nor the line of usage.
    paragraphs = re.sub(r"(?<=\S)\n(?=\S)", " ", about.strip())
    print(wrapped(paragraphs) + "\n")
    with _usage_wrapped():
        return parsed()


@contextlib.contextmanager
def _usage_wrapped() -> Iterator[None]:
    """What is printed here, with lines of usage no longer than the terminal, and the colours that the terminal has."""
    caught = io.TextIOWrapper(io.BytesIO(), encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    caught.isatty = sys.stdout.isatty
    try:
        with contextlib.redirect_stdout(caught):
            yield
    finally:
        caught.seek(0)
        for line in caught:
            plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
            print(_broken(plain) if plain.startswith("usage:") else line, end="")


def _broken(usage: str) -> str:
    """A line of usage broken between options, each of which keeps its brackets together."""
    lines = [""]
    for part in re.findall(r"\[.*?\]+|\S+", usage):
        longer = f"{lines[-1]} {part}" if lines[-1] else part
        fits = len(longer) < shutil.get_terminal_size().columns or not lines[-1]
        lines = [*lines[:-1], longer] if fits else [*lines, f"      {part}"]
    return "\n".join(lines) + "\n"


def _whole(word: str) -> int:
    """`1e3` is as whole as `1000`."""
    try:
        return int(word)
    except ValueError:
        value = float(word)
        if value != int(value):
            raise ValueError(f"{word} is no whole number") from None
        return int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def screen_width() -> int | None:
    """Characters in a line of the terminal; None where the output is no terminal, and may be as wide as it likes."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrapped(text: str, width: int | None = None) -> str:
    """A help text with no line longer than the terminal: words go on below the column that they stand in, a command
    behind a backslash, as it can be pasted, below what is said about it."""
    width = width or shutil.get_terminal_size().columns - 1  # Some terminals break a full line.
    return "\n".join(line if len(line) <= width else _narrower(line, width) for line in text.split("\n"))


def _narrower(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    column = re.match(r"\s*\S.*?\s{2,}(?=\S)", line)
    if line.lstrip().startswith("deeplearn "):
        command, _, remark = line.partition("  # ")
        parts = textwrap.wrap(command, width - 2, subsequent_indent=indent + "    ", break_on_hyphens=False)
        above = textwrap.wrap(remark, width, initial_indent=indent + "# ", subsequent_indent=indent + "# ")
        return "\n".join([*above, " \\\n".join(parts)])
    hang = " " * len(column[0]) if column and len(column[0]) <= width // 2 else indent
    return textwrap.fill(line, width, subsequent_indent=hang, break_on_hyphens=False, break_long_words=False)


def bounded(form: Any) -> None:
    """Hold the flags of a verb to the ranges that are declared beside them (see `knobs`); UsageError names the flag."""
    from deeplearn.config import check

    try:
        check(form)
    except ConfigError as error:
        raise UsageError(str(error)) from error


def option(words: list[str], name: str) -> tuple[str | None, list[str]]:
    """Take `--name VALUE` or `--name=VALUE` out of the words, before the rest can be understood."""
    for i, word in enumerate(words):
        if word == name:
            if i + 1 == len(words):
                raise UsageError(f"{name} needs a value.")
            return words[i + 1], words[:i] + words[i + 2 :]
        if word.startswith(f"{name}="):
            return word.partition("=")[2], words[:i] + words[i + 1 :]
    return None, words


def merged(config: Any, values: dict[str, Any]) -> Any:
    """A config with the knobs of nested JSON values in the place of its own.

    Raises:
        ConfigError: an unknown knob, or a value of the wrong type.
    """
    from deeplearn.config import from_json, to_json
    from deeplearn.errors import ConfigError

    def over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
        for name, value in above.items():
            if isinstance(below.get(name), dict) and not isinstance(value, dict | None):
                raise ConfigError(f"{name} is a group of knobs, not {value!r}: give it names and values.")
        both = {
            name: over(below[name], value) if isinstance(value, dict) and isinstance(below.get(name), dict) else value
            for name, value in above.items()
        }
        return {**below, **both}

    return from_json(type(config), over(to_json(config), values))
