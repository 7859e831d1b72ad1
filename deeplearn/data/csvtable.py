"""A CSV file as typed columns: numbers, categories, dates; what is wrong is named with its line."""

import csv
import difflib
import io
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np

from deeplearn.errors import DataError

Kind = Literal["number", "category", "date"]
Table = dict[str, np.ndarray]
"""Column name -> values [N]: float64 (number, missing is NaN), str (category, "") or datetime64[D] (date, NaT)."""

MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}
"""Cells, in lower case, that say that nothing is known."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
LARGEST = 1e30
"""Numbers beyond are mistakes: single precision, in which networks calculate, ends at 3e38."""
DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].*)?")
ALMOST_ALL = 0.9
"""A column with this share of numbers (or dates) is meant as one; its other cells are mistakes to report."""


def kind(values: np.ndarray) -> Kind:
    """What a column of a Table holds."""
    return {"f": "number", "M": "date"}.get(values.dtype.kind, "category")


def read_csv(path: str | Path, kinds: Mapping[str, Kind] | None = None, complete: Collection[str] = ()) -> Table:
    """Columns of a CSV file with a header line; comma, semicolon or tab between cells, quotes as in RFC 4180, UTF-8.

    Args:
        path: the file.
        kinds: what some columns must hold (as a trained model expects them); the others are inferred.
        complete: columns in which no cell may be missing.

    Raises:
        DataError: the file is missing, empty, not UTF-8, ragged, or a cell does not hold what its column holds.
    """
    path = Path(path)
    header, rows, lines = _cells(path)
    kinds = dict(kinds or {})
    columns = [np.array(cells) for cells in zip(*rows, strict=True)]
    for name, cells in zip(header, columns, strict=True):
        if name in complete and (empty := _is_missing(cells)).any():
            raise DataError(f"{path}, line {lines[empty.argmax()]} has no {name!r}: fill it in or remove the line")
    return {
        name: _column(cells, kinds.get(name) or _infer(cells), f"{path}", name, lines)
        for name, cells in zip(header, columns, strict=True)
    }


def require(table: Table, names: Iterable[str], path: str | Path) -> None:
    """Raises DataError, with the most similar name, where a column is not in the table that came from `path`."""
    for name in names:
        if name not in table:
            near = difflib.get_close_matches(name, table, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(table)}"
            raise DataError(f"{path} has no column {name!r}; {hint}")


def describe(table: Table) -> str:
    """One line for each column: what it was taken for, and how much of it is missing."""
    lines = []
    for name, values in table.items():
        what, known = kind(values), values[~missing(values)]
        if what == "category":
            detail = f"{len(set(known.tolist()))} values"
        else:
            detail = f"{known.min()} to {known.max()}" if len(known) else "nothing known"
        lines.append(f"{name}: {what}, {detail}, {len(values) - len(known)} of {len(values)} missing")
    return "\n".join(lines)


def missing(values: np.ndarray) -> np.ndarray:
    """Which cells of a column [N] hold nothing: bool [N]."""
    return (
        values == ""
        if kind(values) == "category"
        else np.isnan(values)
        if kind(values) == "number"
        else np.isnat(values)
    )


def take(table: Table, rows: np.ndarray) -> Table:
    """The table's rows at these positions."""
    return {name: values[rows] for name, values in table.items()}


def _cells(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """(header, rows of stripped cells, the file's line on which each row ends)."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): give the path of a CSV file") from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line} is not UTF-8: save the file as UTF-8") from error
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    rows, lines = [], []
    try:
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num} has {len(row)} cells where the header has {len(header)}: "
                    "quote cells that contain the separator"
                )
            if row:  # an empty line is no row
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; check the quotes there") from error
    if not rows:
        raise DataError(f"{path} holds no rows: it needs a header line and at least one row below it")
    if "" in header or len(set(header)) < len(header):
        raise DataError(f"{path}, line 1 has an empty or repeated column name: give each column a name of its own")
    return header, rows, lines


def _is_missing(cells: np.ndarray) -> np.ndarray:
    return np.array([cell.lower() in MISSING for cell in cells.tolist()], bool)


def _is_number(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell)) and abs(float(cell)) <= LARGEST


def _is_date(cell: str) -> bool:
    if not DATE.fullmatch(cell):
        return False
    try:
        date.fromisoformat(cell[:10])
    except ValueError:
        return False
    return True


def _fits(cells: np.ndarray, kind: Kind) -> np.ndarray:
    """Which cells are of that kind: bool [N]."""
    test = {"number": _is_number, "date": _is_date, "category": lambda _: True}[kind]
    return np.array([test(cell) for cell in cells.tolist()], bool)


def _infer(cells: np.ndarray) -> Kind:
    known = cells[~_is_missing(cells)]
    if not len(known):
        return "number"
    shares: dict[Kind, float] = {"number": _fits(known, "number").mean(), "date": _fits(known, "date").mean()}
    best = max(shares, key=lambda kind: shares[kind])
    return best if shares[best] >= ALMOST_ALL else "category"


def _column(cells: np.ndarray, kind: Kind, path: str, name: str, lines: list[int]) -> np.ndarray:
    empty = _is_missing(cells)
    wrong = ~empty & ~_fits(cells, kind)
    if wrong.any():
        row = int(wrong.argmax())
        form = {"number": "number such as 12.5", "date": "date such as 2017-08-31"}[kind]
        raise DataError(
            f"{path}, line {lines[row]}: {str(cells[row])!r} in column {name!r} is no {form}; correct it or empty it"
        )
    if kind == "number":
        return np.where(empty, "nan", cells).astype(np.float64)
    if kind == "date":
        return np.array(
            ["NaT" if gone else cell[:10] for cell, gone in zip(cells.tolist(), empty, strict=True)], "M8[D]"
        )
    return np.where(empty, "", cells)
