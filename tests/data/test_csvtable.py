"""Reading CSV files: what is understood, and what is refused with the line."""

import numpy as np
import pytest

from deeplearn.config import from_json, to_json
from deeplearn.data.csvfile import read_file, read_header
from deeplearn.data.csvtable import (
    Reading,
    Schema,
    describe,
    kind,
    missing,
    read_csv,
    read_like,
    read_table,
    require,
    take,
)
from deeplearn.errors import ConfigError, DataError

ROOMS = '''hotel,room,arrival,nights,price
"Adler, Old Town",single,2024-03-01,2,80.5
Meridian,"suite ""Royal""",2024-03-02,,210
Meridian,NA,,1,1.2e2
'''


def write(tmp_path, text, name="rooms.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_kinds_are_inferred_and_quotes_and_gaps_understood(tmp_path):
    table = read_csv(write(tmp_path, ROOMS))
    assert [kind(column) for column in table.values()] == ["category", "category", "date", "number", "number"]
    assert table["hotel"][0] == "Adler, Old Town"
    assert table["room"].tolist() == ["single", 'suite "Royal"', ""]
    assert table["price"].tolist() == [80.5, 210, 120]
    assert {name: int(missing(column).sum()) for name, column in table.items()} == dict(
        hotel=0, room=1, arrival=1, nights=1, price=0
    )
    assert take(table, np.array([2, 0]))["price"].tolist() == [120, 80.5]
    assert "nights: number, 1.0 to 2.0, 1 of 3 missing" in describe(table)


@pytest.mark.parametrize("text", [ROOMS.replace(",", ";"), "\ufeff" + ROOMS, ROOMS.replace("\n", "\r\n"), ROOMS + "\n"])
def test_dialects(tmp_path, text):
    assert read_csv(write(tmp_path, text))["price"].tolist() == [80.5, 210, 120]


NUMBERS = "area,price\n" + "".join(f"{i},{i}\n" for i in range(20))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rows"),
        ("hotel,price\n", "holds no rows"),
        ("hotel,price\nAdler,1\nAdler\n", "line 3 has 1 cells where the header has 2"),
        (NUMBERS + "21,on request\n", "line 22: 'on request' in column 'price' is no number"),
        ("name,day\n" + "a,2024-01-01\n" * 20 + "b,2024-02-30\n", "line 22: '2024-02-30' in column 'day' is no date"),
        ('a,b\n1,"x\ny"\n1\n', "line 4"),  # a quoted line break counts as a line
        ('a,b\n"x\u2028y",1\n1\n', "line 3"),  # other separators of Unicode do not
        ('a,b\n1,"x\n', "check the quotes"),
        (b"a,b\n1,\xe9\n", "line 2 is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "line 1 is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "line 1 holds a byte of zero"),
        ("a,b\n" + "1,2\n" * 20 + "1,#REF!\n", "line 22: '#REF!' in column 'b' is no number.*--data.missing"),
        ("a,a\n1,2\n", "line 1 has two columns named"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        read_csv(write(tmp_path, text))
    assert "rooms.csv" in str(error.value)


def test_a_missing_file_and_a_wrong_column_name(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv cannot be read"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no column 'prise'; did you mean 'price'"):
        require(read_csv(write(tmp_path, ROOMS)), ["prise"], "rooms.csv")


def test_given_kinds_win(tmp_path):
    path = write(tmp_path, NUMBERS)
    assert kind(read_csv(path, {"area": "category"})["area"]) == "category"
    with pytest.raises(DataError, match="line 2: '0' in column 'area' is no date"):
        read_csv(path, {"area": "date"})


def test_a_wrong_name_in_capitals_is_recognised(tmp_path):
    with pytest.raises(DataError, match="no column 'price'; did you mean 'PRICE'"):
        require(read_csv(write(tmp_path, ROOMS.replace("price", "PRICE"))), ["price"], "rooms.csv")


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('a, "b"\n1, "x, y"\n', ["x, y"]),  # blanks before quotes
        ('a,b\n1,"say ""hi"" now"\n', ['say "hi" now']),
        ('a,b\n1,5" disk\n', ['5" disk']),
        ("a|b\n1| x \n", ["x"]),
        ("\n\na,b\n\n1,x\n\n", ["x"]),
        ("sep=;\na;b\n1,5;x\n", ["x"]),  # for spreadsheets
        ('"a;m;n",b\n1,x\n', ["x"]),  # signs within quotes separate nothing
        ("a,b\r1,x\r2,y\r", ["x", "y"]),
        ('"a\nz",b\n1,"x\ny"\n2,z', ["x\ny", "z"]),
        ("a,b\n1," + "x" * 2_000_000 + "\n2,y\n", ["x" * 2_000_000, "y"]),
    ],
)
def test_quotes_blanks_and_line_ends(tmp_path, text, cells):
    path = write(tmp_path, text)
    assert (
        read_file(path).columns["b"].to_pylist() == cells
        if len(text) < 10**6
        else read_csv(path)["b"].tolist() == cells
    )
    assert read_header(path)[1] == "b"


def test_columns_without_a_name_are_called_by_their_place(tmp_path):
    assert list(read_csv(write(tmp_path, ",price\n1,2\n"))) == ["column 1", "price"]


@pytest.mark.parametrize("rows", [1, 500])
def test_lines_are_counted_as_an_editor_counts_them(tmp_path, rows):
    good = 'Adler,"two\nlines",1\n\n' * rows
    with pytest.raises(DataError, match=rf"line {1 + 3 * rows + 1}: 'many'"):
        read_csv(write(tmp_path, f"a,b,c\n{good}Adler,x,many\n"), {"c": "number"})


