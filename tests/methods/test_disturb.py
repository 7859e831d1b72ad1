"""Disturbances change what they say, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods import sound
from deeplearn.methods.disturb import Disturb, gapped, noisy, warped
from deeplearn.methods.sound import Mel

MEL = Mel()
FRAMES = jnp.int32(60)
KEYS = jax.random.split(jax.random.key(0), 20)


@pytest.fixture(scope="module")
def amplitude():
    time = np.arange(80 * 79) / 8000
    sweep = np.where(time < 0.6, np.sin(2 * np.pi * (300 * time + 900 * time**2)), 0).astype(np.float32)
    return sound.loudness(jnp.asarray(sweep), MEL)


def test_noise_has_the_level_it_is_asked_for(amplitude):
    still = Disturb(room=0.0, band=0.0, quiet=10.0, loud=10.0)
    found = jax.vmap(lambda key: noisy(key, amplitude, FRAMES, still, MEL))(KEYS)
    before, after = (float(jnp.square(x[..., :60, :]).sum(-1).mean()) for x in (amplitude, found))
    assert after / before == pytest.approx(1.1, rel=1e-3)


def test_a_room_adds_a_tail_and_changes_nothing_before(amplitude):
    echo = Disturb(room=1.0, band=0.0, quiet=300.0, loud=300.0)
    click = jnp.zeros_like(amplitude).at[20].set(1.0)
    found = noisy(KEYS[0], click, FRAMES, echo, MEL)
    np.testing.assert_allclose(found[:21], click[:21], atol=1e-6)
    tail = np.asarray(found[21:50]).mean(1)
    assert (np.diff(tail) <= 0).all()
    assert tail[0] > 0


def test_without_changes_a_warp_moves_a_band_by_half_at_most_and_keeps_the_length(amplitude):
    still = Disturb(throat=0.0, pace=0.0, sway=0.0)
    x = jnp.arange(40.0)[None] + jnp.zeros((80, 1))
    found, frames = warped(KEYS[0], x, FRAMES, still)
    assert int(frames) == 60
    assert float(jnp.abs(found - x).max()) <= 0.5
    assert float(jnp.abs(found[0] - found[59]).max()) < 1e-4


def test_a_warp_keeps_the_order_of_events_and_stays_inside(amplitude):
    strong = Disturb(throat=0.0, pace=0.3, sway=0.4)
    clock = jnp.arange(80.0)[:, None] + jnp.zeros((1, 40))
    found, frames = jax.vmap(lambda key: warped(key, clock, FRAMES, strong))(KEYS)
    assert len(set(frames.tolist())) > 5
    for x, count in zip(np.asarray(found)[..., 0], frames.tolist(), strict=True):
        assert 30 < count <= 80
        assert (np.diff(x[:count]) >= 0).all()
        assert x[count - 1] == pytest.approx(59, abs=2)


def test_gaps_are_as_many_and_as_wide_as_asked():
    x = jnp.ones((80, 40))
    hidden = 1 - np.asarray(jax.vmap(lambda key: gapped(key, x, FRAMES, Disturb()))(KEYS))
    columns, rows = hidden.all(1).sum(1), hidden.all(2).sum(1)
    assert columns.max() <= 16 and rows.max() <= 28
    assert columns.max() > 4 and rows.max() > 8
    assert not np.asarray(gapped(KEYS[0], x, FRAMES, Disturb(bands=0, gaps=0)) - x).any()
