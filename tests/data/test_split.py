"""Splits partition the rows and keep their promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplearn.data.split import folds, grouped, refuse_leak, repeated, stratified
from deeplearn.errors import DataError

shares = st.floats(0.05, 0.95)


def is_partition(kept, held, size):
    return sorted([*kept, *held]) == list(range(size))


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(2, 20), min_size=1, max_size=5), share=shares, seed=st.integers(0, 99))
def test_stratified_takes_the_share_of_every_class(counts, share, seed):
    label = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    kept, held = stratified(label, share, seed)
    assert is_partition(kept, held, len(label))
    for name, count in enumerate(counts):
        taken = (label[held] == name).sum()
        assert 1 <= taken < count and abs(taken - share * count) <= 1


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=12), share=shares, seed=st.integers(0, 99))
def test_grouped_never_splits_a_group(sizes, share, seed):
    groups = np.repeat([f"person {i}" for i in range(len(sizes))], sizes)
    kept, held = grouped(groups, share, seed)
    assert is_partition(kept, held, len(groups)) and len(kept) and len(held)
    refuse_leak(groups[kept], groups[held], "person")


@given(size=st.integers(2, 50), seed=st.integers(0, 9))
def test_folds_hold_every_row_out_once(size, seed):
    parts = list(folds(size, 2, seed))
    assert all(is_partition(kept, held, size) for kept, held in parts)
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(size))


def test_splits_depend_on_the_seed_only():
    label = np.arange(100) % 4
    for split in (stratified, grouped):
        np.testing.assert_array_equal(split(label, 0.25, 1)[1], split(label, 0.25, 1)[1])
    assert (stratified(label, 0.25, 1)[1] != stratified(label, 0.25, 2)[1]).any()


def test_leaks_and_impossible_splits_are_named():
    with pytest.raises(DataError, match=r"2 writer\(s\) are in training and test data alike, such as 2, 3; split by"):
        refuse_leak(np.array([1, 2, 3]), np.array([2, 3, 4]), "writer")
    with pytest.raises(DataError, match="class 7 has one example only"):
        stratified(np.array([1, 1, 7]), 0.5, 0)
    with pytest.raises(DataError, match="one group"):
        grouped(np.zeros(5), 0.5, 0)


def test_repeated_rows_equal_a_slow_search_also_where_nothing_is_known():
    rng = np.random.default_rng(0)
    number = rng.choice([1.0, 2.0, np.nan], 300)
    name = rng.choice(["", "Faro", "Oslo"], 300)
    day = rng.choice(np.array(["2024-01-01", "NaT"], "M8[D]"), 300)
    kept, held = np.arange(20), np.arange(20, 300)
    rows = [(str(a), b, str(c)) for a, b, c in zip(number, name, day, strict=True)]
    found = repeated([number, name, day], kept, held)
    assert found.tolist() == [rows[i] in {rows[j] for j in kept} for i in held]
    assert repeated([np.array([1.0, np.nan, 1.0, np.nan])], [0, 1], [2, 3]).tolist() == [True, True]