def test_what_programs_write_for_nothing_known_is_nothing_known(tmp_path):
    words = ["", "NA", "nan", "NULL", "None", "?", "-", "--", "<NA>", "NaT", r"\N", "#N/A"]
    found = read_csv(write(tmp_path, "a,b\n" + "".join(f"{word},1\n" for word in words) + "2.5,1\n"))["a"]
    assert np.isnan(found[:-1]).all() and found[-1] == 2.5


COMMA = "area;kind;price\n" + "".join(f"{i},{i % 9 + 1};{'room' if i % 2 else 'flat'};{i}.25\n" for i in range(60))


def test_each_column_may_have_its_own_decimal_sign(tmp_path):
    table, schema = read_table(write(tmp_path, COMMA), Reading())
    assert table["area"][:2].tolist() == [0.1, 1.2] and table["price"][:2].tolist() == [0.25, 1.25]
    assert "area: number (decimal comma), 0.1 to 59.6" in describe(table, schema)


def test_where_a_decimal_comma_is_found_a_point_is_in_doubt(tmp_path):
    text = "area;price\n" + "".join(f"{i},5;{i % 9 + 1}.{i + 100}\n" for i in range(60))
    with pytest.raises(DataError, match=r"line 2: '1\.100' in column 'price' has decimals or thousands"):
        read_csv(write(tmp_path, text))
    with pytest.raises(DataError, match="line 2"):
        read_csv(write(tmp_path, '"0,5",1.100\n"1,5",2.101\n'.join(["area,price\n", ""])))
    assert read_table(write(tmp_path, text), Reading(decimal=","))[0]["price"][:2].tolist() == [1100, 2101]


BOOKINGS = """agent,zone,year,month,day,status,booked,code,adr
9,NA,2015,July,1,7/1/2015,20150701,00012,0
NULL,EU,2015,July,31,7/31/2015,20150702,00013,-6.38
250,EU,2016,February,29,2/29/2016,20150703,00014,75.5
"""


def test_knobs_say_what_cells_do_not(tmp_path):
    path = write(tmp_path, BOOKINGS)
    reading = Reading(
        drop=("code",),
        category=("agent",),
        dates=("arrival=year,month,day", "booked=%Y%m%d"),
        missing=("null",),
    )
    table, schema = read_table(path, reading, {"adr": "number"}, complete=("adr", "arrival"))
    assert list(table) == ["agent", "zone", "status", "booked", "adr", "arrival"]
    assert table["agent"].tolist() == ["9", "", "250"] and table["zone"].tolist() == ["NA", "EU", "EU"]
    days = ["2015-07-01", "2015-07-31", "2016-02-29"]
    assert table["arrival"].astype(str).tolist() == table["status"].astype(str).tolist() == days
    assert str(table["booked"][2]) == "2015-07-03"
    schema = from_json(Schema, to_json(schema.only(["agent", "arrival", "status"])))
    again = read_like(write(tmp_path, BOOKINGS.replace("-6.38", "no price").replace("7/31/2015", "7/2/2015")), schema)
    assert list(again) == ["agent", "arrival", "status"] and str(again["status"][1]) == "2015-07-02"


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        (Reading(drop=("agnt",)), "no column 'agnt'; did you mean 'agent'"),
        (Reading(category=("agent",), drop=("agent",)), "'agent' is to be two things"),
        (Reading(category=("agent",), number=("agent",)), "'agent' is to be two things"),
        (Reading(number=("zone",), missing=("null",)), "line 2: 'NA' in column 'zone' is no number"),
        (Reading(dates=("arrival=year,month",)), "neither COLUMN=%d/%m/%Y nor NEW=YEAR,MONTH,DAY"),
        (Reading(dates=("arrival=year,month,dy",)), "no column 'dy'; did you mean 'day'"),
        (Reading(dates=("arrival=year,day,month",)), "line 2: '2015', '1', 'July' make no date 'arrival'"),
        (Reading(dates=("status=%d/%m/%Y",)), "line 3: '7/31/2015' in column 'status' is no date .*%d/%m/%Y"),
    ],
)
def test_knobs_with_mistakes(tmp_path, reading, message):
    with pytest.raises((DataError, ConfigError), match=message):
        read_table(write(tmp_path, BOOKINGS), reading)


def test_gaps_in_joined_dates_are_gaps(tmp_path):
    reading = Reading(dates=("arrival=year,month,day",))
    path = write(tmp_path, BOOKINGS.replace("July,31", "July,"))
    assert missing(read_table(path, reading)[0]["arrival"]).tolist() == [False, True, False]
    with pytest.raises(DataError, match="line 3 has no 'arrival'"):
        read_table(path, reading, complete=["arrival"])


def test_another_file_is_read_as_the_first_was(tmp_path):
    _, schema = read_table(write(tmp_path, COMMA), Reading())
    path = write(tmp_path, 'note,price,area,kind\nfrom \u20ac5 up,1.5,"1.234,5",room\n,2,,\n', "new.csv")
    table = read_like(path, schema.only(["area", "kind"]))
    assert table["area"][0] == 1234.5 and np.isnan(table["area"][1]) and table["kind"].tolist() == ["room", ""]
    with pytest.raises(DataError, match=r"new\.csv, line 2: '112\.5' in column 'area' is no number .*decimal comma"):
        read_like(write(tmp_path, "area\n112.5\n", "new.csv"), schema.only(["area"]))
    with pytest.raises(DataError, match="no column 'area'; did you mean 'Area'"):
        read_like(write(tmp_path, "Area\n112.5\n", "new.csv"), schema.only(["area"]))
