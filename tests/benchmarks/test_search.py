"""The benchmark of search finds what is nearest, and says when its peer is missing."""

import importlib.util

from benchmarks import search


def test_rows_of_both_searches_without_a_peer(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = search.Config(gallery=400, dimensions=8, queries=16, answers=5, clusters=10, lists=8, probes=8, quick=True)
    missing, exact, lists = search._rows(config)
    assert "faiss" in missing["case"]["missing"]
    assert exact["recall"] == lists["recall"] == 1  # Every list is looked at.
    assert exact["case"] == {"name": "exact", "candidate": "ours"} and exact["faster_than"] == {}
