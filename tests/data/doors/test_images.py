"""What classical competitors look at: images as they are, or smaller ones of the same rows where they are large."""

import numpy as np
import pytest

from deeplearn.data.doors import images
from deeplearn.data.images import Images, Splits


def splits(side: int) -> Splits:
    rng = np.random.default_rng(side)
    return Splits(
        *(
            Images(
                image=rng.integers(0, 256, (size, side, side, 3), np.uint8),
                label=np.arange(size, dtype=np.int32) % 2,
                classes=("a", "b"),
                name=name,
            )
            for size, name in ((6, "train"), (4, "validation"), (2, "test"))
        )
    )


@pytest.mark.parametrize(("side", "seen"), [(28, 28), (63, 63), (64, 32), (96, 32), (130, 32)])
def test_competitors_see_less_than_sixty_four_pixels_a_side(side, seen, monkeypatch):
    given = splits(side)
    monkeypatch.setattr(images, "digit_photos", lambda: given)
    found = images.compared(images.Data(name="digit-photos"), 0)
    for part, own in zip(found, given, strict=True):
        assert part.image.shape == (len(own.label), seen, seen, 3) and part.image.dtype == np.uint8
        np.testing.assert_array_equal(part.label, own.label)
        by = side // seen
        square = own.image[:, :by, :by].mean((1, 2))
        np.testing.assert_allclose(part.image[:, 0, 0], square, atol=0.5)
