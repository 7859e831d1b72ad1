"""Parallel text of a user's own: the user's split is kept, and what the parts share is said."""

import numpy as np
import pytest

from deeplearn.config import from_json, to_json
from deeplearn.data.doors.pairs import Data, load
from deeplearn.errors import ConfigError, DataError

WORDS = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("ado", "ire", "umo", "esta", "oli")]


def sentences(count, seed=0):
    """Pairs of sentences of invented words that differ from each other."""
    rng = np.random.default_rng(seed)
    drawn = [" ".join(rng.choice(WORDS, 8, replace=False)) for _ in range(count)]
    return drawn, [line.upper() for line in drawn]


def write(folder, name, pairs):
    paths = folder / f"{name}.en", folder / f"{name}.de"
    for path, lines in zip(paths, pairs, strict=True):
        path.write_text("\n".join(lines) + "\n")
    return paths


def test_the_users_own_split_is_kept(tmp_path, capsys):
    parts = {name: sentences(size, i) for i, (name, size) in enumerate({"train": 200, "valid": 20, "test": 30}.items())}
    paths = {name: write(tmp_path, name, pairs) for name, pairs in parts.items()}
    data = Data(source=paths["train"][0], target=paths["train"][1], valid=paths["valid"], test=paths["test"])
    for corpus in (load(data), load(from_json(Data, to_json(data)))):
        for name, own in parts.items():
            assert getattr(corpus, name) == list(zip(*own, strict=True))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("given", ["valid", "test"])
def test_the_part_that_is_not_given_is_made(tmp_path, given):
    source, target = write(tmp_path, "train", sentences(400))
    own = write(tmp_path, given, sentences(30, 1))
    corpus = load(Data(source=source, target=target, **{given: own}))
    made = {"valid": corpus.test, "test": corpus.valid}[given]
    assert len(getattr(corpus, given)) == 30 and 15 <= len(made) <= 25
    assert sorted(corpus.train + made) == sorted(zip(*sentences(400), strict=True))


def test_pairs_on_both_sides_of_the_users_split_are_counted(tmp_path, capsys):
    train, test = sentences(200), sentences(30, 1)
    mixed = tuple(a[:10] + b for a, b in zip(train, test, strict=True))
    paths = write(tmp_path, "train", train)
    load(Data(source=paths[0], target=paths[1], test=write(tmp_path, "test", mixed)))
    assert "10 of 40 test pairs are training pairs, too; results on them will be too good" in capsys.readouterr().err


@pytest.mark.parametrize("honest", [False, True])
def test_equal_pairs_are_on_one_side_of_any_split(tmp_path, capsys, honest):
    source, target = write(tmp_path, "thrice", tuple(side * 3 for side in sentences(300)))
    corpus = load(Data(source=source, target=target, honest=honest))
    assert sum(map(len, corpus)) == 900 and min(map(len, corpus)) > 30
    assert not set(corpus.train) & set(corpus.test) and not set(corpus.train) & set(corpus.valid)
    assert "too good" not in capsys.readouterr().err


def test_own_text_with_mistakes(tmp_path):
    source, target = write(tmp_path, "train", sentences(200))
    with pytest.raises(ConfigError, match="go with files of your own"):
        load(Data(test=(source, target)))
    with pytest.raises(DataError, match=r"200 lines but .* has 30"):
        load(Data(source=source, target=target, test=(source, write(tmp_path, "test", sentences(30))[1])))
