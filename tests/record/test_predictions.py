"""What `predict` writes: every digit in files, text as it is, nothing that a terminal or a spreadsheet would run."""

import csv
import io
import json
import math
import sys

import pytest

from deeplearn.errors import UsageError
from deeplearn.record.predictions import columns_of, format_of, show

ROWS = [
    {"text": "=cmd|' /C calc'!A0", "price": -3.25, "label": "-5", "high": math.inf},
    {"text": "@SUM(1)\x1b[2J", "price": 1e-9, "label": "+1 day", "high": 2.0},
]


def test_a_spreadsheet_runs_nothing_and_numbers_stay(tmp_path, capsys):
    show(ROWS, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"][0] for row in rows] == ["'", "'"]
    assert [float(row["price"]) for row in rows] == [-3.25, 1e-9]
    assert [row["label"] for row in rows] == ["-5", "'+1 day"]


def test_json_holds_json_only(tmp_path):
    show(ROWS, tmp_path / "rows.json")
    show(ROWS, tmp_path / "rows.jsonl")
    lines = [(tmp_path / "rows.json").read_text(), *(tmp_path / "rows.jsonl").read_text().splitlines()]
    parsed = [json.loads(line, parse_constant=lambda name: 1 / 0) for line in lines]
    assert parsed[0] == parsed[1:]
    assert parsed[1]["high"] is None
    assert parsed[1]["text"] == ROWS[0]["text"]  # As it was: this is no spreadsheet.


def test_a_terminal_gets_no_commands(capsys):
    show(ROWS, None)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"\x1b[2J" in out


def test_text_is_shown_as_it_is_and_whole_numbers_with_all_digits(capsys):
    show([{"customer": "12e5", "n": 123456789, "x": 12.5}, {"customer": "1,000", "n": 7, "x": 1234567.25}], None)
    out = capsys.readouterr().out.split()
    assert {"12e5", "1,000", "123456789", "12.5", "1234567"} <= set(out)


def test_long_text_is_wrapped_and_nothing_known_is_empty(capsys):
    show([{"text": "word " * 40, "price": None}], None)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 75 and sum("word" in line for line in lines) == 4


def test_files_hold_every_digit(tmp_path):
    value = 0.1 + 0.2
    for ending in ("csv", "json", "jsonl"):
        show([{"price": value}], tmp_path / f"x.{ending}")
        assert repr(value) in (tmp_path / f"x.{ending}").read_text()


def test_details_are_columns_where_they_are_asked_for():
    rows = [{"label": "cat", "chances": {"cat": 0.9, "dog": 0.1}}, {"label": "dog", "width": 3}]
    assert columns_of(rows) == [{"label": "cat", "width": None}, {"label": "dog", "width": 3}]
    every = columns_of(rows, every=True)
    assert every[0] == {"label": "cat", "cat": 0.9, "dog": 0.1, "width": None} and every[1]["cat"] is None
    assert columns_of([{"label": "a", "chances": {"label": 1.0}}], every=True) == [{"label": "a", "label'": 1.0}]


@pytest.mark.parametrize(
    ("output", "asked", "found"),
    [
        (None, None, "table"),
        ("-", None, "csv"),
        ("-", "jsonl", "jsonl"),
        ("x.json", None, "json"),
        ("x.txt", "csv", "csv"),
        (None, "json", "json"),
    ],
)
def test_the_format_is_what_is_asked_for_or_what_the_ending_says(output, asked, found):
    assert format_of(output, asked) == found


def test_an_ending_that_says_no_format_is_refused():
    with pytest.raises(UsageError, match="the ending says no format"):
        format_of("rows.xlsx")


def test_a_pipe_gets_utf_8_whatever_the_terminal_takes(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    show([{"text": "привет"}], "-")
    assert stream.buffer.getvalue().decode() == "text\nпривет\n"
