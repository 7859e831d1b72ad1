"""What the cells of a column say: numbers and dates in the ways in which people and their programs write them.

`1,234.50`, `1.234,50`, `1 234`, `$12`, `12 %`, `85 m2`, `(12.50)`; `2017-08-31`, `31.8.2017`, `8/31/2017`, `31 Aug 17`.
How a column is written is inferred from all of its cells together: `13/8/2017` says what the 5/8/2017 beside it means.
Where they leave it open, `Unclear` names a cell that is, instead of a guess. Cells are distinct, stripped, not missing.
"""

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from deeplearn.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa  # takes 0.15 s to import, and few runs read a table

Kind = Literal["number", "category", "date"]
Decimal = Literal[".", ","]

ALMOST_ALL = 0.9
"""A column with this share of numbers (or dates) is meant as one; its other cells are mistakes to report."""
LARGEST = 1e30
"""Numbers beyond are mistakes: single precision, in which networks calculate, ends at 3e38."""
FEW = 32
"""Numbers in different units are meant as names, such as `1 room` and `2 rooms`, where so many differ at most."""

BLANK = r"[ \x{a0}\x{202f}]"
"""Between thousands or before a unit: a blank, or one at which lines do not break."""
CURRENCIES = (
    "AED AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF ILS INR JPY KRW MXN NOK NZD PLN RON RUB SAR SEK SGD THB TRY UAH "
    "USD ZAR"
).replace(" ", "|")
PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
"""As programs write numbers."""
CODE = r"^0\d|^[+-]?\d{16,}$"
"""Digits that a number would lose: post codes, telephone numbers, long identifiers."""
OPEN = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"
"""Thousands or decimals: 1.234."""
DRESSED = (
    rf"^(?P<open>\()?{BLANK}*(?P<sign>[-+−]?){BLANK}*(?P<before>[A-Za-z]{{0,3}}\p{{Sc}}|{CURRENCIES}|(?:Rs|Fr|kr)\.?)?{BLANK}*"
    rf"(?P<minus>[-−]?)(?P<body>(?:\d|[.,]\d)(?:[\d.,'’]|{BLANK}\d)*(?:[eE][-+]?\d+)?)(?P<late>[-−]?)"
    rf"{BLANK}*(?P<after>[\p{{L}}%‰°\p{{Sc}}][^\d()]{{0,20}}[23²³]?)?{BLANK}*(?P<close>\))?$"
)
"""A number with its sign, currency or unit; in brackets, or with the sign behind, it is negative, as in bookkeeping."""
NO_CENTS = r"(\d)[.,][-–—]{1,2}"
"""12,- and 12.--"""
COMPACT = r"^(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$"
"""A day such as 20170831, where all cells of a column are."""

FORMATS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y-%b-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d %b %Y", "%d-%b-%Y", "%d. %b %Y", "%b %d, %Y", "%b %d %Y"),
)
SHORT = tuple(form.replace("%Y", "%y") for form in FORMATS)
"""Years of two digits are read where the user names the format: 01/02/03 may be six days."""
FIELDS = {"Y": r"\d{4}", "y": r"\d{2}", "m": r"\d{1,2}", "d": r"\d{1,2}", "b": r"[A-Za-z]{3,9}\.?"}
TIME = r"(?:[T ]+\d{1,2}:\d{2}.*)?"
"""What may follow a date, and is not looked at."""
MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905


@dataclass(frozen=True, kw_only=True)
class Column:
    """How the cells of one column are written; `deeplearn.config` turns it into JSON and back."""

    kind: Kind
    decimal: Decimal = "."
    """Before the decimals of its numbers; the other sign may stand between thousands."""
    unit: str = ""
    """Currency, percent or unit that each of its numbers carries."""
    format: str = "%Y-%m-%d"
    """Of its dates, in the manner of strptime."""
    why: str = ""
    """What made a category of it although its cells have digits."""

    def __str__(self) -> str:
        if self.kind == "number":
            said = ["decimal comma"] * (self.decimal == ",") + [f"in {self.unit}"] * bool(self.unit)
        else:
            said = [self.format] * (self.kind == "date" and self.format != "%Y-%m-%d") + [self.why] * bool(self.why)
        return self.kind + (f" ({', '.join(said)})" if said else "")


