"""A table of typed columns (numbers, categories, dates), and the way to it from a user's CSV file.

    table, schema = read_table("rooms.csv", Reading(drop=("booking",)))    # what the columns hold is inferred
    table = read_like("new_rooms.csv", schema)                             # and other files are read the same way

What is wrong is named with its line. No column is dropped without a word: `describe` says what each was taken for.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deeplearn.data import cells
from deeplearn.data.cells import Column, Decimal, Kind
from deeplearn.data.csvfile import CsvFile, read_file
from deeplearn.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

Table = dict[str, np.ndarray]
"""Column name -> values [N]: float64 (number, missing is NaN), str (category, "") or datetime64[D] (date, NaT)."""

MISSING = ("na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "\\n", "none", "?", "-", "--")
EXAMPLE = {"number": "12.5", "date": "2017-08-31"}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Knobs: what to make of the columns of your own table where its cells do not say it."""

    drop: tuple[str, ...] = ()
    """Columns to leave out, such as what is known only afterwards."""
    category: tuple[str, ...] = ()
    """Columns of names although they look like numbers, such as an agent's number."""
    number: tuple[str, ...] = ()
    """Columns of numbers: cells that are none are then mistakes."""
    dates: tuple[str, ...] = ()
    """Dates: COLUMN=%d/%m/%Y for a format, or NEW=YEAR,MONTH,DAY to make one of three columns."""
    missing: tuple[str, ...] = MISSING
    """Words, in any case, that say like an empty cell that nothing is known; not NA where that is Namibia."""
    decimal: Decimal | None = None
    """What 1,234 and 1.234 mean where no other cell of the column tells: the sign that stands before decimals."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """How a table was read; `deeplearn.config` turns it into JSON and back."""

    columns: dict[str, Column] = field(default_factory=dict)
    joined: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Date -> the three columns of year, month and day that it is made of."""
    missing: tuple[str, ...] = MISSING

    def only(self, names: Iterable[str]) -> "Schema":
        """The part that reads these columns."""
        columns = {name: self.columns[name] for name in names if name in self.columns}
        return replace(
            self, columns=columns, joined={name: own for name, own in self.joined.items() if name in columns}
        )


def schema_of(table: Table) -> Schema:
    """For tables that were not read from a user's file."""
    return Schema(columns={name: Column(kind=kind(values)) for name, values in table.items()})


def kind(values: np.ndarray) -> Kind:
    """What a column of a Table holds."""
    return {"f": "number", "M": "date"}.get(values.dtype.kind, "category")


def read_csv(path: str | Path, kinds: Mapping[str, Kind] | None = None, complete: Collection[str] = ()) -> Table:
    """All columns of a CSV file.

    Args:
        path: the file.
        kinds: what some columns must hold; the others are inferred.
        complete: columns in which no cell may be missing.

    Raises:
        DataError: the file is missing, empty, not UTF-8, ragged, or a cell does not hold what its column holds.
    """
    return read_table(path, Reading(), kinds, complete)[0]


def read_table(
    path: str | Path, reading: Reading, kinds: Mapping[str, Kind] | None = None, complete: Collection[str] = ()
) -> tuple[Table, Schema]:
    """(columns of a CSV file without those to drop, how they were read); the arguments are those of `read_csv`.

    Raises:
        DataError: as `read_csv`, or cells may mean two things, or a column that a knob names is not there.
        ConfigError: two knobs contradict each other.
    """
    file = read_file(path)
    asked = _asked(file, reading, kinds or {})
    formats, joined = _dates(file, reading)
    out = {*reading.drop, *(name for parts in joined.values() for name in parts)}
    text = {name: _known(own, reading.missing) for name, own in file.columns.items() if name not in out}
    columns = {}
    for doubt in (file.delimiter == ";", True):  # where a decimal comma is found, a point may be one between thousands
        for name, own in text.items():
            columns[name] = formats.get(name) or _infer(file, name, own, asked.get(name), reading.decimal, doubt)
        if doubt or all(column.decimal == "." for column in columns.values()):
            break
    columns |= {name: Column(kind="date") for name in joined}
    schema = Schema(columns=columns, joined=joined, missing=reading.missing)
    return _typed(file, text, schema, complete), schema


