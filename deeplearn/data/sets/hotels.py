"""Prices of hotel rooms: 15,402 real stays in one resort hotel, and a seeded generator of twelve invented hotels."""

import numpy as np

from deeplearn.data.csvtable import Table
from deeplearn.data.sets import rdatasets

AFTER_BOOKING = (
    "assigned_room_type",
    "booking_changes",
    "days_in_waiting_list",
    "required_car_parking_spaces",
    "total_of_special_requests",
)
"""Columns of `hotel_rates` that may still change between the booking and the departure."""


def hotel_rates() -> Table:
    """Stays in a resort hotel of the Algarve, arriving 2016-07-02 to 2017-08-31; `price` is EUR a night, 19-426.

    Antonio, de Almeida & Nunes, "Hotel booking demand datasets", Data in Brief 2019 (CC BY 4.0), as filtered for the R
    package modeldata. Its column `historical_adr` is no leak: it is a smooth curve over the day of the year, fitted to
    the hotel's stays of July 2015 to July 2016, none of which is among these rows. But from July 2017 on it is two
    years old; here it is called `year_before`, and the function of that name mends it with stays that are known.
    """
    table = rdatasets.table("modeldata", "hotel_rates")
    table["arrival_date"] = table["arrival_date"].astype("M8[D]")
    del table["arrival_date_num"]  # the date as a growing number: whatever a model makes of it, the future lies outside
    return {"price": table.pop("avg_price_per_room"), "year_before": table.pop("historical_adr")} | table


def year_before(
    dates: np.ndarray, price: np.ndarray, historical: np.ndarray, known: np.ndarray, *, days: float = 5.0
) -> np.ndarray:
    """The hotel's typical price a year before each arrival, [N], from the prices of the stays at the rows `known`.

    Where those reach back a year, a straight line fitted to the prices around that day, weighted by a normal curve of
    `days` (5: a season's edge takes weeks, a weekday's effect should vanish); before that, `historical`.
    """
    found = historical.copy()
    day = dates.astype(np.int64)
    past, price = day[known], price[known]
    for now in np.unique(day[day - 365 >= past.min()]):
        apart = (past - (now - 365)) / days
        near = abs(apart) < 4
        if len(np.unique(apart[near])) > 1:  # one day alone has no line
            found[day == now] = np.polyfit(apart[near], price[near], 1, w=np.exp(-(apart[near] ** 2) / 4))[1]
    return found


HOTELS = (
    "Hotel Adler",
    "Grand Meridian",
    "Seaview Lodge",
    "Casa Algarve",
    "Old Town Inn",
    "Parkside Suites",
    "Airport Express",
    "Villa Aurora",
    "The Harbour",
    "Alpine Rest",
    "City Nest",
    "Palace Royal",
)
ROOMS = {"single": 0.78, "double": 1.0, "twin": 0.97, "superior": 1.25, "family": 1.45, "suite": 2.1}
"""Price of a room category relative to a double room."""
NOISE = 0.10
"""Standard deviation of the log price that nothing explains: no model's mean absolute error falls below about 8 %."""


def synthetic(size: int = 20_000, seed: int = 0) -> Table:
    """SYNTHETIC bookings: `hotel`, `room`, `check_in` (2022 and 2023), `lead_days` and `price` in EUR a night.

    A price is the product of the hotel's level, room category, season (winter for the Alpine kind), weekend, a yearly
    rise, fourteen events of three days, a discount for booking early, and noise; the season's strength is as in
    `hotel_rates`. Only this set shows hotel name x room category x check-in date at once.
    """
    rng = np.random.default_rng(seed)
    count, days = len(HOTELS), 730
    level = np.exp(rng.normal(4.5, 0.35, count))  # around 90 EUR
    season = rng.uniform(0.05, 0.55, count) * np.where(np.arange(count) % 4 == 1, -0.5, 1)  # < 0: dear in winter
    weekend, rise = rng.normal(0, 0.12, count), rng.normal(0.04, 0.03, count)
    taste = np.exp(rng.normal(0, 0.05, (count, len(ROOMS)))) * np.array(list(ROOMS.values()))
    event_days, attends = rng.choice(days, 14, replace=False), rng.random((count, 14)) < 0.5

    hotel = rng.integers(0, count, size)
    room = rng.choice(len(ROOMS), size, p=[0.15, 0.35, 0.2, 0.15, 0.1, 0.05])
    day = rng.integers(0, days, size)
    lead = np.floor(rng.gamma(1.2, 35, size))  # 42 days in the mean, as skewed as in `hotel_rates`
    event = (attends[hotel] & (abs(event_days - day[:, None]) <= 1)).any(1)
    friday_or_saturday = np.isin((day + 5) % 7, (4, 5))  # 2022-01-01 was a Saturday
    log_price = (
        np.log(level[hotel] * taste[hotel, room])
        + season[hotel] * np.cos(2 * np.pi * (day - 205) / 365)  # the summer season peaks at the end of July
        + weekend[hotel] * friday_or_saturday
        + rise[hotel] * day / 365
        + np.log(1.35) * event
        - 0.0006 * lead
        + rng.normal(0, NOISE, size)
    )
    return {
        "price": np.exp(log_price).round(2),
        "hotel": np.array(HOTELS)[hotel],
        "room": np.array(list(ROOMS))[room],
        "check_in": np.datetime64("2022-01-01") + day.astype("m8[D]"),
        "lead_days": lead,
    }
