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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplearn.cli import run_file
from deeplearn.data.inputs import attempted
from deeplearn.data.split import folds, stratified
from deeplearn.errors import UsageError
from deeplearn.experiment import Run
from deeplearn.knobs import Count, NotNegative, Range, Rest
from deeplearn.methods import logic
from deeplearn.methods import perceptron as rules
from deeplearn.metrics import Each
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

CORNERS = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
GATES = {"and": [-1, -1, -1, 1], "or": [-1, 1, 1, 1], "exclusive or": [-1, 1, 1, -1]}
"""Wanted answers at the four corners."""
XOR = np.array(GATES["exclusive or"])
PASSES = 200
"""Over the examples, for rules that visit one after the other: more than any separable set here needs."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of the history."""

    formulas: tuple[str, ...] = ("(a and b) or not c", "a ^ b ^ c")
    """Drawn as nets: names, and, or, not, ^ (exclusive or), parentheses."""
    sets: Count = 1000
    """Random separable sets on which the perceptron's mistakes are held against their bound."""
    attempts: Count = 100
    """Nets that try exclusive or, from different weights, for each number of hidden units."""
    hidden: tuple[Count, ...] = (1, 2, 3, 4)
    """Numbers of hidden units that try."""
    scale: NotNegative = 0.1
    """Of the weights they begin with: small ones find a solution more often (.98 of 500 others; .85 at 1)."""
    rate: NotNegative = 2.0
    """Of their gradient descent."""
    momentum: Rest = 0.5
    steps: int = 2000
    width: Count = 16
    """Hidden units of the net for breast cancer."""
    folds: Annotated[int, Range(low=2)] = 5
    """Of its cross-validation."""


def proved() -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Every function of two and three inputs, tried in its smallest net and in that of its normal form."""
    found = [*logic.proofs(2), *logic.proofs(3)]
    results = {
        "logic/functions": len(found),
        "logic/verified": sum(proof.verified for proof in found),
        "logic/units": float(np.mean([proof.fewest for proof in found])),
        "logic/normal_form_units": float(np.mean([proof.written for proof in found])),
    }
    return results, [proof._asdict() for proof in found]


def bounded(config: Config) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The perceptron's mistakes on random separable sets of 2 to 10 inputs, and their bounds."""
    mistakes, bounds, rests = map(np.asarray, rules.trials(jax.random.key(config.seed), config.sets, passes=PASSES))
    results = {
        "perceptron/sets": len(mistakes),
        "perceptron/violations": int((mistakes > bounds).sum()),
        "perceptron/tightness": float((mistakes / bounds).max()),
        "perceptron/converged": float(rests.mean()),
    }
    return results, {"mistakes": mistakes.tolist(), "bounds": bounds.tolist()}


