"""The documentation: its links lead somewhere, the reference shows what there is, the notebook was executed; and the
Dockerfile, which takes the README's steps."""

import ast
import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "runs"
PAGES = [
    page for page in [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))] if KEPT not in page.parents
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith(("http", "#", "mailto:")):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_the_reference_shows_modules_that_there_are():
    shown = [
        name for page in (ROOT / "docs" / "api").glob("*.md") for name in re.findall(r"::: (\S+)", page.read_text())
    ]
    assert len(shown) == len(set(shown)) > 100
    assert not [name for name in shown if not (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()]


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in PAGES if "docs" in path.parts]
    assert not [page for page in pages if page not in text]


def test_the_notebook_was_executed_and_is_what_its_script_says():
    book = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())
    script = ast.parse((ROOT / "docs" / "notebook.py").read_text())
    cells = next(node.value for node in script.body if isinstance(node, ast.Assign))
    assert ["".join(cell["source"]) for cell in book["cells"]] == ast.literal_eval(cells)
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [1, 2, 3, 4]
    assert not [cell for cell in code if any(output["output_type"] == "error" for output in cell["outputs"])]


def script(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_results_page_is_what_the_kept_runs_say():
    assert script("results").page() == (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_table_of_scale_is_what_its_script_says_and_rests_on_what_xla_counts():
    import jax

    from benchmarks.cases import cases, optimizer
    from deeplearn.step import gradient_sums, init

    scale = script("scale")
    text = scale.PAGE.read_text(encoding="utf-8")
    assert scale.page(text) == text
    case, resnet = cases()["resnet50"], scale.JOBS[0]
    rows = case.draw(0)
    state = jax.eval_shape(lambda: init(case.task, optimizer(), 0, rows))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == pytest.approx(resnet.parameters, rel=0.02)
    program = jax.jit(lambda state, rows: gradient_sums(case.task, state, rows, 0)).lower(state, rows)
    assert program.cost_analysis()["flops"] / case.batch == pytest.approx(resnet.flops, rel=0.02)


def test_what_is_kept_of_runs_names_no_place():
    kept = [path for path in KEPT.rglob("*") if path.is_file()]
    assert kept and {path.name for path in kept} <= {
        "config.json",
        "env.json",
        "result.json",
        "command.txt",
        "notes.md",
    }
    for path in kept:
        assert not re.search(r"(?<![\w.~])/(home|root|work|tmp|Users|check|mnt)/", path.read_text(encoding="utf-8")), (
            path
        )


def steps() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line.strip()]


def test_the_dockerfile_installs_as_the_readme_does_and_copies_what_that_needs():
    copied = {word for name, words in steps() if name == "COPY" for word in words.split()[1:-1]}
    assert not [word for word in copied if not (ROOT / word).exists()]
    rule = re.search(r"^\.venv/ready: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert rule is not None and "digits: .venv/ready" in (ROOT / "Makefile").read_text()
    assert ("RUN", "make .venv/ready") in steps() and copied >= {*rule[1].split(), "Makefile"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert copied >= {*wheel["packages"], *wheel["force-include"], project["project"]["readme"], "LICENSE"}
    readme = (ROOT / "README.md").read_text()
    targets = {words.rpartition(" AS ")[2] for name, words in steps() if name == "FROM"}
    assert set(re.findall(r"--target (\w+)", readme + (ROOT / "Dockerfile").read_text())) == targets - {"base"}


def test_the_dockerfile_keeps_to_what_hadolint_asks():
    """DL3006 and DL3007: a tag; DL3002: no root at the end; DL3015, DL3009: small layers; DL3025: JSON; DL3042."""
    known = steps()
    base = next(words for name, words in known if name == "FROM")
    assert re.match(r"\S+:(?!latest)\S+ AS ", base)
    assert [words for name, words in known if name == "USER"][-1] not in ("root", "0")
    for words in (words for name, words in known if name == "RUN"):
        assert "apt-get install" not in words or {"--yes", "--no-install-recommends"} <= set(words.split())
        assert "apt-get install" not in words or "rm -rf /var/lib/apt/lists/*" in words
        assert "pip install" not in words or "--no-cache-dir" in words
        assert not {"sudo", "cd"} & set(words.split())
    assert all(isinstance(json.loads(words), list) for name, words in known if name in ("ENTRYPOINT", "CMD"))


def test_the_jobset_tells_each_process_who_it_is():
    import yaml

    from deeplearn.processes import refuse_strangers, several

    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    jobs = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    (job,) = jobs["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    given = {entry["name"]: entry.get("value", "1") for entry in container["env"]}
    assert given.keys() == {"JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"}
    assert int(given["JAX_NUM_PROCESSES"]) == job["template"]["spec"]["completions"]
    assert given["JAX_COORDINATOR_ADDRESS"].startswith(f"{jobs['metadata']['name']}-{job['name']}-0-0.")
    refuse_strangers(given | {"JOB_COMPLETION_INDEX": "1"})  # Kubernetes sets it, and alone it would be refused.
    assert several(given)
