"""A made-up file of hotel bookings with what makes real ones hard: dates in three columns, ids, leaks, zeros, gaps."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np

HEADER = (
    "hotel,is_canceled,lead_time,arrival_date_year,arrival_date_month,arrival_date_day_of_month,adults,meal,country,"
    "reserved_room_type,agent,company,adr,reservation_status,reservation_status_date"
)
FLAGS = dict(
    target="adr",
    date="arrival",
    dates=("arrival=arrival_date_year,arrival_date_month,arrival_date_day_of_month",),
    drop=("is_canceled", "reservation_status", "reservation_status_date"),
    category=("agent", "company"),
)
"""What a user says of it."""


def bookings(path: Path, rows: int = 600, seed: int = 0) -> Path:
    """Two hotels, 2015-07-01 to 2016-08; a rate a night from hotel, room, season and agent, and some of zero."""
    rng = np.random.default_rng(seed)
    agents = rng.permutation(np.arange(1, 500))[:12]
    discount = rng.normal(0, 12, 12)
    lines = [HEADER]
    for i in range(rows):
        day = date(2015, 7, 1) + timedelta(days=int(i * 400 / rows))
        lead, canceled = int(rng.gamma(1.2, 60)), rng.random() < 0.3
        hotel, room, agent = rng.integers(2), rng.integers(4), rng.integers(12)
        season = 25 * np.cos(2 * np.pi * (day.timetuple().tm_yday - 205) / 365)
        adr = 80 + 20 * hotel + 15 * room + season + discount[agent] + rng.normal(0, 8)
        adr = 0 if rng.random() < 0.02 else -6.38 if i == 50 else adr
        status = day - timedelta(days=lead // 2) if canceled else day + timedelta(days=2)
        cells = [
            *(["Resort Hotel", "City Hotel"][hotel], int(canceled), lead, day.year, f"{day:%B}", day.day),
            *(rng.integers(1, 4), rng.choice(["BB", "HB", "SC", "Undefined"]), rng.choice(["PRT", "GBR", "NULL"])),
            *("ABCD"[room], "NULL" if rng.random() < 0.1 else agents[agent], "NULL" if rng.random() < 0.9 else 40),
            *(f"{adr:.2f}", "Canceled" if canceled else "Check-Out", f"{status.month}/{status.day}/{status.year}"),
        ]
        lines.append(",".join(str(cell) for cell in cells))
    path.write_text("\n".join(lines) + "\n")
    return path