def exclusive_or(config: Config) -> tuple[dict[str, float], dict[str, Any]]:
    """The perceptron cycles; hidden units solve it: how many of the attempts do, and how the loss falls."""
    x = jnp.asarray(CORNERS)
    single = {
        name: rules.perceptron(rules.with_bias(x), jnp.array(y, jnp.float32), passes=12) for name, y in GATES.items()
    }
    target = jnp.array(XOR > 0, jnp.float32)[:, None]

    def tried(key: Array, widths: tuple[int, ...]) -> tuple[Array, Array, rules.Net]:
        start = rules.layers(key, widths, config.scale)
        gradient = partial(rules.back_propagation, x=x, target=target)
        net, path = rules.descend(gradient, start, steps=config.steps, rate=config.rate, momentum=config.momentum)
        right = (rules.activations(net, x)[-1] > 0) == (target > 0.5)
        return right.all(), jax.vmap(lambda net: rules.cross_entropy(net, x, target))(path), net

    keys = jax.random.split(jax.random.key(config.seed), config.attempts)
    results = {"xor/period": rules.period(single["exclusive or"].weights) or np.inf}
    kept = {"mistakes": {name: own.error.tolist() for name, own in single.items()}, "loss": {}}
    kept["every"] = max(1, config.steps // 100)  # steps between two points of a drawn loss
    kept["nets"] = {"perceptron": [single["exclusive or"].weights[-1][:, None].tolist()]}
    for hidden in (0, *config.hidden):
        widths = (2, hidden, 1) if hidden else (2, 1)
        solved, losses, nets = jax.jit(jax.vmap(partial(tried, widths=widths)))(keys)
        results[f"xor/solved by {hidden}"] = float(solved.mean())
        name = f"{hidden or 'no'} hidden unit{'s' * (hidden != 1)}"
        kept["loss"][name] = losses.mean(0)[:: kept["every"]].tolist()
        kept["nets"][name] = [weights[losses[:, -1].argmin()].tolist() for weights in nets]
    return results, kept


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


@jax.jit
def descent(start: rules.Net, x: Float[Array, "N D"], target: Float[Array, "N 1"]) -> rules.Net:
    """The nets before each of 500 steps on all examples at once."""
    gradient = partial(rules.back_propagation, x=x, target=target)
    return rules.descend(gradient, start, steps=500, rate=0.1, momentum=0.9)[1]


def early_stopped(config: Config, widths: tuple[int, ...], x: np.ndarray, y: np.ndarray) -> Any:
    """A net after as many steps as were best for a held-out fifth of its examples."""
    kept, held = stratified(y, 0.2, config.seed)
    target = (y[:, None] > 0).astype(np.float32)
    start = rules.layers(jax.random.key(config.seed), widths)
    path = descent(start, x[kept], target[kept])
    best = jax.vmap(rules.cross_entropy, (0, None, None))(path, x[held], target[held]).argmin()
    net = jax.tree.map(lambda weights: weights[best], descent(start, x, target))
    return lambda x: np.asarray(rules.activations(net, jnp.asarray(x))[-1][:, 0])


def main(config: Config, work: Workspace) -> Mapping[str, Any]:
    """All chapters; nothing is trained that is kept for prediction."""
    x, y = patients()
    work.data("breast_cancer", {"x": x, "label": y})
    logical, functions = proved()
    linear, scatter = bounded(config)
    xor, curves = exclusive_or(config)
    with jax.enable_x64(True):
        gap = float(rules.gradient_gap(jax.random.key(config.seed), (10, 8, 6, 3)))
    right = held_out(config, partial(early_stopped, config, (x.shape[1], config.width, 1)))
    work.keep({"functions.json": functions, "perceptron.json": scatter, "xor.json": curves})
    cancer = {"cancer/accuracy": float(right.values.mean()), "cancer/each": right}
    return logical | linear | xor | {"back_propagation/gap": gap} | cancer


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


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """The truth table of each formula: inputs, and each unit of its net once it has settled, the last the answer."""

    def read(formula: str) -> logic.Net:
        net = logic.compiled(formula)
        if len(net.inputs) > 10:
            raise UsageError(
                f"{formula!r} has {len(net.inputs)} inputs, whose truth table nobody reads; give up to ten."
            )
        return net

    nets, failed = attempted(inputs, read)
    rows = []
    for formula, net in nets:
        names = [*net.inputs, *(logic.described(name, unit) for name, unit in net.units.items())]
        depth = max(logic.depths(net).values())
        for row in logic.assignments(len(net.inputs)):
            fires = logic.fired(net, np.tile(row, (depth, 1)))[-1]
            rows.append(
                {"formula": formula} | dict(zip(names, np.append(row, fires).astype(int).tolist(), strict=True))
            )
    return failed + rows


def figures(trained: Trained, folder: Path) -> None:
    """Nets, their sizes and their moments, mistakes below their bound, exclusive or, and how the loss falls."""
    from deeplearn.record.figures import curves, network, planes, scatter

    place = folder / "figures"
    for number, formula in enumerate(trained.config.formulas, start=1):
        network(*logic.drawing(logic.compiled(formula)), place / f"1-net-{number}.svg", title=formula)
    proofs, found, xor = (trained.asset(f"{name}.json") for name in ("functions", "perceptron", "xor"))
    sizes = {"smallest net": "fewest", "net of the normal form": "written"}
    counts = {name: np.bincount([proof[key] for proof in proofs]) for name, key in sizes.items()}
    series = {name: (np.arange(1, len(own)), own[1:]) for name, own in counts.items()}
    curves(series, place / "2-sizes.svg", x="units", y="functions of two and three inputs", markers=True)
    moments(place)
    mistakes, bounds = np.maximum(found["mistakes"], 1), np.array(found["bounds"])
    labels = {"x": "bound on the mistakes: (R / margin)²", "y": "mistakes of the perceptron"}
    scatter(mistakes, bounds, place / "4-mistakes.svg", **labels, log=True)
    series = {name: (np.arange(1, len(own) + 1), np.array(own)) for name, own in xor["mistakes"].items()}
    curves(series, place / "5-perceptron.svg", x="pass over the four corners", y="mistakes", markers=True)
    side = np.linspace(-1.5, 1.5, 60, dtype=np.float32)
    grid = jnp.asarray(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2))
    nets = {name: tuple(map(jnp.array, net)) for name, net in xor["nets"].items()}
    scores = {name: np.asarray(rules.activations(net, grid)[-1]).reshape(60, 60) for name, net in nets.items()}
    planes(scores, CORNERS, XOR, place / "6-exclusive-or.svg", extent=(-1.5, 1.5, -1.5, 1.5))
    series = {name: (xor["every"] * np.arange(len(own)), np.array(own)) for name, own in xor["loss"].items()}
    curves(series, place / "7-loss.svg", x="step", y=f"cross-entropy, mean of {trained.config.attempts} nets")


def moments(place: Path) -> None:
    """Nets with circles, moment by moment: one remembers, one counts, one feels heat where cold ends."""
    from deeplearn.record.figures import heatmap

    moment = np.arange(24)
    shown = {
        "memory": (logic.MEMORY, [np.isin(moment, (2, 15)), np.isin(moment, (9,))]),
        "counter": (logic.counter(3), [moment % 7 < 4]),
        "heat": (logic.HEAT, [moment == 18, np.isin(moment, (2, 9, 10, 11, 12))]),
    }
    for name, (net, columns) in shown.items():
        inputs = np.stack(columns, axis=1)
        fires = np.concatenate([inputs, logic.fired(net, inputs)[:-1]], axis=1).T.astype(float)
        names = [*net.inputs, *net.units]
        heatmap(fires, place / f"3-{name}.svg", rows=names, columns=list(map(str, moment)), title=name)


EXPECTED = {
    "logic/verified": (272, 0),
    "perceptron/violations": (0, 0),
    "xor/solved by 2": (0.98, 0.03),
    "cancer/accuracy": (0.975, 0.01),
}
SMOKE = {"sets": 30, "attempts": 4, "hidden": (2,), "folds": 2}

if __name__ == "__main__":
    run_file(__file__)
