"""The translation experiment: its three doors for data, its scores, and its presets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.data.sets import number_words
from deeplearn.data.text import load_tokenizer, train_tokenizer
from deeplearn.errors import ConfigError, DataError
from deeplearn.methods.decode import Search
from experiments import translation

PAIRS = number_words.corpus(train=300, held_out=40)


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "a.en", tmp_path / "a.de"
    for side, path in enumerate(paths):
        path.write_text("\n".join(pair[side] for pair in PAIRS.train), encoding="utf-8")
    return paths


def test_own_files_are_split_and_the_parts_share_nothing(files):
    corpus = translation.load(translation.Data(source=files[0], target=files[1], honest=False))
    assert sorted(pair for part in corpus for pair in part) == sorted(PAIRS.train)
    assert len(corpus.valid) == pytest.approx(15, abs=2)


def test_own_files_that_will_not_do_are_refused(files, tmp_path):
    with pytest.raises(ConfigError, match="the translations line by line"):
        translation.load(translation.Data(source=files[0]))
    (tmp_path / "few").write_text("eins\nzwei\n", encoding="utf-8")
    with pytest.raises(DataError, match="2 pairs are too few"):
        translation.load(translation.Data(source=tmp_path / "few", target=tmp_path / "few"))


def test_a_prepared_public_set_is_read_by_name(tmp_path, monkeypatch):
    tensorflow_datasets = pytest.importorskip("tensorflow_datasets")
    from deeplearn.data import tfds

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    text = tensorflow_datasets.features.Text()
    parts = zip(("train", "validation", "test"), PAIRS, strict=True)
    records = {split: [{"en": a, "de": b} for a, b in pairs[:20]] for split, pairs in parts}
    tfds.write("number_words", {"en": text, "de": text}, records)
    corpus = translation.load(translation.Data(tfds="number_words"))
    assert corpus == tuple(pairs[:20] for pairs in PAIRS)
    with pytest.raises(ConfigError, match="holds de and en, not en and fr"):
        translation.load(translation.Data(tfds="number_words", language="fr"))


def test_references_score_100_and_others_less():
    pairs = [
        (f"{a[0]} {b[0]}", f"{a[1]} oder {b[1]}, vielleicht {a[1]}")
        for a, b in zip(PAIRS.valid, PAIRS.test, strict=True)
    ]
    tokenizer = load_tokenizer(train_tokenizer([line for pair in pairs for line in pair], 100))
    evaluation = translation.evaluation(pairs, tokenizer, 128, "test")
    columns = {"index": list(range(len(pairs)))}
    tokens = evaluation.source.columns["target"]
    found = evaluation.score(Search(tokens, np.zeros(len(tokens))), columns)
    each = found.pop("sentence_chrf").values
    assert found == pytest.approx({"bleu": 100, "chrf": 100, "exact": 100})
    np.testing.assert_allclose(each, 100)
    worse = evaluation.score(Search(tokens[::-1], np.zeros(len(tokens))), columns)
    assert worse["bleu"] < 50 and worse["exact"] < 10
    lengths = (evaluation.source.columns["source"] > 0).sum(1)
    assert (lengths[1:] >= lengths[:-1]).all()


def test_signatures_say_how_the_scores_were_made():
    assert "tok:13a" in translation.signatures()["bleu"]
    assert "case:mixed" in translation.signatures()["chrf"]


@pytest.mark.parametrize("name, millions", [("transformer-base", 63), ("gnmt-paper", 210)])
def test_presets_of_the_papers_have_their_size(name, millions):
    vocabulary = 37000 if name == "transformer-base" else 32000
    model = translation.build(translation.PRESETS[name], vocabulary)
    tokens = jnp.ones((1, 4), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)
    assert sum(x.size for x in jax.tree.leaves(shapes)) / 1e6 == pytest.approx(millions, rel=0.05)
