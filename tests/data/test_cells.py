"""What cells say: read right in the ways in which people write, and never guessed."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplearn.data.cells import FORMATS, Column, Unclear, calendar, dates, infer, is_plain, months, numbers
from deeplearn.errors import ConfigError


def counted(cells):
    distinct = list(dict.fromkeys(cells))
    return pa.array(distinct, pa.string()), np.array([cells.count(cell) for cell in distinct])


def read(cells, **knobs):
    """(how they are written, their values)."""
    distinct, count = counted(cells)
    column = infer(distinct, count, **knobs)
    if column.kind == "category":
        return column, cells
    values, fits = numbers(distinct, column) if column.kind == "number" else dates(distinct, column.format)
    assert fits.all()
    return column, values[[distinct.to_pylist().index(cell) for cell in cells]].tolist()


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["112.1", "1e3", "-.5", "+4", "5."], [112.1, 1000, -0.5, 4, 5]),
        (["112,1", "0,125", "45"], [112.1, 0.125, 45]),
        (["1,234.50", "12"], [1234.5, 12]),
        (["1.234,50", "1.234", "12"], [1234.5, 1234, 12]),
        (["1 234,5", "12\xa0345", "1\u202f234"], [1234.5, 12345, 1234]),
        (["1'234.50", "2’000"], [1234.5, 2000]),
        (["1,234,567", "1,234"], [1234567, 1234]),
        (["950", "1,200", "12,500"], [950, 1200, 12500]),  # no program writes 1.200 beside 950
        (["950", "1.200", "12.500"], [950, 1200, 12500]),
        (["$1,234.50", "-$12", "$-3"], [1234.5, -12, -3]),
        (["12,50 €", "1.200,00 €"], [12.5, 1200]),
        (["12,50\xa0€", "1.200,00\u202f€"], [12.5, 1200]),  # as spreadsheets write it
        (["12,-", "5.--", "7,50"], [12, 5, 7.5]),
        (["12.50-", "3"], [-12.5, 3]),
        (["Rs. 12", "Rs. 1,200.50"], [12, 1200.5]),
        (["EUR12", "EUR 13.5"], [12, 13.5]),
        (["EUR 12", "EUR 13.5"], [12, 13.5]),
        (["12%", "5 %"], [12, 5]),
        (["85 m2", "12.5 m2"], [85, 12.5]),
        (["(12.50)", "3"], [-12.5, 3]),
        (["−3", "4"], [-3, 4]),
    ],
)
def test_numbers_as_people_write_them(cells, values):
    column, found = read(cells)
    assert column.kind == "number" and found == values


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(-(10**9), 10**9).map(lambda n: n / 100), min_size=5, max_size=30),
    ways=st.sampled_from([(",", "."), (".", ","), (" ", ","), ("'", ".")]),
    dress=st.sampled_from(["{}", "{} €", "${}", "{}%", "{} kg"]),
)
def test_numbers_written_by_a_machine_come_back(values, ways, dress):
    written = [
        dress.format(f"{value:,.2f}".replace(",", "T").replace(".", ways[1]).replace("T", ways[0])) for value in values
    ]
    assert read(written)[1] == values


@settings(max_examples=60, deadline=None)
@given(
    days=st.lists(st.dates(date(1970, 1, 1), date(2068, 12, 31)), min_size=1, max_size=20),
    form=st.sampled_from(FORMATS),
    short=st.booleans(),
)
def test_dates_written_by_the_standard_library_come_back(days, form, short):
    form = form.replace("%Y", "%y") if short else form
    found, fits = dates(pa.array([day.strftime(form) for day in days]), form)
    assert fits.all() and found.tolist() == days
    if not short:
        last = [date(2024, 1, 31), date(2024, 12, 13)]  # which are dates one way only
        assert read([day.strftime(form) for day in days + last])[1] == days + last


@pytest.mark.parametrize(
    ("cells", "day"),
    [
        (["7/1/2015", "13/1/2015"], "2015-01-07"),
        (["7/1/2015", "1/13/2015"], "2015-07-01"),
        (["1.3.2024"], "2024-03-01"),
        (["2024-3-1 12:30"], "2024-03-01"),
        (["2024-03-01T00:00:00Z"], "2024-03-01"),
        (["1 March 2024", "2 Sept. 2024"], "2024-03-01"),
        (["5/5/2024"], "2024-05-05"),
        (["20240301", "20241231"], "2024-03-01"),
    ],
)
def test_dates_as_people_write_them(cells, day):
    column, found = read(cells)
    assert column.kind == "date" and str(found[0]) == day


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1,234", "2,567"], "decimals or thousands.*--data.decimal"),
        (["$1.234", "$2.567"], "decimals or thousands"),
        ([f"{i} EUR" for i in range(50)] + [f"{i} USD" for i in range(40)], "is not in eur as most others are"),
        (["7/1/2015", "3/2/2015"], "is %d/%m/%Y or %m/%d/%Y; give the format, such as --data.dates NAME="),
        (["13/1/2015", "1/31/2015"], "is a date of another form"),
        (["01/02/24", "03/04/24"], "--data.dates"),
    ],
)
def test_what_may_mean_two_things_is_not_guessed(cells, message):
    with pytest.raises(Unclear, match=message):
        read(cells)


@pytest.mark.parametrize("decimal", [".", ","])
def test_a_knob_says_what_the_cells_leave_open(decimal):
    for cell in ("1,234", "1.234"):
        assert read([cell], decimal=decimal, doubt=True)[1] == [1.234 if cell[1] == decimal else 1234]


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["00123", "45678"], "would be lost"),
        (["1234567890123456"], "would be lost"),
        (["1 room", "2 rooms", "3 rooms"], "different units"),
        (["C10000", "C10001"], ""),
        (["12-14", "10:30"], ""),
        (["1", "2", "on request"], ""),
    ],
)
def test_what_is_no_number_stays_text(cells, why):
    column, _ = read(cells)
    assert column.kind == "category" and why in column.why and not is_plain(pa.chunked_array([cells]))


def test_all_but_a_few_cells_decide_and_the_few_do_not_fit():
    cells, count = counted([str(i) for i in range(20)] + ["on request"])
    column = infer(cells, count)
    assert column == Column(kind="number") and numbers(cells, column)[1].tolist() == [True] * 20 + [False]
    cells, count = counted(["12.5"] * 20 + ["1,5"])
    assert numbers(cells, infer(cells, count))[1].tolist() == [True, False]


def test_plain_numbers_are_plain():
    assert is_plain(pa.chunked_array([["1", None, "2.5"], ["-1e3"]]))
    assert is_plain(pa.chunked_array([["1.234", "2.567"]])) is False  # open
    assert is_plain(pa.chunked_array([["20240301", None]])) is False  # a day
    assert is_plain(pa.chunked_array([["20240301", "20249901"]]))
    for odd in ("inf", "nan", "1e400", "0x10", "007"):
        assert not is_plain(pa.chunked_array([["1", odd]]))


def test_calendar_and_months_equal_the_standard_library():
    days = [date(1999, 12, 27) + timedelta(days=n) for n in range(0, 3000, 7)]
    found, real = calendar(*(np.array([getattr(day, part) for day in days]) for part in ("year", "month", "day")))
    assert real.all() and found.tolist() == days
    assert not calendar(np.array([2023, 2024, 2024]), np.array([2, 13, 4]), np.array([29, 1, 31]))[1].any()
    assert months(["January", "feb.", "Sept", "12", "05", "Brumaire", None]).tolist() == [1, 2, 9, 12, 5, 0, 0]


def test_a_format_without_a_day_is_refused():
    with pytest.raises(ConfigError, match=r"'%m/%Y' has not"):
        dates(pa.array(["1/2024"]), "%m/%Y")
