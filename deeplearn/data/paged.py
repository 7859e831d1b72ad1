"""Arrays larger than the memory of a process, of which several may share a machine.

Beyond `HELD` bytes an array lies in a file without a name, in the folder for temporary files (TMPDIR). The system holds
the pages that are in use, such as the rows of the next batch, and takes them back where memory is short. Where that
folder has no room, the array is in memory after all, which is said.
"""

import itertools
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from deeplearn.errors import note

HELD = 2**28
"""Bytes of an array in memory, 256 MiB: larger than CIFAR-10, and few enough for the parts of one data set."""
SEGMENT = 2**26
"""Bytes of a file that holds small arrays, 64 MiB: the system allows some 60,000 of them."""


def zeros(shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
    """As `numpy.zeros`."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.zeros(shape, dtype) if size <= HELD else _in_a_file(shape, dtype, size)


def stacked(arrays: Iterable[np.ndarray], count: int) -> np.ndarray:
    """As `numpy.stack`, of so many arrays of one shape and type, one or more, that need not be in memory together."""
    waiting = iter(arrays)
    first = np.asarray(next(waiting))
    whole = zeros((count, *first.shape), first.dtype)
    for row, array in zip(whole, itertools.chain([first], waiting), strict=True):
        if (array.shape, array.dtype) != (first.shape, first.dtype):
            raise ValueError(f"{array.dtype}{list(array.shape)} among {first.dtype}{list(first.shape)}")
        row[...] = array
    return whole


def taken(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """As `array[rows]`, of row numbers [M] or of a mask [N]."""
    rows = np.arange(len(array))[rows]  # also those counted from the end, and an error where there is no such row
    return np.take(array, rows, axis=0, out=zeros((len(rows), *array.shape[1:]), array.dtype), mode="clip")


def joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """As `numpy.concatenate`, of two arrays of one type."""
    whole = zeros((len(first) + len(second), *first.shape[1:]), np.result_type(first, second))
    whole[: len(first)], whole[len(first) :] = first, second
    return whole


class Pool:
    """Keeps many small arrays that are large together."""

    def __init__(self) -> None:
        self._size = 0
        self._room = np.empty(0, np.uint8)

    def kept(self, array: np.ndarray) -> np.ndarray:
        """The same array [...], in memory while all are small, else a copy in a file."""
        self._size += array.nbytes
        if self._size <= HELD:
            return array
        need = -(-array.nbytes // 16) * 16  # the next one begins at a number's border
        if need > len(self._room):
            self._room = _in_a_file((max(SEGMENT, need),), np.uint8, max(SEGMENT, need))
        mine, self._room = self._room[: array.nbytes], self._room[need:]
        copy = mine.view(array.dtype).reshape(array.shape)
        copy[...] = array
        return copy


def _in_a_file(shape: Sequence[int], dtype: DTypeLike, size: int) -> np.ndarray:
    try:
        with tempfile.TemporaryFile() as file:  # without a name: it goes with the process, however that ends
            _reserve(file, size)
            return np.memmap(file, dtype, "r+", shape=tuple(shape)).view(np.ndarray)
    except OSError as error:
        note(
            f"note: {size / 2**30:.2f} GiB of data are held in memory, as temporary files have no room "
            f"({error.strerror}); if memory is short, let TMPDIR name a folder on a larger disk"
        )
        return np.zeros(shape, dtype)


def _reserve(file: Any, size: int) -> None:
    """Take the disk's space now: a full disk would later end the process without a word."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:  # macOS
        file.truncate(size)
