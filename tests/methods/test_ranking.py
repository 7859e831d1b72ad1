"""Ranking scores equal brute force and scikit-learn; ties go by index, and nothing finds itself."""

import numpy as np
import pytest

from deeplearn.errors import NumericalError
from deeplearn.methods import ranking


def by_hand(codes, label, ks=(1, 5, 10)):
    """The definitions, item by item."""
    codes = codes.astype(np.float64)
    codes = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    recall, ap, at_r = {k: [] for k in ks}, [], []
    for i in range(len(codes)):
        others = [j for j in range(len(codes)) if j != i]
        others.sort(key=lambda j: (-np.float32(codes[i] @ codes[j]), j))
        right = [label[j] == label[i] for j in others]
        total = sum(right)
        if not total:
            continue
        precision = [sum(right[: n + 1]) / (n + 1) for n in range(len(right))]
        ap.append(sum(p for p, r in zip(precision, right, strict=True) if r) / total)
        at_r.append(sum(p for p, r in zip(precision[:total], right[:total], strict=True) if r) / total)
        for k in ks:
            recall[k].append(any(right[:k]))
    return {f"recall@{k}": np.mean(recall[k]) for k in ks} | {"map": np.mean(ap), "map@r": np.mean(at_r)}


@pytest.mark.parametrize("ties", [False, True])
def test_scores_equal_brute_force(ties, monkeypatch):
    monkeypatch.setattr(ranking, "BLOCK", 7)  # several blocks, the last one short
    rng = np.random.default_rng(0)
    codes = rng.choice([1.0, 2.0], (40, 3)) if ties else rng.normal(size=(40, 3))
    label = rng.choice(["a", "b", "c", "d"], 40)
    label[3] = "alone"
    found = ranking.scores(ranking.among_themselves(codes, label))
    expected = by_hand(codes, label)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_average_precision_is_scikit_learns():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(1)
    near, relevant = rng.normal(size=(20, 30)), rng.random((20, 30)) < 0.3
    found = ranking.judged(ranking.hits(near, relevant))
    expected = [average_precision_score(r, n) for r, n in zip(relevant, near, strict=True)]
    np.testing.assert_allclose(found.average_precision, np.array(expected)[found.query], atol=1e-12)


def test_equal_similarities_are_ranked_by_index_and_nothing_finds_itself():
    near = np.ones((3, 4))
    relevant = np.eye(4, dtype=bool)[[1, 2, 3]]
    np.testing.assert_array_equal(ranking.hits(near, relevant).argmax(1), [1, 2, 3])
    np.testing.assert_array_equal(ranking.hits(near, relevant, own=np.array([0, 1, 0])).argmax(1), [0, 1, 2])
    copies = np.tile(np.array([[1.0, 0.0]]), (4, 1))
    found = ranking.among_themselves(copies, np.array([0, 1, 1, 2]))
    np.testing.assert_array_equal(found.query, [1, 2])
    np.testing.assert_array_equal(found.first, [1, 1])


def test_codes_that_are_not_numbers_are_refused():
    codes = np.ones((3, 2))
    codes[1, 0] = np.nan
    with pytest.raises(NumericalError, match="such as that of row 1"):
        ranking.unit(codes)
    np.testing.assert_array_equal(ranking.unit(np.zeros((1, 2))), 0)
    assert all(np.isnan(value) for value in ranking.scores(ranking.judged(np.zeros((2, 3), bool))).values())
