"""Machines that speak: the same each time, about what the grammar allows, by voices that stay apart."""

import numpy as np
import pytest

from deeplearn.data import engines
from deeplearn.data.doors import speech
from deeplearn.data.engines import Line, speak
from deeplearn.data.sets import voices
from deeplearn.errors import DataError

LINES = [Line(text=text, voice=voice) for text, voice in (("press two", "en-us+f1"), ("the price", "en-gb-scotland"))]


def test_two_processes_say_the_same_and_the_cache_keeps_it(tmp_path, monkeypatch):
    wheel = engines._espeak_folder()
    monkeypatch.setattr(engines, "_espeak_folder", lambda: wheel)
    said = []
    for place in ("a", "b"):
        monkeypatch.setenv("DEEPLEARN_DATA", str(tmp_path / place))
        said.append(speak("espeak", LINES, 8000))
    monkeypatch.setattr(engines, "_in_fresh_process", None)
    again = speak("espeak", LINES, 8000)
    for first, *others in zip(*said, again, strict=True):
        assert len(first.sound) > 2000
        assert first.phonemes[:2] == ("p", "ɹ") or first.phonemes[0] == "ð"
        assert (np.diff(first.starts) >= 0).all()
        assert first.starts[-1] <= len(first.sound)
        for other in others:
            np.testing.assert_array_equal(other.sound, first.sound)
            assert other.phonemes == first.phonemes


def test_an_unknown_voice_is_named(tmp_path, monkeypatch):
    wheel = engines._espeak_folder()
    monkeypatch.setattr(engines, "_espeak_folder", lambda: wheel)
    monkeypatch.setenv("DEEPLEARN_DATA", str(tmp_path))
    with pytest.raises(DataError, match="no voice 'en-mars'"):
        speak("espeak", [Line(text="one", voice="en-mars")], 8000)
    assert not list(tmp_path.glob("speech/*"))


def test_voices_and_sentences_of_the_parts_are_apart():
    assert not set(voices.TRAIN) & {*voices.VALID, *voices.TEST}
    assert not set(voices.VALID) & set(voices.TEST)
    sides = {name: set(voices.sentences(name, 300, seed=0)) for name in ("train", "valid", "test")}
    assert not sides["train"] & sides["test"]
    assert not sides["train"] & sides["valid"]
    assert not sides["valid"] & sides["test"]
    assert all(sentence == sentence.lower() for side in sides.values() for sentence in side)
    assert voices.sentences("test", 20, seed=1) == voices.sentences("test", 20, seed=1)


def test_flite_says_the_same_twice_and_takes_its_time(tmp_path, monkeypatch):
    try:
        folder = engines._flite_folder()
    except DataError as error:
        pytest.skip(f"flite is a package of Debian: {error}")
    monkeypatch.setattr(engines, "_flite_folder", lambda: folder)
    lines = [Line(text="press two", voice="kal", speed=speed) for speed in (120, 240)]
    said = []
    for place in ("a", "b"):
        monkeypatch.setenv("DEEPLEARN_DATA", str(tmp_path / place))
        said.append(speak("flite", lines, 8000))
    for first, again in zip(*said, strict=True):
        np.testing.assert_array_equal(first.sound, again.sound)
    slow, fast = (len(own.sound) for own in said[0])
    assert slow / fast == pytest.approx(2, rel=0.15)
    with pytest.raises(DataError, match="no voice 'mars'"):
        speak("flite", [Line(text="one", voice="mars")], 8000)


def test_where_flite_cannot_be_had_espeak_alone_is_heard_and_that_is_said(monkeypatch, capsys):
    def missing():
        raise DataError("no apt-get here")

    monkeypatch.setattr(voices, "speak", lambda *given: missing())
    assert speech._by_flite(10, 8000, 0) == []
    assert "espeak alone is heard (no apt-get here)" in capsys.readouterr().err
