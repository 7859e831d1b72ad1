"""What decoders and representations are held against: a linear machine, pixels, people's categories, other people."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from deeplearn.methods import encoding, rsa


def linear_svm(means: Float[np.ndarray, "R C V"]) -> float:
    """Accuracy of a linear support-vector machine, C = 1, for the patterns of each run, learnt from the others."""
    from sklearn.svm import SVC

    labels, hits = np.arange(means.shape[1]), []
    for run in range(len(means)):
        learnt = np.delete(means, run, axis=0)
        machine = SVC(kernel="linear").fit(learnt.reshape(-1, means.shape[-1]), np.tile(labels, len(learnt)))
        hits.append((machine.predict(means[run]) == labels).mean())
    return float(np.mean(hits))


def similarities(
    images: UInt8[np.ndarray, "C H W 3"],
    rdms: Float[np.ndarray, "S C C"],
    categories: Mapping[str, Float[np.ndarray, "C C"]],
) -> dict[str, dict[str, float]]:
    """Likeness to the subjects by each of `rsa.MEASURES`, mean over them: of pixels, categories, and the ceilings."""
    subjects = rsa.pairs(rdms)
    pixels = rsa.correlation_distance(images.reshape(len(images), -1).astype(np.float64))
    models = {"pixels": pixels, **{name: rsa.pairs(own) for name, own in categories.items()}}
    ceilings = {name: rsa.ceiling(subjects, *own) for name, own in rsa.MEASURES.items()}
    found = {name: rsa.measured(subjects, model) for name, model in models.items()} | {
        "the other subjects": {name: float(own.low.mean()) for name, own in ceilings.items()},
        "all subjects": {name: float(own.high.mean()) for name, own in ceilings.items()},
    }
    return {row: {f"rsa/{name}": value for name, value in own.items()} for row, own in found.items()}


def explained_by_pixels(
    images: UInt8[np.ndarray, "N H W 3"],
    responses: Float[np.ndarray, "N V"],
    runs: Shaped[np.ndarray, "N"],
    penalties: Sequence[float],
) -> Float[np.ndarray, "V"]:
    """Held-out R² of ridge regressions from the images, of which about 32 x 32 pixels are taken."""
    step = [max(1, length // 32) for length in images.shape[1:3]]
    small = images[:, :: step[0], :: step[1]].astype(np.float32)
    return encoding.held_out([small], responses, runs, penalties, encoding.PLAIN)
