"""`deeplearn bench`: what is fast, beside its peers."""

import difflib
import sys

from deeplearn.errors import UsageError
from deeplearn.flags import before_jax, parse


def main(words: list[str]) -> None:
    from importlib import import_module

    from deeplearn import catalog

    known = ("matmul", "step", "scaling", "input", "loop", "encoding", "compare")
    if not words or words[0] not in known:
        near = difflib.get_close_matches(words[0], known, n=1) if words else []
        asked = words and words[0] not in ("-h", "--help")
        text = "usage: deeplearn bench NAME [--quick] [--KNOB ...] with NAME one of: " + ", ".join(known)
        if asked:
            raise UsageError(f"there is no benchmark {words[0]!r}; " + (f"did you mean {near[0]}?" if near else text))
        print(text)
        return
    before_jax()
    module = import_module(f"{catalog.home('benchmarks')}.{words[0]}")
    config = parse(module.Config, words[1:], verb=f"bench {words[0]}", about=module.__doc__ or "")
    if code := module.main(config):
        sys.exit(code)