class Unclear(Exception):
    """A cell may mean two things; the message says what, and what to do, of the column NAME."""

    def __init__(self, cell: int, message: str):
        super().__init__(message)
        self.cell = cell
        """Its position among the distinct ones."""


def numbers(cells: "pa.StringArray", column: Column) -> tuple[Float[np.ndarray, "L"], Bool[np.ndarray, "L"]]:
    """(values, which cells are numbers written as the column says)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    dress = _Dress(cells)
    thousands = "," if column.decimal == "." else "."
    body = pc.replace_substring_regex(dress.body, rf"[{thousands}'’]|{BLANK}", "")
    fits = dress.of(column.decimal) & (dress.unit == column.unit)
    known = pc.if_else(pa.array(fits), pc.replace_substring(body, ",", "."), None)
    values = pc.cast(known, pa.float64()).to_numpy(zero_copy_only=False)
    fits &= ~(abs(values) > LARGEST)
    return np.where(dress.negative, -values, values), fits


def dates(cells: "pa.StringArray", form: str) -> tuple[np.ndarray, Bool[np.ndarray, "L"]]:
    """(days M8[D] [L], which cells are dates of that form)."""
    import pyarrow.compute as pc

    found = pc.extract_regex(cells, pattern=_pattern(form))
    fits = pc.is_valid(found).to_numpy(zero_copy_only=False)
    parts = {name: found.field(i).to_pylist() for i, name in enumerate(field.name for field in found.type)}
    count = lambda name: np.array([int(text) if text else 0 for text in parts[name]], np.int64)  # noqa: E731
    year = count("Y") if "Y" in parts else (count("y") - 69) % 100 + 1969  # as POSIX has it: 1969 to 2068
    month = count("m") if "m" in parts else months(parts["b"])
    days, real = calendar(year, month, count("d"))
    return days, fits & real


def calendar(
    year: Int[np.ndarray, "N"], month: Int[np.ndarray, "N"], day: Int[np.ndarray, "N"]
) -> tuple[np.ndarray, Bool[np.ndarray, "N"]]:
    """(days M8[D] [N], which of them exist: there is no 30th of February)."""
    first = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    days = first.astype("M8[D]") + (day - 1).astype("m8[D]")
    real = (month >= 1) & (month <= 12) & (day >= 1) & (days.astype("M8[M]") == first) & (year > 0)
    return np.where(real, days, np.datetime64("NaT", "D")), real


def months(names: list[str | None]) -> Int[np.ndarray, "N"]:
    """Numbers of the months of these English names, short or long, or numbers themselves; 0 where it is none."""
    known = {form: n for n, name in enumerate(MONTHS, 1) for form in (name, name[:3])} | {"sept": 9}
    known |= {form: n for n in range(1, 13) for form in (str(n), f"{n:02}")}
    return np.array([known.get((name or "").casefold().rstrip("."), 0) for name in names], np.int64)


def infer(
    cells: "pa.StringArray",
    count: Int[np.ndarray, "L"],
    kind: Kind | None = None,
    decimal: Decimal | None = None,
    doubt: bool = False,
) -> Column:
    """How these cells, which stand in a column `count` times each, are written.

    Args:
        kind: what they must be, in place of what most of them are.
        decimal: what `1,234` and `1.234` mean where no other cell of the column tells.
        doubt: whether the file gives reason to take the point of `1.234` for one between thousands.

    Raises:
        Unclear: two readings are possible, or cells are written in more than one way.
    """
    if kind == "category" or not len(cells):
        return Column(kind=kind or "number")
    plain, code = _matching(cells, PLAIN), _matching(cells, CODE)
    if kind is None and code.any() and _share(plain, count) >= ALMOST_ALL:
        return Column(kind="category", why=f"digits of {cells[int(code.argmax())]} would be lost in a number")
    if kind != "number" and is_compact(cells):
        return Column(kind="date", format="%Y%m%d")
    number = None if kind == "date" else _number(cells, count, kind == "number", decimal, doubt)
    date = None if kind == "number" or number else _date(cells, count, kind == "date")
    return number or date or Column(kind=kind or "category")


def is_plain(cells: "pa.ChunkedArray") -> bool:
    """Whether all cells, which may repeat or be null, are numbers as programs write them, and cannot be anything else.

    What `infer` finds out, too, but much faster where a million differ.
    """
    import pyarrow.compute as pc

    if plain_numbers(cells) is None or pc.any(pc.match_substring_regex(cells, CODE)).as_py() or is_compact(cells):
        return False
    for part in (cells.slice(0, 1000), cells):  # the first thousand tell nearly always
        point = pc.match_substring(part, ".")
        if pc.any(pc.and_not(point, pc.match_substring_regex(part, OPEN))).as_py():
            return True
    return not pc.any(point).as_py()


def is_compact(cells: "pa.ChunkedArray | pa.StringArray") -> bool:
    """Whether all cells that are not null are days such as 20170831."""
    import pyarrow.compute as pc

    return all(pc.all(pc.match_substring_regex(part, COMPACT)).as_py() for part in (cells.slice(0, 1000), cells))


def plain_numbers(cells: "pa.ChunkedArray") -> Float[np.ndarray, "N"] | None:
    """The values of numbers as programs write them, NaN where a cell is null; None where one is something else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        values = pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:
        return None
    few = pc.all(pc.less_equal(pc.abs(values), LARGEST)).as_py() is not False  # it may also say inf or nan
    return values.to_numpy() if few else None


