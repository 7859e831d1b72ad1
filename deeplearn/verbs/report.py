"""`deeplearn report`: curves, tables, pictures and environment of runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from deeplearn.errors import UsageError
from deeplearn.flags import parse, screen_width


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Report:
        runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN OR FOLDER OF RUNS ...]")]
        """Run folders, or folders that hold some."""
        format: Literal["html", "text", "github", "latex", "results"] = "html"
        """One self-contained page, or the tables as text; results: as Markdown, each under the command that made it."""
        output: Path = Path("report.html")
        """Where the page goes."""

    form = parse(Report, words, verb="report", about="Curves, tables, pictures and environment of one or more runs.")
    from deeplearn.record.reading import find_runs, load_run
    from deeplearn.record.report import page
    from deeplearn.record.results import results
    from deeplearn.record.table import table

    if not form.runs:
        raise UsageError("give at least one run folder, such as runs/latest, or a folder that holds some.")
    runs = [load_run(folder) for folder in find_runs(form.runs)]
    if form.format == "html":
        print(page(runs, form.output))
    elif form.format == "results":
        print(results(runs))
    else:
        # What is to be pasted elsewhere does not depend on the screen it was asked for on.
        print(table(runs, form.format, screen_width() if form.format == "text" else None))
