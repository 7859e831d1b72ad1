"""Few shapes for many lengths: little padding, every example its turn, batches by seed and step alone."""

import itertools

import numpy as np
import pytest

from deeplearn.data.buckets import Buckets, bounds, padding


def source(batch=4, **knobs):
    parts = [{"x": np.full((count, width), width) + np.arange(count)[:, None]} for count, width in ((12, 3), (5, 7))]
    return Buckets(parts=parts, batch=batch, **knobs)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_bounds_pad_the_least_of_all_choices(most):
    lengths = [3, 3, 4, 9, 10, 10, 11, 25]
    found = bounds(lengths, most)
    choices = [(*some, 25) for k in range(most) for some in itertools.combinations(sorted({*lengths} - {25}), k)]
    assert padding(lengths, found) == pytest.approx(min(padding(lengths, choice) for choice in choices))


def test_bounds_fit_all_lengths_also_of_many_examples_and_in_steps():
    lengths = np.random.default_rng(0).integers(1, 5000, 2000)
    found = bounds(lengths, 4, step=80)
    assert len(found) == 4
    assert found[-1] >= lengths.max()
    assert all(bound % 80 == 0 for bound in found)
    assert padding(lengths, found) < 0.2


def test_a_cycle_takes_from_each_part_what_it_holds_and_none_comes_again_before_all_came():
    found = source()
    batches = [found.at(step) for step in range(4 * 3)]  # 12 / 4 and round(5 / 4) batches a cycle
    widths = [batch["x"].shape[1] for batch in batches]
    assert all(sorted(widths[start : start + 4]) == [3, 3, 3, 7] for start in (0, 4, 8))
    short = np.concatenate([batch["index"] for batch in batches if batch["x"].shape[1] == 3])
    assert all(sorted(short[start : start + 12]) == list(range(12)) for start in (0, 12, 24))
    long = np.concatenate([batch["index"] for batch in batches if batch["x"].shape[1] == 7])
    assert set(long[:5]) == set(range(12, 17))
    for batch in batches:
        np.testing.assert_array_equal(batch["x"][:, 0] - batch["x"].shape[1], batch["index"] % 12)


def test_batches_are_functions_of_seed_and_step_and_processes_share_them():
    whole, other = source().at(7), source(seed=1)
    np.testing.assert_array_equal(source().at(7)["index"], whole["index"])
    assert any((other.at(step)["index"] != source().at(step)["index"]).any() for step in range(3))
    halves = [source(process_index=i, process_count=2).at(7)["index"] for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), whole["index"])


def test_one_pass_sees_every_example_once():
    found = np.concatenate([batch["index"][batch["mask"] > 0] for batch in source().once()])
    np.testing.assert_array_equal(found, np.arange(17))
    assert source().fingerprint()["size"] == 17
    assert source().described("x") == "12 x 3, 5 x 7"