def numeric_share(cells: "pa.StringArray", count: Int[np.ndarray, "L"]) -> float:
    """The share of the cells that are numbers of any form."""
    dress = _Dress(cells)
    return _share(dress.point | dress.comma, count)


class _Dress:
    """Numbers taken out of what they are dressed in."""

    def __init__(self, cells: "pa.StringArray"):
        import pyarrow.compute as pc

        found = pc.extract_regex(pc.replace_substring_regex(cells, NO_CENTS, r"\1"), pattern=DRESSED)
        part = {field.name: pc.fill_null(pc.struct_field(found, i), "") for i, field in enumerate(found.type)}
        has = {name: pc.not_equal(text, "").to_numpy(zero_copy_only=False) for name, text in part.items()}
        sign = pc.binary_join_element_wise(part["sign"], part["minus"], part["late"], "")
        whole = (has["open"] == has["close"]) & ~(has["open"] & (has["sign"] | has["minus"]))
        whole &= ~(has["before"] & has["after"])
        whole &= sum(has[name].astype(int) for name in ("sign", "minus", "late")) < 2
        self.negative = has["open"] | pc.match_substring_regex(sign, "[-−]").to_numpy(zero_copy_only=False)
        unit = pc.utf8_lower(pc.binary_join_element_wise(part["before"], part["after"], "")).dictionary_encode()
        units = np.array(unit.dictionary.to_pylist() or [""], np.dtypes.StringDType())
        self.unit = np.strings.strip(units)[unit.indices.to_numpy()]
        self.body = part["body"]
        self.point, self.comma = (whole & self.matches(_grouped(decimal)) for decimal in (".", ","))
        self.open = self.point & self.comma & self.matches("[.,]")
        """Thousands or decimals: 1,234."""

    def of(self, decimal: Decimal) -> Bool[np.ndarray, "L"]:
        """Which cells are numbers if this is the sign before decimals."""
        return self.point if decimal == "." else self.comma

    def matches(self, pattern: str) -> Bool[np.ndarray, "L"]:
        return _matching(self.body, pattern)


@functools.cache
def _grouped(decimal: Decimal) -> str:
    """A number with this sign before its decimals, and perhaps the other, blanks or strokes between thousands."""
    thousands = "," if decimal == "." else r"\."
    groups = "|".join(rf"(?:{sign}\d{{3}})+" for sign in (thousands, BLANK, "['’]"))
    point = re.escape(decimal)
    return rf"^(?:\d+|[1-9]\d{{0,2}}(?:{groups}))(?:{point}\d*)?(?:[eE][-+]?\d+)?$|^{point}\d+(?:[eE][-+]?\d+)?$"


