"""Write and run docs/notebook.ipynb: `python docs/notebook.py` (`make docs` does not; the pages show what it left)."""

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

CELLS = [
    """\
# Train, look, use in ten lines

A small convolutional network on scikit-learn's digits of writers it has not seen, beside a support-vector machine.""",
    """\
from dataclasses import replace

from deeplearn import catalog, load
from deeplearn.train import train

recipe = catalog.load("classification")
run = train(recipe, replace(recipe.Config(), steps=200))""",
    "**Look**: the table of `deeplearn report`, and the pictures that the run has drawn, mistakes first.",
    """\
from IPython.display import SVG, Markdown

from deeplearn.record.reading import load_run
from deeplearn.record.table import table

Markdown(table([load_run(run)]))""",
    'SVG(run / "figures" / "predictions.svg")',
    "**Use**: the run folder is all that a prediction needs. The digit is one of scikit-learn's, as a user's file.",
    """\
from PIL import Image
from sklearn.datasets import load_digits

Image.fromarray((load_digits().images[42] * 15.9).astype("uint8")).save("digit.png")
trained = load(run)
[row] = recipe.apply(trained, ["digit.png"])
row["label"], round(row["probability"], 3)""",
]


def main() -> None:
    """Cells that begin with # or ** are prose; the rest is code."""
    cells = [new_markdown_cell(text) if text.startswith(("#", "**")) else new_code_cell(text) for text in CELLS]
    book = new_notebook(cells=cells)
    with tempfile.TemporaryDirectory() as place:  # runs/ is left there
        NotebookClient(book, resources={"metadata": {"path": place}}, timeout=600).execute()
    for cell in book.cells:
        cell.metadata.clear()
        if "outputs" in cell:  # what was said on the way names folders and takes a page
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    book.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(book, Path(__file__).with_suffix(".ipynb"))


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
