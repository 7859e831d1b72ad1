"""People are whole on one side; one picture under two names, and pairs that are not there, are named."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from deeplearn.data.doors.faces import Data, load
from deeplearn.errors import ConfigError, DataError

RNG = np.random.default_rng(0)


def album(root, people, count=2):
    for name in people:
        (root / name).mkdir(parents=True)
        for number in range(1, count + 1):
            picture = Image.fromarray(RNG.integers(0, 256, (12, 10), dtype=np.uint8))
            picture.save(root / name / f"{name}_{number:04d}.png")
    return root


def test_folds_test_every_person_once_and_never_learn_from_them(tmp_path):
    faces = load(Data(path=album(tmp_path / "a", ["ann", "bob", "cid", "dan", "eve"]), folds=2, size=(12, 10)))
    assert faces.folds == 2
    held = [set(faces.images.label[faces.held(fold)]) for fold in range(2)]
    assert held == [{0, 1, 2}, {3, 4}]
    train = faces.train(0)
    assert train.classes == ("dan", "eve") and set(train.label) == {0, 1}
    first, second = faces.pairs()[1]
    assert len(first) == 6 and set(faces.images.label[first]) | set(faces.images.label[second]) == {3, 4}
    with pytest.raises(ConfigError, match=r"shows 5 people, too few for --data\.folds 4"):
        load(Data(path=tmp_path / "a"))


def test_orl_has_forty_people_of_ten_pictures():
    faces = load(Data())
    assert faces.images.image.shape == (400, 112, 92, 1) and faces.folds == 4
    assert [len(first) for first, _ in faces.pairs()] == [4950] * 4


def test_given_sides_are_kept_and_a_person_on_both_is_refused(tmp_path):
    album(tmp_path / "a" / "train", ["ann", "bob"])
    album(tmp_path / "a" / "test", ["cid", "dan"])
    faces = load(Data(path=tmp_path / "a"))
    assert faces.folds == 1 and faces.train(0).classes == ("ann", "bob")
    album(tmp_path / "a" / "test", ["ann"])
    with pytest.raises(DataError, match=r"person.*such as ann"):
        load(Data(path=tmp_path / "a"))


def test_one_picture_under_two_names_is_refused(tmp_path):
    root = album(tmp_path / "a", ["ann", "bob", "cid", "dan"])
    (root / "dan" / "copy.png").write_bytes((root / "bob" / "bob_0001.png").read_bytes())
    with pytest.raises(DataError, match="one picture as bob and as dan"):
        load(Data(path=root, folds=2))


def test_lfws_list_of_pairs_is_read_and_wrong_lines_are_named(tmp_path):
    data = Data(path=album(tmp_path / "a", ["ann", "bob", "cid", "dan"]), pairs=tmp_path / "pairs.txt")
    data.pairs.write_text("2\t1\nann\t1\t2\nann\t1\tbob\t2\nbob\t1\t2\nbob\t1\tann\t2\n")
    faces = load(data)
    label, names = faces.images.label, faces.images.classes
    assert [(names[label[i]], names[label[j]]) for i, j in zip(*faces.pairs()[0], strict=True)] == [
        ("ann", "ann"),
        ("ann", "bob"),
    ]
    assert len(faces.pairs()) == 2 and faces.train(0).classes == ("cid", "dan")
    for text, wrong in [
        ("1\nann 1 9\n", "line 2 .* asks for picture 9 of ann"),
        ("1\nann 1 2\nann\n", "line 3 .* is neither"),
        ("ann 1 2\n", "line 1"),
        ("1\n", "lists no pairs"),
    ]:
        data.pairs.write_text(text)
        with pytest.raises(DataError, match=wrong):
            load(data)
    with pytest.raises(DataError, match="cannot read the pairs"):
        load(dataclasses.replace(data, pairs=tmp_path / "absent.txt"))
