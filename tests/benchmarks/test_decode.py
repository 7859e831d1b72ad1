"""Peers that translate with our weights find what our own search finds. Each is skipped where it is not installed."""

import dataclasses
import importlib

import pytest

from benchmarks import searches
from deeplearn import catalog, train
from deeplearn.data.sets import number_words
from tests.cases import with_knobs

pytestmark = pytest.mark.slow  # trains


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    recipe = catalog.load("translation")
    config = with_knobs(recipe.Config(), {**recipe.SMOKE, "steps": 20, "workdir": tmp_path_factory.mktemp("run")})
    run = train.train(dataclasses.replace(recipe, baseline=None), config)
    sources = searches.encoded(run, [source for source, _ in number_words.corpus().test[:12]])
    return {"run": str(run), "sources": sources, "beams": 1, "batch": 5, "threads": 1, "type": "float32"}


@pytest.mark.parametrize(
    "package, name, builder", [("ctranslate2", "ctranslate", "search"), ("torch", "search", "greedy")]
)
def test_peers_translate_as_we_do(job, package, name, builder):
    pytest.importorskip(package)
    peer = getattr(importlib.import_module(f"benchmarks.peers.{name}"), builder)
    assert peer(job)[1]["found"] == searches.ours(job)[1]["found"]


def test_sentences_one_by_one_are_translated_as_together(job):
    assert searches.ours(job | {"batch": 1})[1]["found"] == searches.ours(job)[1]["found"]
