"""What images were classified with before: a support-vector machine and logistic regression on pixels."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from deeplearn.competitors.search import Setting, Space, between, drawn, one_thread, search
from deeplearn.data.images import Images, Splits, joined

WORK = 1e11
"""Images squared times numbers in each that a classifier learns from at most: about half a minute. That is 39,000
digits of 8x8, 11,000 of 28x28 and 5,700 colour images of 32x32."""
SEARCHED = 2e9
"""The same while settings are compared, where each is to take about a second."""
JUDGED = 2000
"""Images of the validation part that they are judged on at most, for the same end."""


class Classifier(NamedTuple):
    """A method and its settings."""

    space: Space
    make: Callable[[Setting], Any]
    """An untrained scikit-learn model."""


def classifiers() -> dict[str, Classifier]:
    """Competitor by name."""
    kernel = Space({"C": 1.0, "gamma": 1.0}, lambda rng: {"C": between(rng, 0.3, 100), "gamma": between(rng, 0.1, 10)})
    linear = Space({"C": 1.0}, lambda rng: {"C": between(rng, 1e-4, 10)})
    return {"RBF-SVM": Classifier(kernel, _machine), "logistic regression": Classifier(linear, _logistic)}


def _machine(setting: Setting) -> Any:
    from sklearn.svm import SVC

    return SVC(**setting)


def _logistic(setting: Setting) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(**setting, max_iter=500))


def compete(
    name: str, one: Classifier, splits: Splits, *, choose: bool = False, refit: bool = True, effort: float = 1.0
) -> float:
    """Accuracy on the test split in the setting that the validation part chose.

    Args:
        choose: return the accuracy on the validation part instead, and leave the test alone.
        refit: learn from training and validation part together before the test, else from the training part alone.
        effort: share of the search and of the work to spend, of what a whole run does.
    """
    few = np.random.default_rng(0).permutation(len(splits.train.label))[: _most(splits.train, SEARCHED)]
    judge = splits.validation.take(np.random.default_rng(0).permutation(len(splits.validation.label))[:JUDGED])
    tried = lambda s: -_accuracy(one.make(s), splits.train, few, judge)  # noqa: E731
    found = search(name, one.space, tried, effort=effort)
    part = joined(splits.train, splits.validation) if refit and not choose else splits.train
    rows = drawn(name, len(part.label), _most(part, effort * WORK), "images")
    with one_thread():
        return _accuracy(one.make(found.setting), part, rows, splits.validation if choose else splits.test)


def _most(images: Images, work: float) -> int:
    """Images to learn from with so much work."""
    return max(2, int((work / images.image[0].size) ** 0.5))


def _accuracy(model: Any, train: Images, rows: Int[np.ndarray, "M"], held: Images) -> float:
    x, held_x = _flat(train), _flat(held)
    # All features scaled as one (pixels share their unit; rarely inked ones must not be blown up), so that typical
    # squared distances are about 2 and one range of gammas serves every data set.
    center, scale = x.mean(), x.std() * np.sqrt(x.shape[1])
    model.fit((x[rows] - center) / scale, train.label[rows])
    return float((model.predict((held_x - center) / scale) == held.label).mean())


def _flat(images: Images) -> np.ndarray:
    """[N, H * W * C] as float32."""
    return images.image.reshape(len(images.image), -1).astype(np.float32)
