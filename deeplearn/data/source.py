"""Batches as a pure function of (seed, step): nothing to save, nothing to rewind, the same on any number of processes.

Epoch e visits the examples in the order of one permutation drawn from (seed, e), and batches run on across the border
of two epochs: every example is seen exactly once an epoch and none is dropped. Resuming is starting at a later step.
With several processes each prepares one contiguous slice of the same global batch.

Every batch carries two columns of its own: `mask` float32 [B], 1 for an example and 0 for padding, and `index` int32
[B], the example's row in its source, from which per-example randomness can be drawn (`fold_in(key, index)`).
"""

import collections
import concurrent.futures
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from deeplearn.errors import ConfigError, DataError

Batch = dict[str, np.ndarray]
SAMPLE = 256  # records that a fingerprint hashes where they do not lie in memory, so that they are not all read


class Source(Protocol):
    """What the loop asks of data."""

    batch: int
    """Examples in a batch of all processes together."""

    @property
    def size(self) -> int:
        """Number of examples."""

    def at(self, step: int) -> Batch:
        """This process' slice of the training batch of `step`: columns [B, ...], `mask` and `index` [B]."""

    def once(self) -> Iterator[Batch]:
        """Every example exactly once, in order; the last batch is padded to the full size and its mask says so."""

    def fingerprint(self) -> dict[str, Any]:
        """Name, version, size and a sha256: equal if the data are equal; of records outside memory, of a sample."""


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """A source whose columns lie in memory; a batch is one gather by row numbers.

    Raises:
        DataError: the columns are empty or differ in length, or one has the name of a column we add.
        ConfigError: the batch does not divide among the processes.
    """

    columns: Mapping[str, np.ndarray]
    """Equally long arrays [N, ...], by name."""
    batch: int
    """Examples in a batch of all processes together."""
    seed: int = 0
    """Draws the order of every epoch."""
    name: str = "arrays"
    """Name of the data set, for the fingerprint."""
    version: str = "1"
    """Version of the data set, for the fingerprint."""
    derived: tuple[str, ...] = ()
    """Columns that a model computed, such as soft labels: no part of the data's fingerprint."""
    process_index: int = 0
    """Which slice of the global batch is ours."""
    process_count: int = 1
    """How many processes share a batch."""

    def __post_init__(self):
        sizes = {name: len(column) for name, column in self.columns.items()}
        if len(set(sizes.values())) != 1 or not max(sizes.values()):
            raise DataError(f"columns of {self.name} need one common length above zero, these have {sizes}")
        _check(self, self.columns)

    @property
    def size(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns.values())

    def rows(self, step: int) -> np.ndarray:
        """Row numbers of this process' slice of the batch of `step`: int32 [B / process_count]."""
        places = _places(self, step)
        epochs = places // self.size
        rows = np.empty(len(places), np.int32)
        for epoch in range(epochs[0], epochs[-1] + 1):
            now = epochs == epoch
            rows[now] = _permutation(self.seed, epoch, self.size)[places[now] % self.size]
        return rows

    def at(self, step: int) -> Batch:
        return self._take(self.rows(step))

    def once(self) -> Iterator[Batch]:
        for rows, mask in _in_order(self):
            yield self._take(rows) | {"mask": mask}

    def fingerprint(self) -> dict[str, Any]:
        given = {name: column for name, column in self.columns.items() if name not in self.derived}
        return _fingerprint(self, [given])  # all of it: about half a second a GB

    def _take(self, rows: np.ndarray) -> Batch:
        taken = {name: np.take(column, rows, axis=0) for name, column in self.columns.items()}
        return taken | {"mask": np.ones(len(rows), np.float32), "index": rows}


