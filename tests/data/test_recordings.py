"""A user's recordings: what is wrong is named, and people are not on both sides of the split."""

import numpy as np
import pytest

from deeplearn.data import audio
from deeplearn.data.recordings import folder
from deeplearn.data.speech import normalised
from deeplearn.errors import DataError

RATE = 8000


def tone(seconds=0.5, level=0.3, number=0):
    return level * np.sin(2 * np.pi * (300 + 20 * number) * np.arange(int(RATE * seconds)) / RATE)


@pytest.fixture
def root(tmp_path):
    """Five people who say four numbers each."""
    lines = ["file,text,speaker"]
    for number, (who, word) in enumerate((who, word) for who in "abcde" for word in ("One", "two", "three", "four!")):
        audio.write(tmp_path / f"{number}.wav", tone(number=number), RATE)
        lines.append(f"{number}.wav,{word},{who}")
    (tmp_path / "transcripts.csv").write_text("\n".join(lines))
    return tmp_path


def add(root, name, samples, rate=RATE, text="five", speaker="e"):
    audio.write(root / name, samples, rate)
    with (root / "transcripts.csv").open("a") as table:
        table.write(f"\n{name},{text},{speaker}")


def test_whole_speakers_are_held_out_and_texts_are_normalised(root):
    corpus, findings = folder(root, RATE, seed=0, longest=10)
    sides = [corpus.train, corpus.valid["valid"], corpus.tests["test"]]
    people = [{utterance.speaker for utterance in side} for side in sides]
    assert sum(map(len, sides)) == 20
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    assert {utterance.text for side in sides for utterance in side} == {"one", "two", "three", "four"}
    assert not findings
    assert corpus.train[0].sound.dtype == np.int16


def test_a_split_in_the_table_is_kept_and_what_it_shares_is_said(root):
    text = (root / "transcripts.csv").read_text().splitlines()
    parts = ["split", *["train"] * 10, *["valid"] * 4, *["test"] * 6]
    (root / "transcripts.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(text, parts, strict=True)))
    (root / "19.wav").write_bytes((root / "0.wav").read_bytes())
    corpus, findings = folder(root, RATE, seed=0, longest=10)
    assert [len(corpus.train), len(corpus.valid["valid"]), len(corpus.tests["test"])] == [10, 4, 6]
    assert findings == ["1 recordings of the test are in the training, too"]


def test_odd_recordings_are_named(root):
    add(root, "silent.wav", tone(level=0.0))
    add(root, "long.wav", tone(seconds=11))
    add(root, "loud.wav", np.clip(tone(level=3), -1, 1))
    add(root, "telephone.wav", tone(), rate=4000)
    corpus, findings = folder(root, RATE, seed=0, longest=10)
    assert sum(len(side) for side in (corpus.train, corpus.valid["valid"], corpus.tests["test"])) == 22
    for name, words in {
        "silent": "silent, and left out",
        "long": "longer than 10 s, and left out",
        "loud": "clipped",
        "telephone": "4000 Hz",
    }.items():
        assert any(words in finding and f"{name}.wav" in finding for finding in findings), name


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gone.wav,five,e", r"line 22 names .*gone\.wav"),
        ("0.wav,!?,e", "line 22 has no words"),
        ("notes.txt,five,e", r"notes\.txt is no whole WAV"),
    ],
)
def test_what_is_wrong_in_the_table_is_named_with_its_line(root, line, words):
    (root / "notes.txt").write_text("not a recording")
    with (root / "transcripts.csv").open("a") as table:
        table.write(f"\n{line}")
    with pytest.raises(DataError, match=words):
        folder(root, RATE, seed=0, longest=10)


def test_a_table_without_the_columns_or_no_table_is_an_error(root):
    (root / "transcripts.csv").write_text("file,words\n0.wav,one")
    with pytest.raises(DataError, match="no column 'text'"):
        folder(root, RATE, seed=0, longest=10)
    (root / "transcripts.csv").unlink()
    with pytest.raises(DataError, match=r"no transcripts\.csv"):
        folder(root, RATE, seed=0, longest=10)


def test_the_table_of_ljspeech_is_read(tmp_path):
    for number in range(12):
        audio.write(tmp_path / "wavs" / f"LJ{number}.wav", tone(number=number), RATE)
    rows = [f'LJ{number}|He said "{number}".|He said "it".' for number in range(12)]
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    corpus, _ = folder(tmp_path, RATE, seed=0, longest=10)
    assert {utterance.text for utterance in corpus.train} == {"he said it"}


def test_texts_are_compared_without_case_and_punctuation():
    assert normalised("Don’t — well-known ‘Straße’, No. 5!") == "don't well known strasse no 5"
