"""A vocoder copies recordings of any length and rate, and lends itself to a voice, which keeps it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import runs
from cases import with_knobs

from deeplearn import catalog
from deeplearn.data import audio
from deeplearn.data.doors.teacher import Data
from deeplearn.errors import ConfigError, DataError, UsageError
from deeplearn.lent import vocoder
from deeplearn.methods.sound import Mel, log_mel
from deeplearn.record import fitfile, seal
from deeplearn.trained import Trained
from experiments import vocoding

MEL = Mel(rate=8000, size=256, window=200, hop=80, bands=20)
recipe = catalog.load("vocoding")
CONFIG = with_knobs(recipe.Config(), {"sound": MEL, "width": 8, "depth": 1})


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Trained:
    """A vocoder before its first step: nobody has to understand it."""
    task = recipe.task(CONFIG)
    batch = {"sound": np.zeros((1, 8000), np.int16), "mask": np.ones(1, np.float32), "index": np.zeros(1, np.int32)}
    variables = jax.jit(task.init)(jax.random.key(0), batch)
    own = dict(config=CONFIG, fitted=vocoding.Fitted(level=0.1), variables=variables, task=task)
    return Trained(folder=tmp_path_factory.mktemp("model"), **own)


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "talk.wav"
    audio.write(path, np.random.default_rng(0).normal(0, 0.1, 22050).astype(np.float32), 22050)
    return path


def test_a_copy_has_the_rate_of_the_network_and_the_length_of_the_recording(model, recording, tmp_path):
    row = recipe.produce(model, str(recording), tmp_path / "copy.wav")
    samples, rate = audio.read(tmp_path / "copy.wav")
    assert rate == MEL.rate and len(samples) == 8000 and row["seconds"] == 1.0
    assert row["mcd"] > 0


def test_a_recording_of_any_loudness_is_copied_as_one_that_was_learnt_from(model):
    own = audio.pcm(np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32))
    copy, quiet = vocoding.copied(model, own), vocoding.copied(model, (own / 8).astype(np.int16))
    np.testing.assert_allclose(8 * quiet, copy, atol=0.02 * np.abs(copy).max())  # 16 bits, rounded twice
    assert np.isfinite(vocoding.copied(model, np.zeros(800, np.int16))).all()


def test_what_cannot_be_read_or_written_is_refused(model, recording, tmp_path):
    with pytest.raises(UsageError, match=r"let it end in \.wav"):
        recipe.produce(model, str(recording), tmp_path / "copy.mp3")
    (tmp_path / "bad.wav").write_text("nothing")
    with pytest.raises(DataError, match=r"bad\.wav"):
        recipe.produce(model, str(tmp_path / "bad.wav"), tmp_path / "copy.wav")
    rows = recipe.apply(model, [str(recording), str(tmp_path / "bad.wav")])
    assert ["error" in row for row in rows] == [True, False]
    assert audio.read(rows[1]["copy"])[1] == MEL.rate and rows[1]["copy"].endswith("talk.copy.wav")
    assert not (tmp_path / "copy.wav").exists()


def test_a_voice_keeps_its_vocoder(model, tmp_path):
    """As assets of its own run: the vocoder's may be gone."""
    lent = vocoder.of_model(model)
    fitfile.write_assets(tmp_path, vocoder.kept(lent))
    found = vocoder.of_assets(replace(model, folder=tmp_path), MEL)
    bands = np.random.default_rng(0).normal(-3, 1, (30, MEL.bands)).astype(np.float32)
    np.testing.assert_array_equal(found.sounding(bands), lent.sounding(bands))
    assert found.network == lent.network


@pytest.fixture
def lend(model, monkeypatch, tmp_path):
    """The vocoder of a run with these knobs, lent to a voice with those."""

    def do(own: object = CONFIG, *, name: str = "vocoding", mel: Mel = MEL, data: Data | None = None, seed: int = 0):
        monkeypatch.setattr("deeplearn.trained.recipe_of", lambda folder: (SimpleNamespace(name=name), own))
        monkeypatch.setattr("deeplearn.trained.load", lambda folder: replace(model, config=own))
        seal.write(tmp_path)
        return vocoder.of_run(tmp_path, mel, data or Data(), seed)

    return do


def test_a_vocoder_that_does_not_fit_a_voice_is_refused(lend):
    assert lend().network.mel == MEL
    with pytest.raises(ConfigError, match="no run of vocoding"):
        lend(name="recognition")
    with pytest.raises(ConfigError, match=r"has learnt .*hop=80.* this voice has .*hop=100"):
        lend(mel=replace(MEL, hop=100))


def test_a_vocoder_that_may_have_heard_the_test_is_refused(lend, tmp_path):
    """A folder of one's own is cut into parts by the seed."""
    heard = replace(CONFIG, data=Data(path=tmp_path), seed=1)
    with pytest.raises(ConfigError, match="use its --seed 1"):
        lend(heard, data=Data(path=tmp_path))
    assert lend(heard, data=Data(path=tmp_path), seed=1).network.mel == MEL
    assert lend(replace(CONFIG, seed=1)).network.mel == MEL  # machines say the same sentences whatever the seed


def test_a_folder_that_holds_another_run_is_named_before_anything_is_trained(tmp_path):
    runs.make_run(tmp_path / "run", runs.Config(model="gnmt"), experiment="translation")
    voice = catalog.load("synthesis")
    with pytest.raises(ConfigError, match="no run of vocoding"):
        vocoder.of_run(tmp_path / "run", voice.Config().sound, Data(), 0)


def test_a_vocoder_that_still_learns_is_refused(lend, tmp_path):
    lend()
    (tmp_path / "seal.json").write_text('{"files": null}')  # as a training leaves it while it is at work
    with pytest.raises(ConfigError, match="has not ended"):
        vocoder.of_run(tmp_path, MEL, Data(), 0)


def test_a_vocoder_begins_from_what_another_has_learnt(model, lend, tmp_path, monkeypatch):
    lend()  # the folder then holds that model
    batch = {"sound": np.zeros((1, 8000), np.int16), "mask": np.ones(1, np.float32), "index": np.zeros(1, np.int32)}
    config = with_knobs(CONFIG, {"init": tmp_path, "adversary": 0.1, "critics": 1})
    found = jax.jit(vocoding.begun(config).init)(jax.random.key(1), batch)["params"]
    jax.tree.map(np.testing.assert_array_equal, found["maker"], model.variables["params"]["maker"])
    assert "critic" in found
    with pytest.raises(ConfigError, match="--width 8 --depth 1"):
        vocoding.begun(with_knobs(config, {"width": 16}))


@pytest.mark.parametrize("knobs", [{"high": 4100.0}, {"low": 4000.0, "high": 4000.0}])
def test_bands_where_there_is_no_sound_are_refused(knobs):
    with pytest.raises(ConfigError, match=r"--sound\.high may be 4000 at most"):
        log_mel(np.zeros(800, np.float32), replace(MEL, **knobs))