def read_like(path: str | Path, schema: Schema, complete: Collection[str] = ()) -> Table:
    """The columns of a schema from another file; what else the file holds is not looked at.

    Raises:
        DataError: as `read_csv`, or a column is not there.
    """
    file = read_file(path)
    parts = [part for own in schema.joined.values() for part in own]
    require(file.columns, [name for name in schema.columns if name not in schema.joined] + parts, path)
    text = {name: _known(file.columns[name], schema.missing) for name in schema.columns if name not in schema.joined}
    return _typed(file, text, schema, complete)


def require(table: Mapping[str, object], names: Iterable[str], path: str | Path) -> None:
    """Raises DataError, with the most similar name, where a column is not in the table that came from `path`."""
    for name in names:
        if name not in table:
            folded = {other.casefold(): other for other in table}
            near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
            hint = f"did you mean {folded[near[0]]!r}?" if near else f"it has {', '.join(table)}"
            raise DataError(f"{path} has no column {name!r}; {hint}")


def missing(values: np.ndarray) -> np.ndarray:
    """Which cells of a column [N] hold nothing: bool [N]."""
    if kind(values) == "category":
        return values == ""
    return np.isnan(values) if kind(values) == "number" else np.isnat(values)


def take(table: Table, rows: np.ndarray) -> Table:
    """The table's rows at these positions."""
    return {name: values[rows] for name, values in table.items()}


def describe(table: Table, schema: Schema | None = None) -> str:
    """One line for each column: what it was taken for and how it is written, and how much of it is missing."""
    schema, lines = schema or schema_of(table), []
    for name, values in table.items():
        known = values[~missing(values)]
        if kind(values) == "category":
            detail = f"{len(np.unique(known))} values"
        else:
            detail = f"{known.min()} to {known.max()}" if len(known) else "nothing known"
        made = f" of {', '.join(schema.joined[name])}" if name in schema.joined else ""
        gaps = len(values) - len(known)
        lines.append(f"{name}: {schema.columns[name]}{made}, {detail}, {gaps} of {len(values)} missing")
    return "\n".join(lines)


class Coded(NamedTuple):
    """A column of text by its distinct cells."""

    cells: "pa.StringArray"
    """[L] without missing ones."""
    place: np.ndarray
    """int64 [N], -1 where the cell is missing."""

    def of(self, values: np.ndarray, gap: object) -> np.ndarray:
        """The column [N] that has values [L] in place of the distinct cells, and `gap` where one is missing."""
        return np.append(values, np.array([gap], values.dtype))[self.place]


def _coded(text: "pa.ChunkedArray") -> Coded:
    """`text` holds null where a cell is missing."""
    import pyarrow.compute as pc

    found = text.combine_chunks().dictionary_encode()
    return Coded(found.dictionary, pc.fill_null(found.indices, -1).to_numpy(zero_copy_only=False))


