"""Error rates: equal to jiwer 4.0.0 in rates and in edits."""

import numpy as np
import pytest

from deeplearn.methods.transcripts import edits, interval, rate, scores

JIWER = [
    ("c b c a", "a a c a b a b", (2, 0, 3)),
    ("c c b c b b", "c b a b a a a", (4, 0, 1)),
    ("b c a b c a b", "c c a c b c", (1, 2, 1)),
    ("c a b b", "a b b b", (2, 0, 0)),
    ("a b b c b", "b a a c", (1, 2, 1)),
    ("b c a c", "a b a c", (0, 1, 1)),
    ("c c a a c b", "c a b a", (2, 2, 0)),
    ("b c c", "c b b", (1, 1, 1)),
]
"""jiwer 4.0.0: process_words(reference, hypothesis) -> (substitutions, deletions, insertions), also among ties."""


@pytest.mark.parametrize(("reference", "hypothesis", "counts"), JIWER)
def test_the_edits_are_those_of_jiwer(reference, hypothesis, counts):
    assert edits(reference.split(), hypothesis.split())[:3] == counts


def test_many_random_edits_are_those_of_jiwer():
    jiwer = pytest.importorskip("jiwer")
    rng = np.random.default_rng(0)
    for _ in range(300):
        reference, hypothesis = (" ".join(rng.choice(list("abc"), rng.integers(1, 9))) for _ in range(2))
        theirs = jiwer.process_words(reference, hypothesis)
        assert edits(reference.split(), hypothesis.split())[:3] == (
            theirs.substitutions,
            theirs.deletions,
            theirs.insertions,
        )


def test_rates_are_edits_over_all_words_of_all_references():
    references, hypotheses = ["book a room", "press two"], ["book room", "press two two now"]
    found = scores(references, hypotheses, ["f1", "m1"])
    assert found["wer"] == pytest.approx(3 / 5)
    assert found["cer"] == pytest.approx((2 + 8) / (11 + 9))
    assert (found["substitutions"], found["deletions"], found["insertions"]) == (0, 1, 2)
    assert found["utterance_wer"].groups.tolist() == ["f1", "m1"]


def test_silence_and_babble_are_counted():
    assert edits("abc", "") == (0, 3, 0, 3)
    assert edits("", "ab") == (0, 0, 2, 0)


def test_the_interval_is_over_speakers():
    """Many utterances of two speakers, one always right and one always wrong, are two observations."""
    counts = np.array([[0, 0, 0, 10]] * 50 + [[10, 0, 0, 10]] * 50)
    low, high = interval(counts, ["a"] * 50 + ["b"] * 50)
    assert rate(counts) == 0.5
    assert (low, high) == (0, 1)
