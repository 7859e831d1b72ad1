"""A batch is a pure function of (seed, step); one pass holds every example once."""

import itertools
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplearn.data.source import Arrays, Records, prefetch
from deeplearn.errors import ConfigError, DataError

sizes = st.integers(1, 40)
batches = st.integers(1, 50)
SOURCES = ["arrays", "records"]


def source(kind, size, batch, **fields):
    x = np.arange(size, dtype=np.float32)[:, None] * np.float32([1, 10])
    if kind == "arrays":
        return Arrays(columns={"x": x}, batch=batch, **fields)
    return Records(records=[{"x": row} for row in x], batch=batch, threads=2, **fields)


def equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], strict=True)


@pytest.mark.parametrize("kind", SOURCES)
@settings(max_examples=25, deadline=None)
@given(size=sizes, batch=batches, seed=st.integers(0, 2**32))
def test_every_epoch_is_an_exact_permutation(kind, size, batch, seed):
    data = source(kind, size, batch, seed=seed)
    steps = -(-3 * size // batch)
    seen = np.concatenate([data.at(step)["index"] for step in range(steps)])
    epochs = seen[: 3 * size].reshape(3, size)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(size), (3, 1)))


@pytest.mark.parametrize("kind", SOURCES)
@settings(max_examples=25, deadline=None)
@given(size=sizes, batch=batches)
def test_one_pass_has_every_example_once_and_one_shape(kind, size, batch):
    found = list(source(kind, size, batch).once())
    assert {one["x"].shape for one in found} == {(batch, 2)}
    rows = np.concatenate([one["index"][one["mask"] == 1] for one in found])
    np.testing.assert_array_equal(rows, np.arange(size))
    assert sum(one["mask"].sum() for one in found) == size


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("size", [7, 30])
def test_processes_share_the_same_global_batch(kind, count, size):
    whole = source(kind, size, 12, seed=3)
    parts = [replace(whole, process_index=i, process_count=count) for i in range(count)]
    for step in (0, 1, 5, 10**6):
        slices = [part.at(step) for part in parts]
        equal(whole.at(step), {name: np.concatenate([one[name] for one in slices]) for name in slices[0]})
    for all_rows, *slices in zip(whole.once(), *(part.once() for part in parts), strict=True):
        equal(all_rows, {name: np.concatenate([one[name] for one in slices]) for name in slices[0]})


@pytest.mark.parametrize("kind", SOURCES)
def test_columns_belong_to_their_index_and_types_are_fixed(kind):
    batch = source(kind, 20, 8).at(4)
    np.testing.assert_array_equal(batch["x"][:, 0], batch["index"])
    assert batch["mask"].dtype == np.float32 and batch["index"].dtype == np.int32
    assert batch["mask"].shape == batch["index"].shape == (8,)


@pytest.mark.parametrize("kind", SOURCES)
def test_order_depends_on_seed_and_epoch_only(kind):
    first, again, other = (source(kind, 100, 100, seed=seed) for seed in (1, 1, 2))
    equal(first.at(3), again.at(3))
    assert (first.at(0)["index"] != first.at(1)["index"]).any()
    assert (first.at(0)["index"] != other.at(0)["index"]).any()


def test_rows_are_the_index_of_the_batch():
    data = source("arrays", 10, 4, process_index=1, process_count=2)
    for step in range(10):
        np.testing.assert_array_equal(data.rows(step), data.at(step)["index"], strict=True)


@pytest.mark.parametrize(
    "columns", [{}, {"x": np.zeros(0)}, {"x": np.zeros(2), "y": np.zeros(3)}, {"mask": np.ones(2)}]
)
def test_unusable_columns_are_refused(columns):
    with pytest.raises(DataError):
        Arrays(columns=columns, batch=1)


@pytest.mark.parametrize("kind", SOURCES)
def test_batch_has_to_divide_among_processes(kind):
    with pytest.raises(ConfigError, match=r"batch of 3 .* 2 processes"):
        source(kind, 10, 3, process_count=2)


