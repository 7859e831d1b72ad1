"""Exact search equals sorting, also over devices; inverted lists find what they looked at."""

import jax
import numpy as np
import pytest

from deeplearn.errors import UsageError
from deeplearn.methods import search
from deeplearn.methods.ranking import unit

RNG = np.random.default_rng(0)
# Whole numbers, so that products are exact and equal ones occur.
GALLERY = RNG.integers(-2, 3, (700, 6)).astype(np.float32)
QUERIES = RNG.integers(-2, 3, (300, 6)).astype(np.float32)


def sorted_out(k):
    near = QUERIES @ GALLERY.T
    order = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(near, order, 1), order


@pytest.mark.parametrize("k", [1, 10, 700])
def test_exact_search_is_sorting_and_equal_products_go_by_index(k):
    found, (value, index) = search.exact(QUERIES, GALLERY, k), sorted_out(k)
    np.testing.assert_array_equal(found.value, value)
    np.testing.assert_array_equal(found.index, index)


def test_a_gallery_spread_over_devices_gives_the_same_answers():
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4])
    found, (value, index) = search.sharded(QUERIES, GALLERY, 10, mesh), sorted_out(10)
    np.testing.assert_array_equal(found.value, value)
    np.testing.assert_array_equal(found.index, index)


def test_the_approximate_search_reaches_the_recall_it_was_asked_for():
    found = search.approximate(unit(QUERIES), unit(GALLERY), 10, recall=0.9)
    assert search.recall(found, search.exact(unit(QUERIES), unit(GALLERY), 10)) >= 0.9


def test_inverted_lists_hold_everything_once_and_all_of_them_are_the_exact_search():
    gallery = unit(RNG.normal(size=(500, 8))).astype(np.float32)
    queries = unit(RNG.normal(size=(40, 8))).astype(np.float32)
    lists = search.inverted(gallery, 20)
    np.testing.assert_array_equal(np.sort(np.concatenate(lists.members)), np.arange(500))
    true = search.exact(queries, gallery, 5)
    everything, products = search.probe(queries, gallery, lists, 5, probes=20)
    np.testing.assert_array_equal(everything.index, true.index)
    np.testing.assert_allclose(everything.value, true.value, atol=1e-6)
    assert products == 520
    some, fewer = search.probe(queries, gallery, lists, 5, probes=6)
    assert fewer < 250 and 0.5 < search.recall(some, true) < 1


def test_lists_that_cannot_answer_say_so():
    gallery = np.eye(4, dtype=np.float32)
    lists = search.Lists(gallery, [np.array([i]) for i in range(4)])
    found, _ = search.probe(gallery[:1], gallery, lists, 3, probes=1)
    np.testing.assert_array_equal(found.index, [[0, -1, -1]])
    with pytest.raises(UsageError, match="5 answers were asked for from a gallery of 4"):
        search.exact(gallery, gallery, 5)