def _number(
    cells: "pa.StringArray", count: Int[np.ndarray, "L"], asked: bool, decimal: Decimal | None, doubt: bool
) -> Column | None:
    """The form of numbers, or None where the cells are something else."""
    dress = _Dress(cells)
    number = dress.point | dress.comma
    if not number.any() or not (asked or _share(number, count) >= ALMOST_ALL):
        return None
    units, unit = np.unique(dress.unit[number], return_inverse=True)
    weights = np.bincount(unit, count[number])
    most = units[weights.argmax()]
    if not asked and weights.max() < ALMOST_ALL * weights.sum():
        if len(cells) <= FEW:
            return Column(kind="category", why="numbers in different units")
        odd = int((number & (dress.unit != most)).argmax())
        unit = f"in {most}" if most else "a plain number"
        raise Unclear(odd, f"is not {unit} as most others are; write all alike, or give --data.category NAME")
    return Column(kind="number", decimal=_decimal(dress, number, count, decimal, doubt), unit=str(most))


def _decimal(
    dress: _Dress, number: Bool[np.ndarray, "L"], count: Int[np.ndarray, "L"], given: Decimal | None, doubt: bool
) -> Decimal:
    """The sign before decimals: what most cells with a clear one have."""
    point, comma = (float(count[only].sum()) for only in (dress.point & ~dress.comma, dress.comma & ~dress.point))
    if point or comma:
        return "." if point >= comma else ","
    if not dress.open.any():
        return "."
    commas = dress.matches(",").any()
    # Programs write three decimals everywhere, or none that is a zero at the end: both broken, it is thousands.
    if (number & ~dress.open).any() and (dress.open & dress.matches("0$")).any():
        return "." if commas else ","
    if given is None and (commas or doubt or (dress.unit != "").any()):
        raise Unclear(int(dress.open.argmax()), "has decimals or thousands; say which sign is the --data.decimal")
    return given or "."


def _date(cells: "pa.StringArray", count: Int[np.ndarray, "L"], asked: bool) -> Column | None:
    """The form of dates, or None where the cells are something else."""
    found = [dates(cells, form) for form in FORMATS]
    shares = [_share(fits, count) for _, fits in found]
    best = int(np.argmax(shares))
    (days, fits), form = found[best], FORMATS[best]
    advice = "give the format, such as --data.dates NAME=%d/%m/%Y, or %y for years of two digits"
    if shares[best] < ALMOST_ALL and not (asked and fits.any()):
        any_ = np.any([fits for _, fits in found] + [dates(cells, form)[1] for form in SHORT], axis=0)
        if _share(any_, count) < ALMOST_ALL:
            return None
        raise Unclear(int((any_ & ~fits).argmax()), f"is a date of another form, or of several; {advice}")
    for other, (others, _) in enumerate(found):
        if shares[other] == shares[best] and (differ := fits & (days != others)).any():
            raise Unclear(int(differ.argmax()), f"is {form} or {FORMATS[other]}; {advice}")
    return Column(kind="date", format=form)


def _pattern(form: str) -> str:
    """A regular expression of a date's form, with a named group for each of its fields."""
    parts = re.split(r"%([A-Za-z])", form)
    fields = parts[1::2]
    if sorted(field.replace("y", "Y").replace("B", "b").replace("b", "m") for field in fields) != ["Y", "d", "m"]:
        raise ConfigError(
            f"a date's format needs a year (%Y or %y), a month (%m or %b) and a day (%d); {form!r} has not"
        )
    names = [field.replace("B", "b") for field in fields]
    return (
        "^"
        + "".join(
            re.escape(text) + (f"(?P<{name}>{FIELDS[name]})" if name else "")
            for text, name in zip(parts[::2], [*names, ""], strict=True)
        )
        + TIME
        + "$"
    )


def _matching(cells: "pa.StringArray", pattern: str) -> Bool[np.ndarray, "L"]:
    import pyarrow.compute as pc

    return pc.match_substring_regex(cells, pattern).to_numpy(zero_copy_only=False)


def _share(which: Bool[np.ndarray, "L"], count: Int[np.ndarray, "L"]) -> float:
    return float(count[which].sum() / count.sum())
