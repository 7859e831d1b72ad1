import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deeplearn.record import figures

rng = np.random.default_rng(0)
STEPS = np.arange(5)
DRAW: dict[str, Callable[[Path | None], str]] = {
    "curves": lambda path: figures.curves(
        {"train": (STEPS, STEPS**2), "valid": (STEPS, STEPS, STEPS - 1, STEPS + 1)}, path
    ),
    "long": lambda path: figures.curves({f"a long name of a curve {i}": (STEPS, STEPS + i) for i in range(10)}, path),
    "log": lambda path: figures.curves({"loss": (STEPS + 1, 10.0**STEPS)}, path, log_x=True, log_y=True, markers=True),
    "scatter": lambda path: figures.scatter(STEPS, STEPS + 1, path, unit="€", low=STEPS - 1, high=STEPS + 1),
    "bars": lambda path: figures.bars({"CNN": 0.98, "SVM": 0.97}, path, errors={"CNN": 0.01}, unit="accuracy"),
    "confusion": lambda path: figures.confusion(np.array([[9, 1], [0, 10]]), path, classes=["cat", "a dog"]),
    "images": lambda path: figures.images(
        np.linspace(0, 1, 48).reshape(3, 4, 4), path, captions=["a", "b"], wrong=[True]
    ),
    "colour": lambda path: figures.images(np.full((2, 4, 4, 3), 0.5), path, columns=1, title="two"),
}


@pytest.mark.parametrize("name", DRAW)
def test_a_figure_is_valid_reproducible_and_loads_nothing(name: str, tmp_path: Path) -> None:
    svg = DRAW[name](tmp_path / "figures" / "a.svg")
    assert (tmp_path / "figures" / "a.svg").read_text() == svg
    assert DRAW[name](None) == svg
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    links = [value for element in root.iter() for key, value in element.attrib.items() if key.endswith("href")]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert figures.INK not in svg
    assert "currentColor" in svg
    assert not [element for element in root.iter() if element.tag.endswith("script")]


def texts(svg: str) -> list[str]:
    return [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_names_and_numbers_are_text() -> None:
    assert {"train", "valid", "step"} <= set(texts(DRAW["curves"](None)))
    assert {"CNN", "0.98", "SVM", "0.97"} <= set(texts(DRAW["bars"](None)))
    found = texts(DRAW["confusion"](None))
    assert {"cat", "a dog", "9", "1", "10"} <= set(found)
    assert "0" not in found  # Empty cells stay empty.


def test_powers_of_ten_and_names_on_an_axis_can_be_read() -> None:
    assert {"1", "100", "10000"} <= set(texts(DRAW["log"](None)))
    assert {"30", "200"} <= set(texts(figures.curves({"a": ([30, 300], [20, 200])}, log_x=True, log_y=True)))
    assert {"first", "second"} <= set(texts(figures.curves({"a": (["first", "second"], [1, 2], [0, 1], [2, 3])})))


def test_many_points_stay_small() -> None:
    true = rng.normal(size=20_000)
    assert len(figures.scatter(true + 0.1, true, low=true, high=true + 1)) < 500_000


def test_names_of_the_users_data_are_escaped() -> None:
    assert "<script>" not in figures.bars({"<script>alert(1)</script>": 1.0})
    ET.fromstring(figures.bars({"a & b <c>": 1.0}))


def test_dates_are_shown_as_dates() -> None:
    days = np.arange("2017-06-01", "2017-07-01", dtype="M8[D]")
    assert "2017-06" in figures.curves({"price": (days, np.arange(30.0))}, x="day")


def test_the_numbers_at_an_axis_in_logarithms_are_numbers():
    svg = figures.curves({"a": ([0.001, 0.01, 0.1], [1e-4, 1e-2, 1.0])}, log_x=True, log_y=True)
    assert "math" not in svg and ">0.001<" in svg and ">0.01<" in svg
    assert "math" not in figures.curves({"a": ([0.002, 0.004], [3, 5])}, log_x=True, log_y=True)
