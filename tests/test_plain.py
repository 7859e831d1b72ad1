import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplearn.files import parse_json
from deeplearn.plain import counted, plain, plain_values


@given(st.text(st.characters()))
def test_nothing_that_moves_a_cursor_or_cannot_be_written_is_left(text):
    shown = plain(text)
    assert shown.encode("utf-8") is not None
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Zl", "Zp"}
    if text.isprintable():
        assert shown == text


def test_ordinary_text_of_any_language_stays():
    text = "Straße, привет, 你好, שלום, नमस्ते, 👩‍🔬, می‌خواهم"
    assert plain(text) == text


def test_escapes_can_be_read_and_long_texts_end():
    assert plain("a\x1b[31m\n\u202eb") == r"a\x1b[31m\n\u202eb"
    assert len(plain("x" * 10**6)) < 2000
    assert plain_values({"a\x07": ["\ud800", 1, None]}) == {r"a\x07": [r"\ud800", 1, None]}


def test_numbers_in_names_are_sorted_as_numbers():
    names = ["seed-10", "seed-2", "seed-1", "1e3", "10", "9", "", "b2a10", "b2a9"]
    assert sorted(names, key=counted) == ["", "1e3", "9", "10", "b2a9", "b2a10", "seed-1", "seed-2", "seed-10"]


@pytest.mark.parametrize("levels", [200, 5_000, 1_000_000])
def test_deep_json_is_an_error_like_any_other(levels):
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * levels + "]" * levels)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda part: st.lists(part), max_leaves=20))
def test_json_comes_back(value):
    assert parse_json(json.dumps(value)) == value
