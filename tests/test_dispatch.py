"""However a run is cut into dispatches, the same steps run."""

import dataclasses

import jax
import numpy as np
import pytest
from toy import RUN, toy

from deeplearn.dispatch import convolves, dispatcher, reseeded
from deeplearn.errors import ConfigError
from deeplearn.loop import fit
from deeplearn.parallel import make_mesh


def test_other_intervals_of_the_log_give_the_same_bits(tmp_path):
    ends = []
    for log_every in (3, 12):
        run = dataclasses.replace(RUN, log_every=log_every, mesh="data=1")
        ends.append(fit(toy(run), run, tmp_path / str(log_every))[0].params)
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_another_seed_orders_the_same_rows_differently():
    source = toy(RUN).train
    one, other = source.rows(0), reseeded(source, 7).rows(0)
    assert not np.array_equal(one, other)
    everything = [np.sort(np.concatenate([reseeded(source, seed).rows(step) for step in range(8)])) for seed in (0, 7)]
    np.testing.assert_array_equal(*everything)


def test_only_what_convolves_convolves():
    assert not convolves(toy(RUN))


def test_seeds_together_need_data_in_memory(monkeypatch):
    monkeypatch.setattr("deeplearn.dispatch.RESIDENT_BYTES", 0)
    with pytest.raises(ConfigError, match="--together False"):
        dispatcher(toy(RUN), RUN, [0, 1], make_mesh("data=1"), {})