@dataclass(frozen=True, kw_only=True)
class Records:
    """A source of records read one by one (files, ArrayRecord): for data that do not fit into memory. Needs `grain`.

    Grain permutes without storing a permutation and gives every visit of an example its own random generator, which
    does not depend on the number of processes or threads.
    """

    records: Sequence[Mapping[str, Any]]
    """Random access: `len(records)` and `records[i] -> {name: array}`, such as a TFDS data source."""
    batch: int
    """Examples in a batch of all processes together."""
    transform: Callable[[Mapping[str, Any], np.random.Generator], Mapping[str, Any]] | None = None
    """Makes one record into the columns of one example [...], such as decoding and cropping; may be random."""
    seed: int = 0
    """Draws the order of every epoch and the generators given to `transform`."""
    threads: int = 8
    """Records read at the same time; reading and image decoding release the interpreter."""
    name: str = "records"
    """Name of the data set, for the fingerprint and for errors."""
    version: str = "1"
    """Version of the data set, for the fingerprint."""
    process_index: int = 0
    """Which slice of the global batch is ours."""
    process_count: int = 1
    """How many processes share a batch."""

    def __post_init__(self):
        if not len(self.records):
            raise DataError(f"{self.name} holds no records")
        _check(self, ())

    @property
    def size(self) -> int:
        return len(self.records)

    def at(self, step: int) -> Batch:
        places = _places(self, step)
        examples = self._read(self._epochs.__getitem__, places.tolist())
        return _stack(examples, np.ones(len(places), np.float32))

    def once(self) -> Iterator[Batch]:
        for rows, mask in _in_order(self):
            yield _stack(self._read(self._example, rows.tolist()), mask)

    def fingerprint(self) -> dict[str, Any]:
        return _fingerprint(self, (self.records[row] for row in _sample(self.size)))

    @functools.cached_property
    def _epochs(self):
        """All epochs as one long random-access sequence of examples."""
        import grain

        numbers = grain.MapDataset.range(self.size).seed(self.seed).shuffle()
        # Infinite repetition overflows Grain's 64-bit length; a million epochs are as good.
        return numbers.repeat(10**6).random_map(self._example)

    def _example(self, row: int, rng: np.random.Generator | None = None) -> dict[str, Any]:
        try:
            record = self.records[row]
            if self.transform:
                record = self.transform(record, rng or np.random.default_rng([self.seed, row]))
        except Exception as error:
            raise DataError(f"record {row} of {self.name} cannot be read ({type(error).__name__}: {error})") from error
        return {**record, "index": np.int32(row)}

    def _read(self, read: Callable[[int], dict[str, Any]], places: list[int]) -> list[dict[str, Any]]:
        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(read, places))


def prefetch(source: Source, start: int, stop: int, depth: int = 2) -> Iterator[Batch]:
    """Yields `source.at(step)` for start <= step < stop while one thread prepares the next `depth` batches.

    An error of the source is raised at the step it belongs to. The thread ends with the generator, also when the
    consumer stops early.
    """
    with concurrent.futures.ThreadPoolExecutor(1, "prefetch") as thread:
        ahead = collections.deque(thread.submit(source.at, step) for step in range(start, min(start + depth, stop)))
        try:
            for step in range(start, stop):
                batch = ahead.popleft().result()
                if step + depth < stop:
                    ahead.append(thread.submit(source.at, step + depth))
                yield batch
        finally:
            thread.shutdown(wait=True, cancel_futures=True)


@functools.lru_cache(maxsize=32)  # for as many seeds in one program; a batch needs one epoch, rarely two
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    order = np.random.default_rng([seed, epoch]).permutation(size).astype(np.int32)
    order.flags.writeable = False
    return order


def _check(source: Arrays | Records, names: Sequence[str]) -> None:
    if reserved := {"mask", "index"}.intersection(names):
        raise DataError(f"{source.name} has a column named {min(reserved)!r}, which every batch adds itself; rename it")
    if source.batch < 1 or source.batch % source.process_count:
        raise ConfigError(f"a batch of {source.batch} does not divide among {source.process_count} processes")


def _slice(source: Arrays | Records) -> slice:
    """This process' part of the global batch."""
    share = source.batch // source.process_count
    return slice(source.process_index * share, (source.process_index + 1) * share)


def _places(source: Arrays | Records, step: int) -> np.ndarray:
    """Places of this process' examples in the endless sequence of epochs: int64 [B / process_count]."""
    return int(step) * source.batch + np.arange(source.batch, dtype=np.int64)[_slice(source)]


def _in_order(source: Arrays | Records) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows int32, mask float32) of every batch of one pass; padding repeats the last row under a mask of 0."""
    for start in range(0, source.size, source.batch):
        rows = start + np.arange(source.batch)[_slice(source)]
        yield np.minimum(rows, source.size - 1).astype(np.int32), (rows < source.size).astype(np.float32)


def _stack(examples: list[dict[str, Any]], mask: np.ndarray) -> Batch:
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]} | {"mask": mask}


def _sample(size: int) -> list[int]:
    return np.linspace(0, size - 1, min(size, SAMPLE)).astype(int).tolist()


def _fingerprint(source: Arrays | Records, parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for part in parts:
        _digest(digest, part)
    return {"name": source.name, "version": source.version, "size": source.size, "sha256": digest.hexdigest()}


def _digest(digest, value: Any) -> None:
    """Feeds a nested record, with the type and shape of its arrays, into a hash."""
    if isinstance(value, Mapping):
        for name in sorted(value):
            digest.update(name.encode())
            _digest(digest, value[name])
    elif isinstance(value, list | tuple):
        for part in value:
            _digest(digest, part)
    else:
        array = np.asarray(value, order="C")
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8))  # dates have no buffer of their own
