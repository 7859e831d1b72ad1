"""Exemplars are cut out where a unit answers, of the pictures that it answers to most."""

import numpy as np

from deeplearn.methods.exemplars import exemplars


def test_the_part_around_the_answer_is_shown_the_strongest_first():
    pictures = np.zeros((4, 32, 32, 1))
    maps = np.random.default_rng(0).uniform(0, 0.1, (4, 16, 16, 3))
    for number, (row, column, strength) in enumerate([(3, 4, 5.0), (12, 12, 9.0)]):
        pictures[number, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = strength
        maps[number, row, column, 1] = strength
    (unit,) = exemplars(maps, pictures, 1, 2)
    assert unit.number == 1
    assert [part.shape for part in unit.parts] == [(16, 16, 1)] * 2
    assert [part.max() for part in unit.parts] == [9, 5]
