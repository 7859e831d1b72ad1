"""What images were classified with before: a support-vector machine and logistic regression on pixels."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deeplearn.data.images import Images, Splits, joined


def classifiers() -> dict[str, list[Callable[[], Any]]]:
    """Competitor -> its settings to choose among, each a function that makes an untrained scikit-learn model."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def machine(c: float, gamma: float) -> Callable[[], Any]:
        return lambda: SVC(C=c, gamma=gamma)

    def logistic(c: float) -> Callable[[], Any]:
        return lambda: make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=500))

    return {
        "RBF-SVM": [machine(c, gamma) for c in (1.0, 10.0) for gamma in (0.25, 0.5, 1.0, 2.0, 4.0)],
        "logistic regression": [logistic(c) for c in (0.001, 0.01, 0.1)],
    }


def compete(
    candidates: Sequence[Callable[[], Any]], splits: Splits, *, choose: bool = False, refit: bool = True, most: int
) -> float:
    """Accuracy of the best setting on the test split.

    Args:
        candidates: settings; the validation part decides, the first wins a tie.
        choose: return the accuracy on the validation part instead, and leave the test alone.
        refit: learn from training and validation part together before the test, else from the training part alone.
        most: learn from so many images at most.
    """
    scores = [_accuracy(make(), splits.train, splits.validation, most) for make in candidates]
    best = int(np.argmax(scores))
    if choose:
        return scores[best]
    part = joined(splits.train, splits.validation) if refit else splits.train
    return _accuracy(candidates[best](), part, splits.test, most)


def _accuracy(model: Any, train: Images, held: Images, most: int) -> float:
    order = np.random.default_rng(0).permutation(len(train.label))[:most]
    x, held_x = _flat(train), _flat(held)
    # All features scaled as one (pixels share their unit; rarely inked ones must not be blown up), so that typical
    # squared distances are about 2 and one list of gammas serves every data set.
    center, scale = x.mean(), x.std() * np.sqrt(x.shape[1])
    model.fit((x[order] - center) / scale, train.label[order])
    return float((model.predict((held_x - center) / scale) == held.label).mean())


def _flat(images: Images) -> np.ndarray:
    """[N, H * W * C] as float32."""
    return images.image.reshape(len(images.image), -1).astype(np.float32)
