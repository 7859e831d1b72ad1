"""From nets of all-or-none units to back-propagation: what neurons were shown to compute, 1943 to 1986, shown again.

McCulloch & Pitts (1943): a net for every Boolean function of two and three inputs, and nets that remember. Rosenblatt
(1958): the perceptron, whose mistakes stay below Novikoff's bound (1962), and which goes round in circles on exclusive
or (Minsky & Papert, 1969). Rumelhart, Hinton & Williams (1986): hidden units that solve it. All of them, with
Widrow-Hoff's rule and a support-vector machine, on breast cancer. Nothing is random but the seed.
    deeplearn train neurons
    deeplearn train neurons --formulas "(a and b) or not c" "a ^ b ^ c ^ d"
    deeplearn predict runs/latest "(a and b) or not c"
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplearn.cli import run_file
from deeplearn.data.split import folds, stratified
from deeplearn.errors import UsageError
from deeplearn.experiment import Run
from deeplearn.methods import logic
from deeplearn.methods import perceptron as rules
from deeplearn.metrics import Each
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

CORNERS = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
GATES = {"and": [-1, -1, -1, 1], "or": [-1, 1, 1, 1], "exclusive or": [-1, 1, 1, -1]}
"""Wanted answers at the four corners."""
PASSES = 200
"""Over the examples, for rules that visit one after the other: more than any separable set here needs."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of the history."""

    formulas: tuple[str, ...] = ("(a and b) or not c", "a ^ b ^ c")
    """Drawn as nets: names, and, or, not, ^ (exclusive or), parentheses."""
    sets: int = 1000
    """Random separable sets on which the perceptron's mistakes are held against their bound."""
    attempts: int = 100
    """Nets that try exclusive or, from different weights, for each number of hidden units."""
    hidden: tuple[int, ...] = (1, 2, 3, 4)
    """Numbers of hidden units that try."""
    scale: float = 0.1
    """Of the weights they begin with: small ones find a solution more often (.98 of 500 others; .85 at 1)."""
    rate: float = 2.0
    """Of their gradient descent."""
    momentum: float = 0.5
    steps: int = 2000
    width: int = 16
    """Hidden units of the net for breast cancer."""
    folds: int = 5
    """Of its cross-validation."""


def proved() -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Every function of two and three inputs: its smallest net and the net of its normal form, tried on all inputs."""
    rows = []
    for count in (2, 3):
        ones = logic.assignments(count).sum(1)
        for table, net in logic.smallest(count).items():
            formula = logic.normal_form(table, net.inputs)
            written = replace(logic.compiled(formula), inputs=net.inputs)
            rows.append(
                {
                    "formula": formula,
                    "verified": logic.computes(net, table) and logic.computes(written, table),
                    "units": len(written.units),
                    "fewest": len(net.units),
                    "symmetric": all(len(set(np.array(table)[ones == n])) == 1 for n in range(count + 1)),
                }
            )
    found = {
        "logic/functions": len(rows),
        "logic/verified": sum(row["verified"] for row in rows),
        "logic/units as written": float(np.mean([row["units"] for row in rows])),
        "logic/units at least": float(np.mean([row["fewest"] for row in rows])),
    }
    return found, rows


def bounded(config: Config) -> tuple[dict[str, float], dict[str, Any]]:
    """The perceptron on random separable sets of 2 to 10 inputs: mistakes, and their bound."""
    own, margins = jax.random.split(jax.random.key(config.seed))
    margin = 10 ** jax.random.uniform(margins, (config.sets,), minval=-1.5, maxval=-0.3)

    def tried(key: Array, margin: Array, width: int) -> tuple[Array, Array, Array]:
        x, y, unit = rules.separable(key, count=50, width=width, margin=margin)
        error = rules.perceptron(x, y, PASSES).error
        return error.sum(), rules.mistake_bound(x, y, unit), error[-1] == 0

    widths = (2, 5, 10)
    keys = jax.random.split(own, config.sets)
    parts = [
        jax.jit(jax.vmap(partial(tried, width=width)))(keys[i :: len(widths)], margin[i :: len(widths)])
        for i, width in enumerate(widths)
    ]
    mistakes, bound, rests = (np.concatenate([np.asarray(part[i]) for part in parts]) for i in range(3))
    found = {
        "perceptron/sets": len(mistakes),
        "perceptron/violations": int((mistakes > bound).sum()),
        "perceptron/converged": float(rests.mean()),
        "perceptron/closest to the bound": float((mistakes / bound).max()),
    }
    return found, {"mistakes": mistakes.tolist(), "bound": bound.tolist()}


def exclusive_or(config: Config) -> tuple[dict[str, float], dict[str, Any]]:
    """One layer cannot: the perceptron cycles. Hidden units can: how many of the attempts do, and how the loss falls."""
    x, wanted = jnp.asarray(CORNERS), {name: jnp.array(y, jnp.float32) for name, y in GATES.items()}
    single = {name: rules.perceptron(rules.with_bias(x), y, passes=12) for name, y in wanted.items()}
    target = (wanted["exclusive or"][:, None] + 1) / 2

    def tried(key: Array, widths: tuple[int, ...]) -> tuple[Array, Array, rules.Net]:
        start = rules.layers(key, widths, config.scale)
        gradient = partial(rules.back_propagation, x=x, target=target)
        net, path = rules.descend(gradient, start, steps=config.steps, rate=config.rate, momentum=config.momentum)
        right = (rules.activations(net, x)[-1] > 0) == (target > 0.5)
        return right.all(), jax.vmap(lambda net: rules.cross_entropy(net, x, target))(path), net

    keys = jax.random.split(jax.random.key(config.seed), config.attempts)
    period = rules.period(single["exclusive or"].weights)
    found = {"xor/passes until the perceptron repeats itself": period or np.inf}
    kept = {"mistakes": {name: own.error.tolist() for name, own in single.items()}, "loss": {}, "nets": {}}
    for name, widths in {"no": (2, 1), **{str(n): (2, n, 1) for n in config.hidden}}.items():
        solved, losses, nets = jax.jit(jax.vmap(partial(tried, widths=widths)))(keys)
        found[f"xor/solved with {name} hidden units"] = float(solved.mean())
        best = int(losses[:, -1].argmin())
        kept["loss"][name] = losses[:, :: max(1, config.steps // 100)].mean(0).tolist()
        kept["nets"][name] = [weights[best].tolist() for weights in nets]
    return found, kept


def patients() -> tuple[Float[np.ndarray, "N 30"], Float[np.ndarray, "N"]]:
    """Wisconsin breast cancer (Street et al., 1993): measurements of cells, and 1 where benign, -1 where malignant."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return x.astype(np.float32), 2 * y.astype(np.float32) - 1