@pytest.mark.parametrize("kind", SOURCES)
def test_fingerprint_knows_content_not_batch_or_process(kind):
    data = source(kind, 300, 4, name="things", version="2")
    print_ = data.fingerprint()
    assert print_ | {"sha256": ""} == {"name": "things", "version": "2", "size": 300, "sha256": ""}
    assert replace(data, batch=6, seed=9, process_count=3).fingerprint() == print_
    assert source(kind, 301, 4, name="things", version="2").fingerprint()["sha256"] != print_["sha256"]


def test_fingerprint_of_memory_knows_every_value():
    columns = {
        "x": np.zeros((2000, 3), np.float32),
        "day": np.zeros(2000, "M8[D]"),
        "town": np.full(2000, "Faro"),
        "label": np.zeros(2000, np.int32),
    }
    before = Arrays(columns=columns, batch=4).fingerprint()
    assert Arrays(
        columns={name: column.copy(order="F") for name, column in columns.items()}, batch=9
    ).fingerprint() == (before)
    seen = {before["sha256"]}
    for name, value in (("x", 1), ("day", np.datetime64("2024-01-01")), ("town", "Oslo"), ("label", 1)):
        changed = columns[name].copy()
        changed[1234] = value
        seen.add(Arrays(columns=columns | {name: changed}, batch=4).fingerprint()["sha256"])
    assert len(seen) == 5


def test_nbytes():
    assert Arrays(columns={"a": np.zeros((3, 2), np.uint8), "b": np.zeros(3, np.int32)}, batch=1).nbytes == 18


def test_random_transform_does_not_depend_on_threads_or_processes():
    def jitter(record, rng):
        return {"x": record["x"] + rng.normal(size=2).astype(np.float32)}

    data = source("records", 9, 6, transform=jitter)
    whole = data.at(7)
    equal(whole, replace(data, threads=1).at(7))
    parts = [replace(data, process_index=i, process_count=2).at(7) for i in range(2)]
    np.testing.assert_array_equal(whole["x"], np.concatenate([part["x"] for part in parts]))
    again = data.at(7 + 9)  # the same places six epochs later: same examples differ in noise
    assert not np.intersect1d(whole["x"], again["x"]).size
    equal(next(data.once()), next(data.once()))


def test_broken_record_is_named():
    def decode(record, rng):
        raise ValueError("no image")

    with pytest.raises(DataError, match=r"record \d of photos cannot be read \(ValueError: no image\)"):
        source("records", 5, 1, transform=decode, name="photos").at(0)


@pytest.mark.parametrize(("start", "stop", "depth"), [(0, 7, 2), (3, 7, 2), (5, 5, 2), (0, 3, 10), (0, 4, 1)])
def test_prefetch_is_at_from_start_to_stop(start, stop, depth):
    data = source("arrays", 10, 4)
    found = list(prefetch(data, start, stop, depth))
    assert len(found) == stop - start
    for step, batch in zip(range(start, stop), found, strict=True):
        equal(batch, data.at(step))


class Counting:
    """A source that remembers what was asked, and fails at step 5."""

    def __init__(self):
        self.asked, self.threads = [], set()

    def at(self, step):
        self.asked.append(step)
        self.threads.add(threading.current_thread())
        if step == 5:
            raise DataError("step 5 is bad")
        return {"step": step}


def test_prefetch_raises_at_the_step_of_the_error_and_after_the_good_batches():
    found = []
    with pytest.raises(DataError, match="step 5 is bad"):
        for batch in prefetch(Counting(), 0, 10):
            found.append(batch["step"])
    assert found == [0, 1, 2, 3, 4]


def test_prefetch_stops_its_one_thread_when_the_consumer_stops():
    data = Counting()
    batches = prefetch(data, 0, 1000, depth=2)
    assert [batch["step"] for batch in itertools.islice(batches, 2)] == [0, 1]
    batches.close()
    assert len(data.threads) == 1 and not data.threads.pop().is_alive()
    assert data.asked == [0, 1, 2, 3][: len(data.asked)]


def test_arrays_need_no_grain():
    import subprocess

    code = "import sys, deeplearn.data.source; assert not {'grain', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
