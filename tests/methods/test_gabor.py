"""A Gabor function is found as what it is; noise and flat filters are none."""

import numpy as np
import pytest

from deeplearn.methods import gabor

RNG = np.random.default_rng(0)


def wave(side: int, angle: float, cycles: float, bell: float, phase: float) -> np.ndarray:
    """Written down from the definition, in sides of the filter."""
    place = (np.arange(side) + 0.5) / side - 0.5
    x, y = np.meshgrid(place, place)
    along = x * np.cos(angle) + y * np.sin(angle)
    return np.exp(-(x**2 + y**2) / (2 * bell**2)) * np.cos(2 * np.pi * cycles * along + phase)


@pytest.mark.parametrize("angle", [0, np.pi / 4, 5 * np.pi / 8])
def test_a_wave_under_a_bell_is_recognised_with_its_direction(angle):
    found = gabor.fit(np.stack([3 * wave(11, angle, 1.5, 0.25, phase) for phase in (0.3, 1.0, 2.0)]))
    assert found.share.min() > 0.99
    np.testing.assert_allclose(found.orientation, angle)
    np.testing.assert_allclose(found.cycles, 1.5)


def test_noise_is_none_and_a_flat_filter_has_no_share():
    noise = gabor.fit(RNG.normal(size=(200, 11, 11))).share
    assert noise.max() < 0.5
    assert gabor.fit(np.ones((1, 5, 5))).share.tolist() == [0]


def test_a_coloured_filter_is_seen_along_its_colour():
    colour = np.array([0.8, -0.5, 0.3])
    grey = wave(7, 0.5, 1, 0.35, 0)
    kernel = np.stack([grey[..., None] * colour, grey[..., None] * -colour], axis=-1)
    for found in gabor.monochrome(kernel):
        assert abs(np.corrcoef(found.ravel(), grey.ravel())[0, 1]) == pytest.approx(1)
    both = np.concatenate([kernel, RNG.normal(size=(7, 7, 3, 2))], axis=-1)
    assert gabor.share(both) == 0.5