def held_out(config: Config, learn: Any) -> Each:
    """Whether each patient is told rightly by `learn(x, y) -> (x -> score)` of the other folds."""
    x, y = patients()
    right = np.zeros(len(y))
    for kept, held in folds(len(y), config.folds, config.seed):
        mean, std = x[kept].mean(0), x[kept].std(0)
        score = learn((x[kept] - mean) / std, y[kept])((x[held] - mean) / std)
        right[held] = np.sign(score) == y[held]
    return Each(right)


def early_stopped(config: Config, widths: tuple[int, ...], x: np.ndarray, y: np.ndarray) -> Any:
    """A net after as many steps as were best for a held-out fifth of its examples."""
    x, target = jnp.asarray(x), jnp.asarray(y[:, None] + 1) / 2
    kept, held = stratified(y, 0.2, config.seed)
    start = rules.layers(jax.random.key(config.seed), widths)

    def learn(rows: np.ndarray, steps: int) -> tuple[rules.Net, rules.Net]:
        gradient = partial(rules.back_propagation, x=x[rows], target=target[rows])
        return rules.descend(gradient, start, steps=steps, rate=0.1, momentum=0.9)

    loss = jax.vmap(lambda net: rules.cross_entropy(net, x[held], target[held]))(learn(kept, 500)[1])
    net, _ = learn(np.arange(len(y)), int(loss.argmin()) + 1)
    return lambda x: np.asarray(rules.activations(net, jnp.asarray(x))[-1][:, 0])


def main(config: Config, work: Workspace) -> Mapping[str, Any]:
    """All chapters; nothing is trained that is kept for prediction."""
    x, y = patients()
    work.data("breast_cancer", {"x": x, "label": y})
    logical, functions = proved()
    linear, scatter = bounded(config)
    xor, curves = exclusive_or(config)
    with jax.enable_x64(True):
        gap = rules.gradient_gap(jax.random.key(config.seed), (10, 8, 6, 3))
    right = held_out(config, partial(early_stopped, config, (x.shape[1], config.width, 1)))
    work.keep({"functions.json": functions, "perceptron.json": scatter, "xor.json": curves})
    cancer = {"cancer/accuracy": float(right.values.mean()), "cancer/each": right}
    return logical | linear | xor | {"back-propagation/gap to jax.grad": gap} | cancer


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """The older rules, and a support-vector machine, on the same folds."""
    from sklearn.svm import SVC

    def visiting(rule: Any) -> Any:
        def learn(x: np.ndarray, y: np.ndarray) -> Any:
            weights = rule(rules.with_bias(jnp.asarray(x)), jnp.asarray(y)).weights[-1]
            return lambda x: np.asarray(rules.with_bias(jnp.asarray(x)) @ weights)

        return learn

    competitors = {
        "perceptron (1958)": visiting(partial(rules.perceptron, passes=PASSES)),
        "logistic regression (1958)": partial(early_stopped, config, (30, 1)),
        "Widrow-Hoff (1960)": visiting(partial(rules.widrow_hoff, passes=PASSES, rate=1e-3)),
        "RBF-SVM (1995)": lambda x, y: SVC().fit(x, y).decision_function,
    }
    found = {name: held_out(config, learn) for name, learn in competitors.items()}
    return {
        name: {"cancer/accuracy": float(right.values.mean()), "cancer/each": right} for name, right in found.items()
    }
