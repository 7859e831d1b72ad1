"""Hotel and house prices: what the loaders promise."""

import pickle

import numpy as np
import pytest

from deeplearn.data.csvtable import missing
from deeplearn.data.sets import hotels, houses, rdatasets
from deeplearn.data.split import future, refuse_leak, repeated, shuffled
from deeplearn.errors import DataError


def test_hotel_rates():
    table = hotels.hotel_rates()
    assert len(table) == 27 and len(table["price"]) == 15_402
    assert str(table["arrival_date"].min()), str(table["arrival_date"].max()) == ("2016-07-02", "2017-08-31")
    assert missing(table["country"]).sum() == 164
    assert set(hotels.AFTER_BOOKING) < set(table)


def test_the_future_split_shares_no_day_and_chance_shares_bookings():
    table = hotels.hotel_rates()
    past, later = future(table["arrival_date"], 0.2)
    refuse_leak(table["arrival_date"][past], table["arrival_date"][later], "day")
    assert abs(len(later) / 15_402 - 0.2) < 0.01
    assert not repeated(list(table.values()), past, later).any()
    kept, held = shuffled(15_402, 0.2, seed=0)
    assert repeated(list(table.values()), kept, held).mean() > 0.1  # group bookings: the same stay on both sides


def test_last_years_price_is_made_of_known_stays():
    table = hotels.hotel_rates()
    dates, price, curve = table["arrival_date"], table["price"], table["year_before"]
    known = np.flatnonzero(dates < np.datetime64("2017-06-01"))
    found = hotels.year_before(dates, price, curve, known)
    late = dates >= np.datetime64("2017-08-01")
    assert np.abs(found - price)[late].mean() < np.abs(curve - price)[late].mean()  # nearer than the older curve
    early = dates < dates.min() + np.timedelta64(365, "D")
    np.testing.assert_array_equal(found[early], curve[early])
    price[~np.isin(np.arange(len(price)), known)] = 1e6
    np.testing.assert_array_equal(hotels.year_before(dates, price, curve, known), found)


def test_ames():
    table = houses.ames()
    assert len(table) == 74 and len(table["price"]) == 2930
    assert (table["price"].min(), table["price"].max()) == (12_789, 755_000)


def test_synthetic_hotels_depend_on_the_seed_alone():
    table = hotels.synthetic(5000)
    np.testing.assert_array_equal(table["price"], hotels.synthetic(5000)["price"])
    assert not np.array_equal(table["price"], hotels.synthetic(5000, seed=1)["price"])
    median = {room: np.median(table["price"][table["room"] == room]) for room in hotels.ROOMS}
    assert median["single"] < median["double"] < median["suite"]


def test_a_pickle_that_calls_anything_else_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("called",)

    path = tmp_path / "evil"
    path.write_bytes(pickle.dumps(Evil()))
    with path.open("rb") as file, pytest.raises(DataError, match=r"builtins\.print"):
        rdatasets._Reader(file).load()
