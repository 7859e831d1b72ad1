"""What decoders and representations are held against: a linear machine on the same runs."""

import numpy as np
from jaxtyping import Float


def linear_svm(means: Float[np.ndarray, "R C V"]) -> float:
    """Accuracy of a linear support-vector machine, C = 1, for the patterns of each run, learnt from the others."""
    from sklearn.svm import SVC

    labels, hits = np.arange(means.shape[1]), []
    for run in range(len(means)):
        learnt = np.delete(means, run, axis=0)
        machine = SVC(kernel="linear").fit(learnt.reshape(-1, means.shape[-1]), np.tile(labels, len(learnt)))
        hits.append((machine.predict(means[run]) == labels).mean())
    return float(np.mean(hits))
