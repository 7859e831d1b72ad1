"""Rows of predictions: on the screen as a table, or in a file."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplearn.errors import UsageError
from deeplearn.plain import plain
from deeplearn.record.folder import finite


def show(rows: Sequence[Mapping[str, Any]], output: Path | None) -> None:
    """Print rows as a table, or write them by the file's ending.

    Raises:
        UsageError: an ending that is not .csv, .json or .jsonl.
    """
    if output is None:
        print(_table(rows))
        return
    if output.suffix not in (".csv", ".json", ".jsonl"):
        raise UsageError(f"--output {output}: the ending says the format; use .csv, .json or .jsonl.")
    with output.open("w", encoding="utf-8", newline="") as file:
        if output.suffix == ".csv":
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
            writer.writeheader()
            writer.writerows({name: _no_formula(value) for name, value in row.items()} for row in rows)
        elif output.suffix == ".json":
            json.dump(finite(list(rows)), file, indent=1, ensure_ascii=False, allow_nan=False)
        else:
            file.writelines(json.dumps(finite(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    print(f"{len(rows)} rows: {output}")


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    from tabulate import tabulate

    shown = [{plain(name): _shown(value) for name, value in row.items()} for row in rows]
    return tabulate(shown, headers="keys", tablefmt="simple", floatfmt=".4g", maxcolwidths=60)


def _shown(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


def _no_formula(value: Any) -> Any:
    """A text that a spreadsheet would run (=, +, -, @ or a tab in front) after an apostrophe; numbers as they are."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
