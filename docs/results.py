"""Write docs/results.md from the runs that are kept in docs/runs (what is left of them: no weights, no pictures).

python docs/results.py                # the page anew
python docs/results.py keep RUN NAME  # keep what the page needs of a run folder as docs/runs/NAME, then the page anew
"""

import sys
from pathlib import Path

from deeplearn.record.folder import CONFIG, ENVIRONMENT, RESULT
from deeplearn.record.reading import find_runs, load_run
from deeplearn.record.results import results

RUNS = Path(__file__).parent / "runs"
KEPT = (CONFIG, ENVIRONMENT, RESULT, "notes.md")


def page() -> str:
    return results([load_run(folder) for folder in find_runs([RUNS])]) + "\n"


def keep(run: Path, name: str) -> None:
    """The command is kept without the folder in which it was given; where runs lie is called `runs`."""
    folder = RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    texts = {file: (run / file).read_text(encoding="utf-8") for file in KEPT if (run / file).exists()}
    for file, text in (texts | {"command.txt": f"{load_run(run).command}\n"}).items():
        (folder / file).write_text(text.replace(str(run.resolve().parent), "runs"), encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            pass
        case ["keep", run, name]:
            keep(Path(run), name)
        case _:
            sys.exit(__doc__)
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
