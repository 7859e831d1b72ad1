"""Competitors for images learn, in a setting that the validation part chose, and from as many images as they can."""

from functools import partial

import numpy as np
import pytest

from deeplearn.competitors import images
from deeplearn.competitors.search import search
from deeplearn.data.images import Splits
from deeplearn.data.sets.digits import digits


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(images, "search", partial(search, settings=3))


def small(splits: Splits) -> Splits:
    return Splits(*(part.take(np.arange(120), "small") for part in splits))


@pytest.mark.parametrize("name", images.classifiers())
def test_classifiers_learn_from_pixels(quick, name):
    one = images.classifiers()[name]
    assert images.compete(name, one, small(digits())) > 0.7
    assert images.compete(name, one, small(digits()), choose=True) > 0.7


def test_the_machine_learns_from_as_many_images_as_the_work_allows(quick, monkeypatch):
    seen = []

    class Machine:
        def fit(self, x, y):
            seen.append(len(x))

        def predict(self, x):
            return np.zeros(len(x))

    one = images.classifiers()["RBF-SVM"]._replace(make=lambda setting: Machine())
    monkeypatch.setattr(images, "WORK", 64 * 100**2)
    monkeypatch.setattr(images, "SEARCHED", 64 * 10**2)
    images.compete("machine", one, small(digits()))
    assert seen == [10, 10, 10, 100]
