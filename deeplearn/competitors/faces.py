"""Classical codes of faces to compare with: pixels, and fisherfaces (Belhumeur, Hespanha & Kriegman, 1997)."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Num

from deeplearn.data.images import shrunk
from deeplearn.methods.ranking import unit

Codes = Float[np.ndarray, "N D"]
Pictures = Num[np.ndarray, "N H W C"]
Method = Callable[[Pictures, Int[np.ndarray, "M"], Int[np.ndarray, "M"]], Codes]
"""(all pictures, rows to learn from, who they show) -> a code of every picture, to be compared by its cosine."""


def methods() -> dict[str, Method]:
    return {"pixels": pixels, "fisherfaces": fisherfaces, "fisherfaces, flips and shifts": moved_fisherfaces}


def pixels(pictures: Pictures, rows: Int[np.ndarray, "M"], label: Int[np.ndarray, "M"]) -> Codes:
    """Grey values less their mean."""
    flat = shrunk(pictures, 2).reshape(len(pictures), -1)
    return unit(flat - flat[rows].mean(0))


def fisherfaces(pictures: Pictures, rows: Int[np.ndarray, "M"], label: Int[np.ndarray, "M"]) -> Codes:
    """A hundred principal components, then linear discriminants of the people."""
    return _discriminants([shrunk(pictures, 2)], rows, label, components=100, shrinkage=0.001, ways=1)


def moved_fisherfaces(pictures: Pictures, rows: Int[np.ndarray, "M"], label: Int[np.ndarray, "M"]) -> Codes:
    """The same, learnt from mirrored and from moved pictures, too (two pixels); codes are added over mirroring."""
    small = shrunk(pictures, 2)
    edges = np.pad(small, ((0, 0), (2, 2), (2, 2), (0, 0)), "edge")
    height, width = small.shape[1:3]
    moves = [(2, 2), (0, 2), (4, 2), (2, 0), (2, 4)]
    moved = [edges[:, i : i + height, j : j + width] for i, j in moves]
    views = [view for one in moved for view in (one, one[:, :, ::-1])]
    return _discriminants(views, rows, label, components=150, shrinkage=0.1, ways=2)


def _discriminants(
    views: list[Float[np.ndarray, "N h w C"]],
    rows: Int[np.ndarray, "M"],
    label: Int[np.ndarray, "M"],
    *,
    components: int,
    shrinkage: float,
    ways: int,
) -> Codes:
    """Learnt from these rows of all views; the code of a picture adds those of its first `ways` views."""
    from sklearn.decomposition import PCA

    flat = [view.reshape(len(view), -1) for view in views]
    learnt, who = np.concatenate([view[rows] for view in flat]), np.tile(label, len(flat))
    components = min(components, len(rows) - len(np.unique(label)))  # what is left must not be singular
    small = PCA(components, svd_solver="randomized", random_state=0).fit(learnt)
    points = small.transform(learnt)
    means = np.stack([points[who == person].mean(0) for person in np.unique(who)])
    within = points - means[np.unique(who, return_inverse=True)[1]]
    scatter = within.T @ within / len(within)
    scatter = (1 - shrinkage) * scatter + shrinkage * np.trace(scatter) / components * np.eye(components)
    values, vectors = np.linalg.eigh(scatter)
    white = vectors / np.sqrt(values)
    # The directions in which the means of the people differ, once they vary alike within themselves.
    _, _, directions = np.linalg.svd((means - means.mean(0)) @ white, full_matrices=False)
    onto = white @ directions[: len(means) - 1].T
    return unit(np.sum([unit(small.transform(view) @ onto) for view in flat[:ways]], axis=0))
