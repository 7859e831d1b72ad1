"""What decoders and representations are held against: a linear machine, pixels, people's categories, other people."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8

from deeplearn.methods import rsa


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
) -> dict[str, float]:
    """Spearman's correlation with the subjects' matrices, mean over them: pixels, categories, and the ceilings."""
    subjects = rsa.pairs(rdms)
    pixels = rsa.correlation_distance(images.reshape(len(images), -1).astype(np.float64))
    models = {"pixels": pixels, **{name: rsa.pairs(own) for name, own in categories.items()}}
    found = {name: float(rsa.spearman(subjects, model).mean()) for name, model in models.items()}
    ceiling = rsa.ceiling(subjects)
    return found | {"the other subjects": float(ceiling.low.mean()), "all subjects": float(ceiling.high.mean())}
