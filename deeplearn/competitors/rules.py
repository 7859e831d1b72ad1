"""What told two classes apart before hidden units, and after: the older rules of learning, and a machine of 1995."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np

from deeplearn.competitors.search import Setting, Space, between, search
from deeplearn.data.split import stratified
from deeplearn.methods import perceptron as rules

PASSES = 200
"""Over the examples, for rules that visit one after the other."""


def learners(seed: int) -> dict[str, rules.Learner]:
    """Competitor -> how it learns; the machine's settings are searched for on a held-out fifth of its examples."""
    return {
        "perceptron (1958)": _visiting(partial(rules.perceptron, passes=PASSES)),
        "logistic regression (1958)": partial(rules.early_stopped, hidden=(), seed=seed),
        "Widrow-Hoff (1960)": _visiting(partial(rules.widrow_hoff, passes=PASSES, rate=1e-3)),
        "RBF-SVM (1995)": partial(_machine, seed=seed),
    }


def _visiting(rule: Callable[..., rules.Passes]) -> rules.Learner:
    def learn(x: np.ndarray, y: np.ndarray) -> rules.Score:
        weights = rule(rules.with_bias(jnp.asarray(x)), jnp.asarray(y)).weights[-1]
        return lambda x: np.asarray(rules.with_bias(jnp.asarray(x)) @ weights)

    return learn


def _machine(x: np.ndarray, y: np.ndarray, seed: int) -> rules.Score:
    from sklearn.svm import SVC

    kept, held = stratified(y, 0.2, seed)
    width = 1 / x.shape[1]  # scikit-learn's for features of variance 1

    def loss(setting: Setting) -> float:
        return 1 - SVC(**setting).fit(x[kept], y[kept]).score(x[held], y[held])

    space = Space(
        {"C": 1.0, "gamma": width},
        lambda rng: {"C": between(rng, 0.1, 100), "gamma": between(rng, width / 30, width * 3)},
    )
    return SVC(**search("RBF-SVM", space, loss, seed=seed).setting).fit(x, y).decision_function
