"""Speech of a voice of one's own: learnt from a folder, written as files, refused in a sentence where it cannot be."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import runs
from cases import with_knobs

from deeplearn import catalog
from deeplearn.cli import main
from deeplearn.data import audio
from deeplearn.data.doors import teacher
from deeplearn.data.engines import Line, speak
from deeplearn.data.sets.voices import sentences
from deeplearn.errors import ConfigError, DataError, UsageError
from deeplearn.methods.sound import Mel
from deeplearn.trained import Trained

RATE = 8000
TEXTS = ["press twenty", "room two is ready", *sentences("train", 10, 0)]
SMALL = {
    "sound": Mel(rate=RATE, size=512, window=320, hop=80, bands=20, high=4000.0),
    **dict.fromkeys(("width", "encoder", "decoder", "phases", "shapes"), 1),
    "batch": 4,
}
"""Knobs of a small voice."""
recipe = catalog.load("synthesis")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Recordings of a machine, which are learnt from their texts alone."""
    root = tmp_path_factory.mktemp("recordings")
    lines = ["file,text,split"]
    for number, (text, own) in enumerate(zip(TEXTS, speak("espeak", [Line(text=t) for t in TEXTS], RATE), strict=True)):
        audio.write(root / f"{number}.wav", own.sound / np.float32(32768), RATE)
        # What is tested is also learnt: so few recordings do not hold all phonemes.
        lines += [
            f"{number}.wav,{text},{part}" for part in ("train", ("valid", "test")[number % 2])[: 1 + (number < 2)]
        ]
    (root / "transcripts.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def voice(folder) -> Trained:
    """The voice of the folder before its first step, whose compilation takes long: nobody has to understand it."""
    config = with_knobs(recipe.Config(), {**SMALL, "data.path": folder})
    made = recipe.experiment(config)
    batch = {name: column[:1] for name, column in made.train.at(0).items()}
    variables = jax.jit(made.task.init)(jax.random.key(0), batch)
    return Trained(config=config, folder=folder, variables=variables, fitted=made.fitted, task=made.task)


@pytest.fixture
def predict(voice, monkeypatch, tmp_path):
    """`deeplearn predict` with that voice."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("deeplearn.trained.recipe_of", lambda folder, trust: (recipe, voice.config))
    monkeypatch.setattr("deeplearn.trained.opened", lambda recipe, config: voice)
    return lambda *words: main(["predict", str(tmp_path), *words])


def test_a_text_becomes_the_sound_and_the_picture_that_were_asked_for(predict, capsys):
    assert predict("press twenty", "--output", "new/hello.wav") == 0
    samples, rate = audio.read("new/hello.wav")
    assert rate == RATE and len(samples) > 0 and np.abs(samples).max() <= 1
    assert "press twenty" in Path("new/hello.svg").read_text()
    assert "hello.wav" in capsys.readouterr().out


def test_several_texts_are_a_file_each_and_the_same_text_the_same_file(predict):
    texts = ["room two is ready", "press twenty"]
    assert predict(*texts, "--output", "rows.csv") == 0
    sounds = sorted(path.name for path in Path().glob("*.wav"))
    assert len(sounds) == 2 and sounds[0].startswith("press-twenty-") and "sound" in Path("rows.csv").read_text()
    before = Path(sounds[0]).read_bytes()
    assert predict("press twenty", "--output", "again.wav") == 0
    assert Path("again.wav").read_bytes() == before


def test_a_voice_that_was_never_heard_pausing_pauses_as_it_ends_and_begins(predict, voice, capsys):
    assert teacher.PAUSE not in voice.fitted.phonemes
    assert predict("press twenty, room two is ready", "--output", "x.wav") == 0
    assert "t i > < ɹ" in capsys.readouterr().out.replace("ˈ", "")


@pytest.mark.parametrize("known", ["<>ab", "<>ab_"])
def test_a_voice_that_has_paused_pauses_as_it_was_read(known):
    assert "".join(teacher.pausing("<ab__a>", known)) == ("<ab__a>" if "_" in known else "<ab><a>")


def test_a_text_without_words_is_named_and_the_others_are_spoken(predict, capsys):
    assert predict("press twenty", "...") == 65
    assert "nothing to say in '...'" in capsys.readouterr().err
    assert len(list(Path().glob("*.wav"))) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["press twenty", "--output", "x.mp3"], "let it end in .wav"),
        (["press twenty", "room two is ready", "--output", "x.wav"], "made of one input"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_sentence(predict, capsys, words, reason):
    assert predict(*words) in (2, 65)
    said = capsys.readouterr().err
    assert reason in said and "Traceback" not in said
    assert not list(Path().glob("x.*"))


def test_a_text_that_needs_more_room_than_the_voice_has_is_refused(voice, tmp_path):
    short = replace(voice, fitted=replace(voice.fitted, frames=9))
    with pytest.raises(UsageError, match=r"more than the 0\.1 seconds this voice can say at once"):
        recipe.produce(short, "room two is ready", tmp_path / "x.wav")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_learnt_from_whole_and_every_phoneme_lasts(voice):
    (part,) = recipe.experiment(voice.config, voice.fitted).train.parts
    assert len(part["sizes"]) == len(TEXTS)
    np.testing.assert_array_equal((part["duration"] > 0).sum(1), part["sizes"])


def test_a_speaker_who_is_never_heard_in_training_is_named(folder, tmp_path):
    lines = (folder / "transcripts.csv").read_text().splitlines()
    rows = [f"{folder}/{line},{'ann' if line.endswith('test') else 'ben'}" for line in lines[1:]]
    (tmp_path / "transcripts.csv").write_text("\n".join([lines[0] + ",speaker", *rows]) + "\n")
    with pytest.raises(DataError, match="ann speaks in validation or test only"):
        recipe.experiment(with_knobs(recipe.Config(), {**SMALL, "data.path": tmp_path}))


def test_a_judge_that_cannot_listen_is_refused_before_anything_is_trained(voice, tmp_path):
    runs.make_run(tmp_path / "run", runs.Config(model="gnmt"), experiment="translation")
    with pytest.raises(ConfigError, match="no run of recognition"):
        recipe.main(replace(voice.config, judge=tmp_path / "run"), None)


def test_a_speaker_who_is_not_there_is_refused_before_anything_is_trained(voice):
    with pytest.raises(ConfigError, match="--speaker ann is not among the speakers"):
        recipe.experiment(replace(voice.config, speaker="ann"))


def test_a_judge_that_has_heard_the_voice_with_another_accent_is_refused(voice, monkeypatch):
    """Recognition calls the voice m2, synthesis en-us+m2."""
    knobs = {"data.voices": ("en-us+m2",), "data.sentences": 24, "data.phrases": 0, "data.held": 4}
    config = with_knobs(recipe.Config(), {**SMALL, **knobs, "durations": "true", "judge": voice.folder})
    monkeypatch.setattr("deeplearn.trained.recipe_of", lambda folder: (catalog.load("recognition"), None))
    monkeypatch.setattr("deeplearn.trained.refuse_unended", lambda folder: None)
    monkeypatch.setattr(
        "deeplearn.trained.load", lambda folder: replace(voice, fitted=SimpleNamespace(speakers=("m2",)))
    )
    with pytest.raises(ConfigError, match="has heard en-us\\+m2"):
        recipe.main(config, None)
