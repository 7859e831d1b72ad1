"""What recognition says of recordings that hold nothing to recognise."""

from types import SimpleNamespace

import numpy as np

from deeplearn import catalog
from deeplearn.data import audio
from deeplearn.methods.sound import Mel


def test_silence_is_no_words(tmp_path):
    audio.write(tmp_path / "silence.wav", np.zeros(12000), 12000)
    model = SimpleNamespace(fitted=SimpleNamespace(sound=Mel(), alphabet=" ab"), config=None)
    (row,) = catalog.load("recognition").apply(model, [str(tmp_path / "silence.wav")])
    assert (row["text"], row["starts"], row["confidence"], row["seconds"]) == ("", "", 0.0, 1.0)
