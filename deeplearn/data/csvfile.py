"""A CSV file as columns of text; what is wrong with its rows is named with the line.

PyArrow reads (a million rows of ten cells in a fifth of a second); where a file is not as it expects, Python's `csv`
reads it again, slowly, and knows the line.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deeplearn.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

ODD_QUOTE = re.compile(rb'"(?<=[^,;|\t\r\n"]")(?=[^,;|\t\r\n"])')
"""A quote amid other letters: blanks stand before the quotes, or they are wrong."""
QUOTED = re.compile(rb'"[^"]*"')
SPREADSHEETS = re.compile(rb'"?sep=[,;|\t]"?\r?(?=\n)', re.IGNORECASE)
"""A first line that says the separator to spreadsheets, and is none of the table."""


@dataclass(frozen=True, kw_only=True)
class CsvFile:
    """The cells of a file, without blanks around them."""

    path: Path
    raw: bytes
    """UTF-8 without a byte-order mark."""
    delimiter: str
    columns: "dict[str, pa.ChunkedArray]"
    """Name -> text of the cells [N]; a column without a name is called by its place."""

    def where(self, row: int) -> str:
        """The place of a row, as errors name it: the line on which it ends, since quoted cells may hold line breaks."""
        lines = (line for line, _ in _rows(self.path, self.raw, self.delimiter))
        return f"{self.path}, line {next(itertools.islice(lines, int(row) + 1, None))}"


def read_header(path: str | Path) -> list[str]:
    """The names of the columns.

    Raises:
        DataError: as `read_file`.
    """
    raw = _utf8(Path(path))
    return _header(Path(path), raw, _delimiter(raw))[1]


def read_file(path: str | Path) -> CsvFile:
    """The cells of a file with a header line; comma, semicolon, tab or bar between them, quotes as in RFC 4180, UTF-8.

    Raises:
        DataError: the file is missing, empty, not UTF-8 or ragged, or two columns have one name.
    """
    path = Path(path)
    raw = _utf8(path)
    delimiter = _delimiter(raw)
    lines, names = _header(path, raw, delimiter)
    columns = _fast(raw, delimiter, lines, names) or _slow(path, raw, delimiter, names)
    if not len(columns[names[0]]):
        raise DataError(f"{path} holds no rows: it needs a header line and at least one row below it")
    return CsvFile(path=path, raw=raw, delimiter=delimiter, columns=columns)


def where(path: str | Path, row: int) -> str:
    """The place of a row of a file that was read before, as errors name it."""
    return read_file(path).where(row)


def _utf8(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        raw.decode()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): give the path of a CSV file") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line} is not UTF-8: save the file as UTF-8") from error
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise DataError(f"{path}, line {line} holds a byte of zero, as UTF-16 does: save the file as UTF-8")
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    return SPREADSHEETS.sub(b"", raw, 1) if SPREADSHEETS.match(raw) else raw  # an empty line, so that lines count right


def _delimiter(raw: bytes) -> str:
    first = QUOTED.sub(b"", raw[: 2**16].lstrip(b"\r\n")).split(b"\n", 1)[0]
    return max(",;\t|", key=lambda sign: first.count(sign.encode()))


def _header(path: Path, raw: bytes, delimiter: str) -> tuple[int, list[str]]:
    """(lines down to its end, names of the columns)."""
    lines, found = next(_rows(path, raw, delimiter), (0, []))
    names = [name.strip() or f"column {place}" for place, name in enumerate(found, 1)]
    if not names:
        raise DataError(f"{path} holds no rows: it needs a header line and at least one row below it")
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{path}, line {lines} has two columns named {min(twice)!r}: give each a name of its own")
    return lines, names


def _rows(path: Path, raw: bytes, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line on which it ends, cells) of each row, the header first; an empty line is no row."""
    text = io.TextIOWrapper(io.BytesIO(raw), "utf-8", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True, skipinitialspace=True)
    width = 0
    try:
        for row in filter(None, reader):
            width = width or len(row)
            if len(row) != width:
                raise DataError(
                    f"{path}, line {reader.line_num} has {len(row)} cells where the header has {width}: "
                    "quote cells that contain the separator"
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; check the quotes there") from error


def _fast(raw: bytes, delimiter: str, header: int, names: list[str]) -> "dict[str, pa.ChunkedArray] | None":
    """The columns below so many lines of header, or None where quotes or rows need a closer look."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv as arrow

    quotes = raw.count(b'"')
    if quotes % 2 or (quotes and ODD_QUOTE.search(raw)):
        return None
    try:
        table = arrow.read_csv(
            pa.BufferReader(raw),
            arrow.ReadOptions(column_names=names, skip_rows=header),
            arrow.ParseOptions(delimiter=delimiter, newlines_in_values=quotes > 0),
            arrow.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        return None
    return {name: pc.utf8_trim_whitespace(table[name]) for name in names}


def _slow(path: Path, raw: bytes, delimiter: str, names: list[str]) -> "dict[str, pa.ChunkedArray]":
    import pyarrow as pa

    rows = [[cell.strip() for cell in row] for _, row in itertools.islice(_rows(path, raw, delimiter), 1, None)]
    cells = zip(*rows, strict=True) if rows else [()] * len(names)
    return {name: pa.chunked_array([pa.array(own, pa.string())]) for name, own in zip(names, cells, strict=True)}
