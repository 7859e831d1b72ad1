"""The documentation: its links lead somewhere, the reference shows what there is, the notebook was executed."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]


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
