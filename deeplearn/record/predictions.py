"""Rows of predictions, one column a fact: on the screen as a table, in a file or a pipe with all digits."""

import csv
import io
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from deeplearn.errors import UsageError
from deeplearn.plain import finite, plain

Format = Literal["table", "csv", "json", "jsonl"]
ROWS = (".csv", ".json", ".jsonl")
"""Endings of files of rows."""
WIDEST = 60
"""Characters of a line in a cell of a table."""


def format_of(output: str | Path | None, asked: Format | None = None) -> Format:
    """What was asked for, else by the file's ending; csv for a pipe ("-"), a table for the screen.

    Raises:
        UsageError: an ending that says no format.
    """
    if asked is not None or output in (None, "-"):
        return asked or ("table" if output is None else "csv")
    if (ending := Path(output).suffix) in ROWS:
        return ending.removeprefix(".")
    raise UsageError(f"--output {output}: the ending says no format; use .csv, .json or .jsonl, or give --format.")


def columns_of(rows: Sequence[Mapping[str, Any]], *, every: bool = False) -> list[dict[str, Any]]:
    """The rows with the columns of all of them, None where one has no such fact.

    A value that is a mapping, such as the probability of each class, is left out, or with `every` made columns.
    """
    flat = []
    for row in rows:
        inner = [value for value in row.values() if isinstance(value, Mapping)] if every else []
        own = {name: value for name, value in row.items() if not isinstance(value, Mapping)}
        # What the row says itself is not hidden by a class of the same name.
        flat.append(own | {name if name not in own else f"{name}'": v for part in inner for name, v in part.items()})
    names = dict.fromkeys(name for row in flat for name in row)
    return [{name: row.get(name) for name in names} for row in flat]


def show(rows: Sequence[Mapping[str, Any]], output: str | Path | None, form: Format | None = None) -> None:
    """Write rows of equal columns to a file, to standard output ("-"), or print them; `format_of` says how.

    Raises:
        UsageError: an ending that says no format.
    """
    text = _text(finite(list(rows)), format_of(output, form))  # what is no number is unknown in every format
    if output is None:
        print(text, end="" if text.endswith("\n") else "\n")
    elif output == "-":
        sys.stdout.buffer.write(text.encode())  # whatever the terminal's encoding is
        sys.stdout.buffer.flush()
    else:
        Path(output).write_bytes(text.encode())
        print(f"{len(rows)} rows: {output}")


def _text(rows: Sequence[Mapping[str, Any]], form: Format) -> str:
    if form == "table":
        return _table(rows) + "\n"
    if form == "json":
        return json.dumps(list(rows), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writerow({name: _no_formula(name) for name in writer.fieldnames})
    writer.writerows({name: _no_formula(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    from tabulate import tabulate

    names = list(rows[0]) if rows else []
    cells = [[_shown(row[name]) for name in names] for row in rows]
    numbers = [all(isinstance(row[name], int | float | None) for row in rows) for name in names]
    # Text is shown as it is: tabulate would take an id such as 12e5 for a number.
    return tabulate(
        cells,
        [plain(name) for name in names],
        tablefmt="simple",
        disable_numparse=True,
        colalign=["right" if number else "left" for number in numbers] if rows else None,
    )


def _shown(value: Any) -> str:
    """A value in a table: four digits of a fraction, all of a whole number, and text in lines that fit."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}" if abs(value) < 1e15 else f"{value:.3e}"
    text = plain(value)
    return "\n".join(textwrap.wrap(text, WIDEST)) if len(text) > WIDEST else text


def _no_formula(value: Any) -> Any:
    """A text that a spreadsheet would run (=, +, -, @ or a tab in front) after an apostrophe; numbers as they are."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
