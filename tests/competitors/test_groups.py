"""Groups on a map: of many points some are mapped, and the others follow the nearest of them."""

import numpy as np
import pytest

from deeplearn.competitors.groups import on_map
from deeplearn.methods.clustering import flattened, gaussians


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 60)
    return (10 * np.eye(3)[truth] + rng.normal(size=(180, 3))).astype(np.float32), truth


def same(labels, truth):
    """Whether two groupings are one, whatever the groups are called."""
    return len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == len(set(truth.tolist()))


def test_a_map_of_some_points_groups_all_of_them(clouds, capsys):
    points, truth = clouds
    labels = on_map(points, 3, np.arange(180), 0, most=90)
    assert labels.shape == (180,) and same(labels, truth)
    assert "learns from 90 of 180 points" in capsys.readouterr().err


def test_a_map_of_all_points_is_what_it_was(clouds, capsys):
    points, _ = clouds
    rows = np.random.default_rng(1).integers(0, 180, 180)  # a bootstrap sample: rows repeat
    flat = flattened(points, 0)
    wanted = gaussians(flat[np.sort(rows)], 3, 0)(flat)
    assert same(on_map(points, 3, np.sort(rows), 0), wanted)
    assert not capsys.readouterr().err
