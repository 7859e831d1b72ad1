"""Rows of predictions: on the screen as a table, or in a file."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplearn.errors import UsageError


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
            writer.writerows(rows)
        elif output.suffix == ".json":
            json.dump(list(rows), file, indent=1, ensure_ascii=False)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(f"{len(rows)} rows: {output}")


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    from tabulate import tabulate

    return tabulate([dict(row) for row in rows], headers="keys", tablefmt="simple", floatfmt=".4g", maxcolwidths=60)
