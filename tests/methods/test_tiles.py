"""What is put together from parts is what the whole would have given."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from deeplearn.methods.tiles import eightfold, tiled


def blurred(image):
    """Looks five pixels far."""
    return uniform_filter(image, (0, 11, 11, 0))


@pytest.mark.parametrize("shape", [(40, 300), (173, 129), (128, 128)])
def test_tiles_equal_the_whole(shape):
    image = np.random.default_rng(0).random((*shape, 2)).astype(np.float32)
    seen = []

    def watched(part):
        seen.append(part.shape[1:3])
        return blurred(part)

    found = tiled(watched, image, tile=96, margin=5, blend=8)
    np.testing.assert_allclose(found, blurred(image[None])[0], atol=1e-5)
    assert max(max(sides) for sides in seen) <= 96 and len(seen) > 1


def test_a_seam_is_blended_where_the_function_looks_too_far():
    image = np.zeros((64, 400, 1), np.float32)
    number = iter(range(100))
    found = tiled(lambda part: part + next(number), image, tile=128, margin=8, blend=32)
    assert found.max() > 2 and np.abs(np.diff(found, axis=1)).max() < 0.1


def test_eight_positions_are_undone():
    image = np.random.default_rng(0).random((2, 6, 9, 3))
    np.testing.assert_allclose(eightfold(lambda x: x)(image), image)
    slanted = eightfold(lambda x: x * np.arange(x.shape[2]).reshape(1, 1, -1, 1))(np.ones((1, 8, 8, 1)))
    np.testing.assert_allclose(slanted, 3.5)
