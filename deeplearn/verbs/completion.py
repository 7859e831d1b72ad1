"""`deeplearn completion`: verbs, experiments, options and their values on the Tab key, else files."""

import contextlib
import io
import os
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from deeplearn.flags import parse
from deeplearn.runtime import SWITCH

BASH = """\
_deeplearn() {
  local word="${COMP_WORDS[COMP_CWORD]}" IFS=$'\\n'
  local found="$("${COMP_WORDS[0]}" completion words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)"
  COMPREPLY=($(compgen -W "$found" -- "$word"))
  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
}
complete -o filenames -F _deeplearn deeplearn
"""
ZSH = """\
#compdef deeplearn
_deeplearn() {
  local -a found=("${(@f)$("$words[1]" completion words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a found || _files
}
compdef _deeplearn deeplearn
"""
FISH = """\
complete -c deeplearn -a '(deeplearn completion words (commandline -opc)[2..] "$(commandline -ct)" 2>/dev/null)'
"""
SECOND = {
    "data": ("list", "prepare"),
    "index": ("build", "add", "query"),
    "completion": ("bash", "zsh", "fish"),
}
"""What may follow a verb whose second words are no names of files."""


def main(words: list[str]) -> None:
    """Print the lines for a shell's start-up file; those ask `deeplearn completion words WORD...` at every Tab."""
    import tyro

    @dataclass(frozen=True)
    class Completion:
        shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional]
        """Which shell: eval "$(deeplearn completion bash)" in ~/.bashrc, or the like."""

    if words[:1] == ["words"]:
        # Rows of the help in one piece, and no second process for settings that only training is faster by.
        os.environ |= {"COLUMNS": "1000", SWITCH: "off"}
        print("\n".join(candidates(words[1:])))
        return
    form = parse(
        Completion, words, verb="completion", about="Lines for a shell's start-up file: the Tab key then helps."
    )
    print({"bash": BASH, "zsh": ZSH, "fish": FISH}[form.shell], end="")


def candidates(words: list[str]) -> list[str]:
    """What may stand in the place of the last of the words after `deeplearn`; nothing where a file may."""
    from deeplearn import catalog
    from deeplearn.cli import VERBS
    from deeplearn.verbs import bench

    *before, word = words or [""]
    if not before:
        return list(VERBS)
    verb, previous = before[0], before[-1]
    if verb in ("train", "sweep") and len(before) > 1 and before[1] not in catalog.names():
        return []  # To know the knobs of somebody's file is to run it, which nobody expects of the Tab key.
    if word.startswith("-"):
        return sorted(set(re.findall(r"--[a-z][\w.-]*", _table(before))))
    if len(before) == 1:
        second = {"train": catalog.names, "sweep": catalog.names, "bench": bench.names}.get(verb)
        return list(second() if second else SECOND.get(verb, ()))
    if verb in ("train", "sweep") and previous == "--preset":
        return list(catalog.load(before[1]).PRESETS)
    if previous.startswith("--") and (row := re.search(rf"{re.escape(previous)} \{{([^}}]*)\}}(?!\|)", _table(before))):
        return row[1].split(",")
    return []


def _table(before: list[str]) -> str:
    """The options that the help of a verb lists, and their values; the text above the usage may name others."""
    from deeplearn.cli import main as command

    of = before[:2] if before[0] in ("train", "sweep", "bench", *SECOND) else before[:1]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        command([*of, "--help"])
    return said.getvalue().partition("usage:")[2]
