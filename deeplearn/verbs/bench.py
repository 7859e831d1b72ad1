"""`deeplearn bench`: what is fast, beside its peers; a benchmark is a file in benchmarks/ with `Config` and `main`."""

import difflib
import sys
from pathlib import Path

from deeplearn import catalog, files
from deeplearn.errors import UsageError
from deeplearn.flags import before_jax, parse, wrapped


def main(words: list[str]) -> None:
    """Find the benchmark, parse its knobs, run it."""
    from importlib import import_module

    known = _files()
    if not words or words[0] in ("-h", "--help"):
        print("usage: deeplearn bench NAME [--quick] [--KNOB ...]\n")
        for name, path in known.items():
            print(wrapped(f"  {name:{max(map(len, known))}}  {catalog.summary(path)}"))
        print("\ndeeplearn bench NAME --help shows the knobs.")
        return
    if words[0] not in known:
        near = difflib.get_close_matches(words[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}."
        raise UsageError(f"there is no benchmark {words[0]!r}; {hint}")
    before_jax()
    module = import_module(f"{catalog.home('benchmarks')}.{words[0]}")
    config = parse(module.Config, words[1:], verb=f"bench {words[0]}", about=module.__doc__ or "")
    if hasattr(config, "output"):
        files.refuse_unwritable(config.output, "--output")
    if code := module.main(config):
        sys.exit(code)


def names() -> list[str]:
    """The benchmarks."""
    return list(_files())


def _files() -> dict[str, Path]:
    """Name -> file of every benchmark; the other files are their parts."""
    places = (catalog.HOME / "benchmarks", catalog.HOME.parent / "benchmarks")
    place = next(place for place in places if place.is_dir())
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(place.glob("*.py"))}
    return {path.stem: path for path, text in texts.items() if "\ndef main(config: Config)" in text}