def _known(text: "pa.ChunkedArray", words: Iterable[str]) -> "pa.ChunkedArray":
    """The cells of a column, null where one is empty or one of the words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    gone = pc.is_in(pc.utf8_lower(text), pa.array(["", *(word.lower() for word in words)]))
    return pc.if_else(gone, pa.scalar(None, pa.string()), text)


def _asked(file: CsvFile, reading: Reading, kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """What the knobs and the program say of columns."""
    asked: dict[str, Kind] = dict(kinds)
    for name, own in [*((n, "category") for n in reading.category), *((n, "number") for n in reading.number)]:
        if asked.setdefault(name, own) != own or name in reading.drop:
            raise ConfigError(f"the column {name!r} is to be two things at once; name it in one of the knobs of data")
    require(file.columns, [*reading.drop, *reading.category, *reading.number], file.path)
    return asked


def _dates(file: CsvFile, reading: Reading) -> tuple[dict[str, Column], dict[str, tuple[str, ...]]]:
    """(columns whose format is given, dates made of three columns)."""
    formats, joined = {}, {}
    for text in reading.dates:
        name, _, form = text.partition("=")
        parts = tuple(part.strip() for part in form.split(","))
        if "%" in form:
            require(file.columns, [name], file.path)
            formats[name] = Column(kind="date", format=form)
        elif len(parts) == 3 and name not in file.columns:
            require(file.columns, parts, file.path)
            joined[name] = parts
        else:
            raise ConfigError(f"data.dates {text!r} is neither COLUMN=%d/%m/%Y nor NEW=YEAR,MONTH,DAY")
    return formats, joined


def _infer(
    file: CsvFile, name: str, text: "pa.ChunkedArray", asked: Kind | None, decimal: Decimal | None, doubt: bool
) -> Column:
    if asked in (None, "number") and cells.is_plain(text):
        return Column(kind="number")
    own = _coded(text)
    try:
        return cells.infer(
            own.cells, np.bincount(own.place + 1, minlength=len(own.cells) + 1)[1:], asked, decimal, doubt
        )
    except cells.Unclear as error:
        row = int((own.place == error.cell).argmax())
        raise DataError(f"{_cell(file, row, name)} {str(error).replace('NAME', name)}") from error


def _typed(file: CsvFile, text: "Mapping[str, pa.ChunkedArray]", schema: Schema, complete: Collection[str]) -> Table:
    """The columns of the schema; the text of those that are not joined is given."""
    table = {
        name: _join(file, name, schema) if name in schema.joined else _values(file, name, text[name], column)
        for name, column in schema.columns.items()
    }
    for name in complete:
        if name in table and (gone := missing(table[name])).any():
            raise DataError(f"{file.where(gone.argmax())} has no {name!r}: fill it in or remove the line")
    return table


def _values(file: CsvFile, name: str, text: "pa.ChunkedArray", column: Column) -> np.ndarray:
    """The cells of one column as what it holds."""
    if column == Column(kind="number") and (plain := cells.plain_numbers(text)) is not None:
        return plain
    own = _coded(text)
    if column.kind == "category":
        return own.of(np.array(own.cells.to_pylist(), np.dtypes.StringDType()), "")
    number = column.kind == "number"
    values, fits = cells.numbers(own.cells, column) if number else cells.dates(own.cells, column.format)
    if (wrong := ~own.of(fits, True)).any():
        form = EXAMPLE[column.kind] if str(column) == column.kind else str(column)
        place = _cell(file, int(wrong.argmax()), name)
        advice = "correct it, empty it, or name it in --data.missing if it stands for nothing known"
        raise DataError(f"{place} is no {column.kind} such as {form}; {advice}")
    return own.of(values, np.nan if number else "NaT")


def _join(file: CsvFile, name: str, schema: Schema) -> np.ndarray:
    """Dates made of the columns of year, month and day; missing where one of them is."""
    parts = [_known(file.columns[part], schema.missing) for part in schema.joined[name]]
    year, month, day = (_coded(text) for text in parts)
    numbers = [
        own.of(
            cells.months(own.cells.to_pylist()) if own is month else cells.numbers(own.cells, Column(kind="number"))[0],
            0,
        )
        for own in (year, month, day)
    ]
    days, real = cells.calendar(*(np.nan_to_num(values).astype(np.int64) for values in numbers))
    gone = np.any([own.place < 0 for own in (year, month, day)], axis=0)
    if (wrong := ~real & ~gone).any():
        row = int(wrong.argmax())
        said = ", ".join(repr(text[row].as_py()) for text in parts)
        raise DataError(
            f"{file.where(row)}: {said} make no date {name!r} of year, month and day; correct or empty them"
        )
    return np.where(gone, np.datetime64("NaT", "D"), days)


def _cell(file: CsvFile, row: int, name: str) -> str:
    """A cell and its place, as errors name it."""
    return f"{file.where(row)}: {file.columns[name][row].as_py()!r} in column {name!r}"
