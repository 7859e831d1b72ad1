"""Weights that other people trained, as NumPy arrays by name: `.safetensors`, and PyTorch's `.pth` without PyTorch.

A `.pth` is a pickle, and a pickle is a program. This one may build ordered dictionaries and tensors and call nothing
else, so an untrusted file can at worst be refused.
"""

import collections
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from deeplearn.errors import DataError

Weights = dict[str, np.ndarray]

LEGACY = 0x1950A86A20F9469CFC6C
"""The number that the files of `torch.save` before version 1.6 begin with."""
STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
SAFE = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read_weights(path: str | Path) -> Weights:
    """Every tensor of a `.safetensors`, `.pth` or `.pt` file (a state dictionary) by its name.

    Raises:
        DataError: the file is missing, damaged, or holds anything but named tensors; nothing in it was run.
    """
    try:
        with Path(path).open("rb") as file:
            if Path(path).suffix == ".safetensors":
                return _safetensors(file)
            return _zipped(file) if zipfile.is_zipfile(file) else _legacy(file)
    except OSError as error:
        raise DataError(f"cannot read the weights {path} ({error.strerror or error}); check the path") from error
    except Exception as error:  # A damaged pickle, archive or header raises many types.
        raise DataError(
            f"{path} does not hold named tensors alone ({error}); "
            "save a state dictionary with torch.save(model.state_dict(), ...) or as safetensors"
        ) from error


class _Storage(NamedTuple):
    """A flat run of values that tensors are views of."""

    dtype: np.dtype
    key: str
    size: int


class _Tensor(NamedTuple):
    """A view into a storage, in values (not bytes)."""

    storage: _Storage
    offset: int
    shape: Sequence[int]
    strides: Sequence[int]


def _tensor(storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_) -> _Tensor:
    """What `torch._utils._rebuild_tensor_v2` is called with; then come requires_grad and hooks."""
    return _Tensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    """Builds ordered dictionaries and tensors, and finds no other name."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in STORAGES:
            return np.dtype(STORAGES[name])
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: tuple) -> _Storage:
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise pickle.UnpicklingError(f"it stores a {kind!r} in an unknown way")
        return _Storage(dtype, str(key), int(size))


def _zipped(file: BinaryIO) -> Weights:
    """The archive of `torch.save` since version 1.6: NAME/data.pkl and a file NAME/data/KEY for each storage."""
    with zipfile.ZipFile(file) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("it is compressed, which torch.save never does")
        index = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(index) != 1:
            raise ValueError(f"it is an archive with {len(index)} files named data.pkl")
        folder = index[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are not little-endian")
        with archive.open(index[0]) as pickled:
            tensors = _named(_Unpickler(pickled).load())
        stored = {
            storage: _values(archive.read(f"{folder}data/{storage.key}"), storage)
            for storage in {tensor.storage for tensor in tensors.values()}
        }
    return {name: _view(stored[tensor.storage], tensor, name) for name, tensor in tensors.items()}


def _legacy(file: BinaryIO) -> Weights:
    """One pickle after the other (a magic number, a version, the machine, the tensors, the keys), then the storages."""
    file.seek(0)
    if _Unpickler(file).load() != LEGACY:
        raise ValueError("it is not a file of torch.save")
    _, machine, state, keys = (_Unpickler(file).load() for _ in range(4))
    if not machine["little_endian"]:
        raise ValueError("its numbers are not little-endian")
    tensors = _named(state)
    known = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    stored = {}
    for key in keys:
        storage = known[key]
        (size,) = struct.unpack("<q", file.read(8))
        if size != storage.size:
            raise ValueError(f"its storage {key} has {size} values instead of {storage.size}")
        stored[storage] = _values(file.read(size * storage.dtype.itemsize), storage)
    return {name: _view(stored[tensor.storage], tensor, name) for name, tensor in tensors.items()}


def _named(state: object) -> Mapping[str, _Tensor]:
    if not isinstance(state, Mapping):
        raise ValueError(f"it holds a {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise ValueError(f"its entry {name!r} is a {type(value).__name__}")
    return state


def _values(data: bytes, storage: _Storage) -> np.ndarray:
    if len(data) != storage.size * storage.dtype.itemsize:
        raise ValueError(f"its storage {storage.key} ends after {len(data)} bytes")
    return np.frombuffer(data, storage.dtype)


def _view(values: np.ndarray, tensor: _Tensor, name: str) -> np.ndarray:
    """A copy of the tensor's values; refuses a view that reaches out of its storage or repeats what is there."""
    shape, strides, offset = tensor.shape, tensor.strides, tensor.offset
    inside = len(shape) == len(strides) and min((*shape, *strides, offset)) >= 0
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=False))
    if not inside or math.prod(shape) > len(values) or (math.prod(shape) and last >= len(values)):
        raise ValueError(f"its entry {name!r} reaches out of its storage")
    if not math.prod(shape):
        return np.empty(shape, values.dtype)
    steps = [stride * values.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps).copy()


def _safetensors(file: BinaryIO) -> Weights:
    """Eight bytes of length, a JSON header {name: {dtype, shape, data_offsets}}, and the values."""
    (length,) = struct.unpack("<Q", file.read(8))
    data = file.read()
    if length > len(data):
        raise ValueError(f"its header of {length} bytes is cut off")
    header, values = json.loads(data[:length]), memoryview(data)[length:]
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, (begin, end) = np.dtype(SAFE[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        if not 0 <= begin <= end <= len(values) or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"its entry {name!r} does not fill its bytes {begin} to {end}")
        found[name] = np.frombuffer(values[begin:end], dtype).reshape(shape).copy()
    return found
