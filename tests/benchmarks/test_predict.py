"""Inputs of the benchmark of prediction are as the model's own, without what a batch adds."""

import numpy as np

from benchmarks.predict import drawn


def test_columns_have_the_shapes_and_types_of_the_inputs():
    inputs = {
        "image": {"shape": [8, 8, 1], "dtype": "uint8"},
        "number": {"shape": [3], "dtype": "float32"},
        "mask": {"shape": [], "dtype": "float32"},
    }
    found = drawn(inputs, 5)
    assert {name: (own.shape, own.dtype) for name, own in found.items()} == {
        "image": ((5, 8, 8, 1), np.uint8),
        "number": ((5, 3), np.float32),
    }
