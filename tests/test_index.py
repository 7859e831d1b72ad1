"""An index finds what is alike, grows as if built at once, and refuses codes of another model."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from deeplearn import index
from deeplearn.errors import DataError, StorageError, UsageError


@pytest.fixture
def album(tmp_path, monkeypatch):
    """Twelve plain pictures whose hue turns, and a model that sees the mean colour."""
    for n in range(12):
        colour = [int(127 + 120 * np.cos(2 * np.pi * (n / 12 + part / 3))) for part in range(3)]
        Image.new("RGB", (9, 7), tuple(colour)).save(tmp_path / f"{n:02}.png")
    coder = index.Coder(model="toy", seal="1", shape=(4, 4, 3), codes=lambda pictures: pictures.mean((1, 2)) - 127)
    monkeypatch.setattr(index, "coder", lambda model, trust=False: coder)
    return tmp_path


def names(answers):
    return [answer.image.rpartition("/")[2] for answer in answers]


def test_neighbours_of_a_picture_are_found_without_itself(album):
    assert index.build([str(album)], "toy", album / "a.index") == 12
    answers = index.query(album / "a.index", [str(album / "05.png")], k=4)
    assert set(names(answers[:2])) == {"04.png", "06.png"} and set(names(answers[2:])) == {"03.png", "07.png"}
    assert [answer.rank for answer in answers] == [1, 2, 3, 4]
    assert answers[0].similarity >= answers[1].similarity > answers[2].similarity
    assert len(index.query(album / "a.index", [str(album / "05.png")], k=50)) == 11
    index.sheet(answers, album / "sheet.svg")
    assert (album / "sheet.svg").read_text().startswith("<svg")
    with pytest.raises(UsageError, match="is an index already"):
        index.build([str(album)], "toy", album / "a.index")


def test_adding_is_building_at_once(album):
    files = [str(album / f"{n:02}.png") for n in range(12)]
    index.build(files, "toy", album / "whole.index")
    index.build(files[:5], "toy", album / "grown.index")
    assert index.add(album / "grown.index", files[4:]) == 12
    found, expected = (index.query(album / f"{name}.index", files[:3]) for name in ("grown", "whole"))
    assert names(found) == names(expected)


def test_another_model_and_a_damaged_index_are_refused(album, monkeypatch):
    index.build([str(album)], "toy", album / "a.index")
    other = dataclasses.replace(index.coder("toy"), seal="2")
    monkeypatch.setattr(index, "coder", lambda model, trust=False: other)
    with pytest.raises(StorageError, match="other weights"):
        index.query(album / "a.index", [str(album / "00.png")])
    with pytest.raises(StorageError, match="other weights"):
        index.add(album / "a.index", [str(album / "00.png")])
    np.save(album / "a.index" / "codes.npy", np.zeros((12, 3), np.float32))
    with pytest.raises(StorageError, match=r"damaged \(codes\.npy has changed\)"):
        index.query(album / "a.index", [str(album / "00.png")])
    with pytest.raises(UsageError, match="holds no index"):
        index.query(album / "absent", [str(album / "00.png")])
    (album / "empty").mkdir()
    with pytest.raises(DataError, match="stands for no file"):
        index.build([str(album / "empty")], "toy", album / "b.index")
