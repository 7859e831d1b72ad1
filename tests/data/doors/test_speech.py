"""Public speech by name, as TFDS stores it, without TensorFlow."""

import json

import numpy as np
import pytest

from deeplearn.data import tfds
from deeplearn.data.doors.speech import Data, load
from deeplearn.errors import ConfigError


def test_librispeech_is_read_where_it_is_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    from tensorflow_datasets import features

    described = {
        "speech": features.Tensor(shape=(None,), dtype=np.int64),
        "text": features.Text(),
        "speaker_id": features.Tensor(shape=(), dtype=np.int64),
    }
    ramp = np.arange(-16000, 16000)
    record = {"speech": ramp, "text": "HELLO THERE", "speaker_id": 7}
    splits = {name: [record] for name in ("train_clean100", "dev_clean", "test_clean", "test_other")}
    folder = tfds.write("librispeech", described, splits)
    # TFDS can only write its own feature of sounds with TensorFlow; on the disk it is a tensor by another name.
    stored = json.loads((folder / "features.json").read_text())
    speech = stored["featuresDict"]["features"]["speech"]
    speech["pythonClassName"] = "tensorflow_datasets.core.features.audio_feature.Audio"
    speech["audio"] = speech.pop("tensor")
    (folder / "features.json").write_text(json.dumps(stored))

    corpus = load(Data(tfds="librispeech"), 16000, 0)
    assert set(corpus.tests) == {"test_clean", "test_other"}
    (utterance,) = corpus.train
    assert (utterance.text, utterance.speaker) == ("hello there", "7")
    np.testing.assert_allclose(utterance.sound, ramp, atol=1)


def test_other_sets_are_refused():
    with pytest.raises(ConfigError, match="librispeech, ljspeech, speech_commands"):
        load(Data(tfds="mnist"), 8000, 0)
