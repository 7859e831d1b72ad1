"""What is found in several sizes of a picture is fused as a plain loop over boxes would."""

import jax
import jax.numpy as jnp
import numpy as np

from deeplearn.methods.centres import Detections
from deeplearn.methods.views import SAME, fused, in_sizes


def drawn(seed, count=12):
    """Views of two images with few places and classes, so that many boxes meet; some scores are zero."""
    rng = np.random.default_rng(seed)
    corner = rng.choice([0.0, 30.0, 60.0], (2, count, 2)) + rng.normal(0, 2, (2, count, 2))
    box = np.concatenate([corner, corner + 20 + rng.normal(0, 2, (2, count, 2))], axis=2)
    score = rng.random((2, count)) * (rng.random((2, count)) > 0.2)
    return Detections(
        *map(jnp.asarray, (box.astype(np.float32), score.astype(np.float32), rng.integers(0, 2, (2, count))))
    )


def overlap(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = np.prod(np.maximum(high - low, 0))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def one_by_one(views, image):
    """[(score, label, box)] of the objects of one image, the surest first."""
    each = [(v, *(np.asarray(part)[image] for part in own)) for v, own in enumerate(views)]
    found = [(s, v, k, b) for v, box, score, label in each for b, s, k in zip(box, score, label, strict=True)]
    found.sort(key=lambda one: -one[0])
    objects = []
    while found:
        _, _, label, head = found[0]
        same = [n == 0 or (one[2] == label and overlap(one[3], head) > SAME) for n, one in enumerate(found)]
        mine, found = [[one for one, own in zip(found, same, strict=True) if own == side] for side in (True, False)]
        surest = {}
        for one in mine:
            surest.setdefault(one[1], one)
        total = sum(one[0] for one in surest.values())
        if total > 0:
            mean = sum(one[0] * one[3] for one in surest.values()) / total
            objects.append((total / len(views), label, mean))
    return sorted(objects, key=lambda one: -one[0])


def test_fused_as_one_by_one():
    fuse = jax.jit(lambda *views: fused(views, 36))
    for seed in range(20):
        views = [drawn(3 * seed + number) for number in range(3)]
        found = jax.tree.map(np.asarray, fuse(*views))
        for image in range(2):
            expected = one_by_one(views, image)
            real = int((found.score[image] > 0).sum())
            assert real == len(expected)
            np.testing.assert_allclose(found.score[image][:real], [one[0] for one in expected], rtol=1e-5)
            assert found.label[image][:real].tolist() == [one[1] for one in expected]
            np.testing.assert_allclose(found.box[image][:real], [one[2] for one in expected], rtol=1e-4, atol=1e-4)


def test_boxes_come_back_in_the_pixels_of_the_picture():
    """A finder that tells where the bright square is, in whatever picture it is shown."""

    def find(image):
        bright = image[..., 0] > 128
        sides = [bright.any(axis) for axis in (1, 2)]  # over rows: [B, W]; over columns: [B, H]
        low = [side.argmax(1) for side in sides]
        high = [side.shape[1] - side[:, ::-1].argmax(1) for side in sides]
        box = jnp.stack([*low, *high], axis=1).astype(jnp.float32)[:, None]
        return Detections(box, jnp.ones((len(image), 1)), jnp.zeros((len(image), 1), int))

    image = jnp.zeros((1, 64, 96, 3)).at[:, 16:32, 40:64].set(255)
    for sizes in ((1.5,), (1.0, 1.5, 2.0)):
        found = jax.jit(lambda image, sizes=sizes: in_sizes(find, image, sizes, 5))(image)
        np.testing.assert_allclose(found.box[0, 0], [40, 16, 64, 32], atol=0.7)
        assert found.score[0].tolist() == [1.0] + [0.0] * (len(found.score[0]) - 1)
