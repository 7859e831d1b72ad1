"""`deeplearn completion`: verbs, experiments and run folders on the Tab key."""

from dataclasses import dataclass
from typing import Annotated, Literal

from deeplearn.flags import parse

BASH = """\
_deeplearn() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "{verbs}" -- "$word"))
  elif [ "$COMP_CWORD" -eq 2 ] && [ "${{COMP_WORDS[1]}}" = train ]; then
    COMPREPLY=($(compgen -W "{experiments}" -- "$word") $(compgen -f -X '!*.py' -- "$word"))
  else COMPREPLY=($(compgen -f -- "$word")); fi
}}
complete -o filenames -F _deeplearn deeplearn
"""
ZSH = """\
#compdef deeplearn
_deeplearn() {{
  if (( CURRENT == 2 )); then compadd {verbs}
  elif (( CURRENT == 3 )) && [[ $words[2] == train ]]; then compadd {experiments}; _files -g '*.py'
  else _files; fi
}}
compdef _deeplearn deeplearn
"""
FISH = """\
complete -c deeplearn -n __fish_use_subcommand -f -a "{verbs}"
complete -c deeplearn -n "__fish_seen_subcommand_from train" -a "{experiments}"
"""


def main(words: list[str]) -> None:
    """Print the lines for a shell's start-up file."""
    import tyro

    from deeplearn import catalog
    from deeplearn.cli import VERBS

    @dataclass(frozen=True)
    class Completion:
        shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional]
        """Which shell: eval "$(deeplearn completion bash)" in ~/.bashrc, or the like."""

    form = parse(
        Completion, words, verb="completion", about="Lines for a shell's start-up file: the Tab key then helps."
    )
    text = {"bash": BASH, "zsh": ZSH, "fish": FISH}[form.shell]
    print(text.format(verbs=" ".join(VERBS), experiments=" ".join(catalog.names())), end="")
