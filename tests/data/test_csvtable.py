"""Reading CSV files: what is understood, and what is refused with the line."""

import numpy as np
import pytest

from deeplearn.data.csvtable import describe, kind, missing, read_csv, require, take
from deeplearn.errors import DataError

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
        ("a,a\n1,2\n", "line 1 has an empty or repeated column name"),
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
