"""The results as a page of documentation: each table under the commands that made it, over what its makers note."""

from collections.abc import Sequence

from deeplearn.errors import UsageError
from deeplearn.record.environment import facts
from deeplearn.record.reading import Record
from deeplearn.record.table import by_experiment, table

ABOUT = """\
Made by `deeplearn report RUN... --format results`. Mean ± standard deviation over the seeds [95 % interval of the
mean, Student's]; a value without them is of one seed. Competitors, which have no seeds and parameters, were measured
on the same split; the best value of each metric is bold."""

WIDTH = 130
"""Characters of a table's line, all of which a page of documentation shows without scrolling."""


def results(runs: Sequence[Record]) -> str:
    """Markdown with a section an experiment and data set. Raises UsageError where no run is finished."""
    finished = [run for run in runs if run.result is not None]
    if not finished:
        raise UsageError("none of these runs is finished, so there is no result; go on with one: deeplearn resume RUN.")
    parts = ["# Results", ABOUT]
    for title, group in by_experiment(finished).items():
        commands = dict.fromkeys(run.command for run in group if run.command)
        notes = [run.notes.replace("<", "&lt;") for run in group]  # Markdown would let tags through.
        parts += [
            f"## {title}",
            "\n".join(f"    {command}" for command in commands),
            table(group, width=WIDTH),
            *notes,
            _machines(group),
        ]
    return "\n\n".join(part for part in parts if part)


def _machines(runs: Sequence[Record]) -> str:
    """Where the runs were made, a sentence each kind of machine."""
    known = [dict(facts(run.environment)) for run in runs]
    for own in known:
        commit, _, changed = own.get("commit", "").partition(" ")
        own["commit"] = commit[:12] + (" with local changes" if changed else "")  # told by its first letters
    shown = ("devices", "processor", "commit")
    lines = dict.fromkeys("; ".join(own[name] for name in shown if own.get(name)) for own in known)
    return "\n".join(f"{line}." for line in lines if line)
