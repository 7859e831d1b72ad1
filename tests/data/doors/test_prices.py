"""Tables of a user's own with a price: read without editing, split without leaks, and what is said of them."""

import numpy as np
import pytest
from bookings import FLAGS, bookings

from deeplearn.data.csvtable import kind
from deeplearn.data.doors.prices import Data, Part, copies, inner, load, parts
from deeplearn.errors import ConfigError, DataError, DeeplearnError


def rooms(path, rows, header="area,kind,price", delimiter=","):
    path.write_text("\n".join([header, *(delimiter.join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_a_file_of_bookings_is_read_as_it_is(tmp_path, capsys):
    data = Data(path=bookings(tmp_path / "bookings.csv"), **FLAGS)
    problem = load(data)
    expected = {
        "hotel": "category",
        "lead_time": "number",
        "arrival": "date",
        "agent": "category",
        "country": "category",
    }
    assert expected.items() <= {name: kind(values) for name, values in problem.table.items()}.items()
    assert not {"is_canceled", "adr", "arrival_date_year"} & set(problem.table)
    assert problem.price.min() < 0 and (problem.price == 0).any() and str(problem.dates[0]) == "2015-07-01"
    assert (problem.table["country"] == "").sum() > 100
    calibration, final = parts(problem, data)
    assert problem.dates[final.train].max() < problem.dates[final.held].min() and len(calibration) == 2
    said = capsys.readouterr().err
    assert "arrival: date of arrival_date_year, arrival_date_month, arrival_date_day_of_month, 2015-07-01 to" in said
    assert "values of adr are not positive: errors are reported in its own unit" in said


def test_suspicions_about_bookings_are_said(tmp_path, capsys):
    flags = FLAGS | dict(date=None, category=(), drop=("is_canceled",))
    path = bookings(tmp_path / "bookings.csv")
    lines = path.read_text().splitlines()
    taxed = [f"{i}," + line + f",{float(line.split(',')[12]) * 1.06:.2f}" for i, line in enumerate(lines[1:])]
    path.write_text("\n".join(["booking," + lines[0] + ",adr_with_tax", *taxed]) + "\n")
    load(Data(path=path, **flags))
    said = capsys.readouterr().err
    assert "reservation_status_date: date (%m/%d/%Y), 2015" in said
    assert "note: adr_with_tax alone tells the target nearly exactly (100.0% of its ranks): --data.drop adr_w" in said
    assert "note: booking differs from row to row" in said
    assert "rows are held out at random; --data.date reservation_status_date holds the future out" in said
    assert "note: hotel" not in said and "note: lead_time" not in said


def test_inner_folds_hold_every_training_row_once():
    part = Part(np.arange(0, 200, 2), np.arange(1, 200, 2))
    trials = inner(part)
    assert len(trials) == 3 and np.array_equal(np.sort(np.concatenate([one.held for one in trials])), part.train)
    assert all(np.array_equal(np.sort(np.concatenate(one)), part.train) for one in trials)


def test_a_test_file_of_the_user_is_the_test(tmp_path):
    path, test = bookings(tmp_path / "train.csv", 300), bookings(tmp_path / "test.csv", 60, seed=1)
    for date in ("arrival", None):
        data = Data(path=path, test=test, **FLAGS | dict(date=date))
        problem = load(data)
        calibration, final = parts(problem, data)
        assert final.train.tolist() == list(range(300)) and final.held.tolist() == list(range(300, 360))
        alone = load(Data(path=test, **FLAGS | dict(date=date)))
        np.testing.assert_array_equal(problem.price[final.held], alone.price)
        for part in calibration:
            assert max(part.held) < 300 and not np.intersect1d(part.train, part.held).size
    with pytest.raises(ConfigError, match="give one of the two"):
        parts(problem, Data(path=path, test=test, folds=3))
    test.write_text(test.read_text().replace("City Hotel,0,", "City Hotel,0,many", 1))
    with pytest.raises(DataError, match=r"test\.csv, line \d+: 'many\d+' in column 'lead_time'"):
        load(Data(path=path, test=test, **FLAGS))


def test_a_decimal_comma_and_a_decimal_point_give_the_same_table(tmp_path):
    rows = [(f"{40 + i * 0.7:.1f}", "room" if i % 3 else "flat", f"{80 + i * 1.5:.2f}") for i in range(400)]
    point = load(Data(path=rooms(tmp_path / "point.csv", rows)))
    commas = [(area.replace(".", ","), name, price) for area, name, price in rows]
    comma = load(Data(path=rooms(tmp_path / "comma.csv", commas, "area;kind;price", ";")))
    np.testing.assert_array_equal(point.table["area"], comma.table["area"])
    np.testing.assert_array_equal(point.price, comma.price)


@pytest.mark.parametrize("gap", ["", "2"])
def test_copies_are_counted_also_where_cells_are_missing(tmp_path, gap):
    rows = [(40 + i // 4, gap, "room", 80 + i // 4) for i in range(400)]
    data = Data(path=rooms(tmp_path / "rooms.csv", rows, "area,floor,kind,price"))
    problem = load(data)
    assert copies(problem, parts(problem, data)[1]).mean() > 0.95


@pytest.mark.parametrize(
    ("data", "last", "message"),
    [
        (dict(reference="last"), 0, "line 61 has a 'last' of 0; remove prices that are not positive"),
        (dict(reference="last"), -80, "line 61 has a 'last' of -80"),
        (dict(reference="last"), "", "line 61 has no 'last'"),
        (dict(reference="lst"), 5, "no column 'lst'; did you mean 'last'"),
        (dict(drop=("last", "area", "kind")), 5, "0 columns to learn from"),
    ],
)
def test_own_files_with_mistakes_name_the_line(tmp_path, data, last, message):
    rows = [(40 + i, "room", 50, 80 + i) for i in range(59)] + [(40, "room", last, 80)]
    path = rooms(tmp_path / "rooms.csv", rows, "area,kind,last,price")
    with pytest.raises(DataError, match=message):
        load(Data(path=path, **data))


@pytest.mark.parametrize("knob", [dict(drop=("area",)), dict(decimal=","), dict(test="rooms.csv")])
def test_knobs_of_own_files_need_one(knob):
    with pytest.raises(DeeplearnError, match="is for a table of your own"):
        load(Data(**knob))
