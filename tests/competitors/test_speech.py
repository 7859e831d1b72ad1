"""A listener that is not ours must not decide how long a run takes: what it leaves out is said, and not judged."""

import sys
from types import SimpleNamespace

import numpy as np

from deeplearn.competitors import speech


class Decoder:
    """Hears nothing but the same word."""

    def __init__(self, **options):
        pass

    start_utt = end_utt = lambda self: None
    process_raw = lambda self, data, full_utt: None  # noqa: E731
    hyp = lambda self: SimpleNamespace(hypstr="one")  # noqa: E731


def test_recordings_beyond_its_time_are_left_out_and_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pocketsphinx", SimpleNamespace(Decoder=Decoder))
    monkeypatch.setattr(speech, "installed", lambda: True)
    monkeypatch.setattr(speech, "MOST", 2.5)
    sounds = [np.ones(8000, np.int16)] * 4  # a second each
    assert speech.transcripts(sounds, 8000, closed=False) == ["one", "one"]
    assert "hears the first 2 of 4 recordings" in capsys.readouterr().err
    # The third would be misheard; the first two are right.
    assert speech.understood(sounds, ["one", "one", "two", "two"], 8000, None, closed=False)["sphinx_wer"] == 0
    capsys.readouterr()
    assert len(speech.transcripts(sounds[:2], 8000, closed=False)) == 2
    assert "hears the first" not in capsys.readouterr().err
    monkeypatch.setattr(speech, "MOST", 0.1)
    assert len(speech.transcripts(sounds, 8000, closed=False)) == 1  # one at least
