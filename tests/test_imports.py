"""What may be imported when: a machine without network has only the core's packages; TensorFlow is never needed."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCKED = (
    "tensorflow tensorflow_datasets grain tyro tensorboardX sklearn matplotlib pandas PIL cattrs jinja2 tabulate "
    "scipy.stats dm_pix pyarrow"
)
CORE = (
    ["deeplearn", "deeplearn.loop", "deeplearn.step", "deeplearn.cli", "deeplearn.data.source"]
    + [f"deeplearn.models.{path.stem}" for path in sorted((ROOT / "deeplearn" / "models").glob("[!_]*.py"))]
    + [f"benchmarks.{path.stem}" for path in sorted((ROOT / "benchmarks").glob("[!_]*.py"))]
)


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_the_core_imports_without_the_rest():
    block = f"import sys\nfor name in {BLOCKED.split()!r}: sys.modules[name] = None\n"
    done = python(block + "\n".join(f"import {name}" for name in CORE))
    assert done.returncode == 0, done.stderr[-2000:]


def test_public_names_are_found_where_an_editor_looks_for_them():
    """The names that type checkers see are those that are imported when asked for, and asking first costs nothing."""
    import deeplearn

    tree = ast.parse((ROOT / "deeplearn" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    shown = {f"{node.module}.{alias.name}" for node in block.body for alias in node.names}
    assert shown == {f"deeplearn.{module}.{name}" for module, names in deeplearn.PLACES.items() for name in names}
    assert all(getattr(deeplearn, name) is not None for name in deeplearn.__all__)
    assert callable(deeplearn.fit) and callable(deeplearn.load)
    assert python("import sys, deeplearn; print('jax' in sys.modules)").stdout == "False\n"


def test_help_imports_neither_jax_nor_numpy():
    done = python(
        "import sys, deeplearn.cli as c; c.main(['--help']); print('jax' in sys.modules, 'numpy' in sys.modules)"
    )
    assert done.stdout.endswith("False False\n")


def test_help_answers_within_a_third_of_a_second_of_cpu():
    """CPU time of the process, not wall-clock: 0.03 s measured against a promise of 0.3 s, so load cannot fail it."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "deeplearn", "--help"], capture_output=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_no_tensorflow_after_loading_the_experiments():
    names = [path.stem for path in sorted((ROOT / "experiments").glob("[!_]*.py"))]
    load = "catalog.load(name); print(name, 'tensorflow' in sys.modules)"
    done = python(f"import sys; from deeplearn import catalog\nfor name in {names}: {load}")
    assert done.stdout.splitlines() == [f"{name} False" for name in names], done.stderr[-2000:]


BASE = {"errors", "config", "knobs", "metrics", "files", "lock", "plain", "sealed"}
"""Modules of the core that know neither a task nor a model."""
MAY_IMPORT = {
    "data": {"errors", "files", "knobs"},
    "data/sets": {"errors", "data"},
    "data/doors": {"errors", "knobs", "data", "data/sets"},
    "methods": {"errors", "knobs", "metrics", "data"},
    "models": {"errors", "knobs", "data", "data/sets", "methods"},  # sets: trained weights come by package, too
    "record": BASE,
    "lent": {"errors", "trained", "adversarial", "competitors", "data", "data/doors", "methods", "models"},
    "competitors": {"errors", "data", "data/sets", "data/doors", "methods"},
}
"""Room -> what its files may import of the package besides each other; see docs/architecture.md."""


def room(module: str) -> str:
    """`deeplearn.data.sets.digits` lies in data/sets, `deeplearn.loop` in a room of its own."""
    parts = module.split(".")[1:]
    return "/".join(parts[:-1]) if len(parts) > 1 else "".join(parts)


def imported() -> dict[str, set[str]]:
    """Module of the package -> modules of the package that it imports, at its top or inside functions."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "deeplearn").rglob("*.py")
    }
    found = {}
    for module, path in files.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        found[module] = names & files.keys() - {module}
    return found


def test_rooms_import_only_what_lies_below_them():
    odd = [
        f"{module} imports {other}"
        for module, others in imported().items()
        for other in others
        if room(module) in MAY_IMPORT and room(other) not in MAY_IMPORT[room(module)] | {room(module)}
    ]
    assert not odd, odd


def test_imports_run_in_no_circle():
    graph, done = imported(), set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in graph[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_nothing_imports_experiments_or_benchmarks():
    text = {path: path.read_text() for path in (ROOT / "deeplearn").rglob("*.py")}
    assert not [
        path.name for path, code in text.items() if re.search(r"^\s*(from|import) (experiments|tests)\b", code, re.M)
    ]


def test_benchmarks_find_each_other_in_a_wheel_too():
    """There they are deeplearn.benchmarks: only what is relative is found."""
    for path in (ROOT / "benchmarks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.partition(".")[0] == "benchmarks"], path


def test_tests_mirror_the_folders():
    """tests/methods/test_conformal.py tests deeplearn/methods/conformal.py; the core's own tests lie at the top."""
    strays = []
    for place in ("methods", "models", "record", "lent", "competitors", "data", "data/sets", "data/doors"):
        known = {path.stem for path in (ROOT / "deeplearn" / place).glob("*.py")}
        strays += [
            str(path.relative_to(ROOT))
            for path in (ROOT / "tests" / place).glob("test_*.py")
            if path.stem.removeprefix("test_") not in known
        ]
    assert not strays
