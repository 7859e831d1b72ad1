"""What may be imported when: a machine without network has only the core's packages; TensorFlow is never needed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCKED = (
    "tensorflow tensorflow_datasets grain tyro tensorboardX sklearn matplotlib pandas PIL cattrs jinja2 tabulate "
    "scipy.stats dm_pix"
)
CORE = (
    ["deeplearn", "deeplearn.fit", "deeplearn.step", "deeplearn.cli", "deeplearn.data.source"]
    + [f"deeplearn.models.{path.stem}" for path in sorted((ROOT / "deeplearn" / "models").glob("[!_]*.py"))]
    + [f"benchmarks.{path.stem}" for path in sorted((ROOT / "benchmarks").glob("[!_]*.py"))]
)


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_the_core_imports_without_the_rest():
    block = f"import sys\nfor name in {BLOCKED.split()!r}: sys.modules[name] = None\n"
    done = python(block + "\n".join(f"import {name}" for name in CORE))
    assert done.returncode == 0, done.stderr[-2000:]


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


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "experiments").glob("[!_]*.py"))])
def test_no_tensorflow_after_loading_an_experiment(name):
    done = python(
        f"import sys; from deeplearn import catalog; catalog.load({name!r}); print('tensorflow' in sys.modules)"
    )
    assert done.stdout.strip() == "False", done.stderr[-2000:]
