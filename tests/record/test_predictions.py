import csv
import json
import math

from deeplearn.record.predictions import show

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
