"""From nets of all-or-none units to back-propagation: what neurons were shown to compute, 1943 to 1986, shown again.

McCulloch & Pitts (1943): a net for every Boolean function of two and three inputs, and nets that remember. Rosenblatt
(1958): the perceptron, whose mistakes stay below Novikoff's bound (1962), and which goes round in circles on exclusive
or (Minsky & Papert, 1969). Rumelhart, Hinton & Williams (1986): hidden units that solve it. All of them, with
Widrow-Hoff's rule and a support-vector machine, on breast cancer. Nothing is random but the seed.
    deeplearn train neurons
    deeplearn train neurons --formulas "(a and b) or not c" "a ^ b ^ c ^ d"
    deeplearn predict runs/latest "(a and b) or not c"
    deeplearn predict runs/latest "(a and b) or not c" --picture net.svg
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
from deeplearn.competitors.rules import PASSES, learners
from deeplearn.data.inputs import attempted
from deeplearn.data.split import folds
from deeplearn.errors import UsageError
from deeplearn.experiment import Run
from deeplearn.knobs import Count, NotNegative, Range, Rest, Some
from deeplearn.methods import logic
from deeplearn.methods import perceptron as rules
from deeplearn.metrics import Each
from deeplearn.record.figures import bars, curves, heatmap, scatter
from deeplearn.record.nets import network, outline, planes
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

CORNERS = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
GATES = {"and": [-1, -1, -1, 1], "or": [-1, 1, 1, 1], "exclusive or": [-1, 1, 1, -1]}
"""Wanted answers at the four corners."""
XOR = np.array(GATES["exclusive or"])


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of the history."""

    formulas: Some[str] = ("(a and b) or not c", "a ^ b ^ c")
    """Drawn as nets: names, and, or, not, ^ (exclusive or), parentheses."""
    sets: Count = 1000
    """Random separable sets on which the perceptron's mistakes are held against their bound."""
    attempts: Count = 100
    """Nets that try exclusive or, from different weights, for each number of hidden units."""
    hidden: Some[Count] = (1, 2, 3, 4)
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


def held_out(config: Config, learn: rules.Learner) -> Each:
    """Whether each patient is told rightly by what was learnt from the other folds."""
    x, y = patients()
    right = np.zeros(len(y))
    for kept, held in folds(len(y), config.folds, config.seed):
        mean, std = x[kept].mean(0), x[kept].std(0)
        score = learn((x[kept] - mean) / std, y[kept])((x[held] - mean) / std)
        right[held] = np.sign(score) == y[held]
    return Each(right)


def main(config: Config, work: Workspace) -> Mapping[str, Any]:
    """All chapters; nothing is trained that is kept for prediction."""
    x, y = patients()
    work.data("breast_cancer", {"x": x, "label": y})
    logical, functions = proved()
    linear, scatter = bounded(config)
    xor, curves = exclusive_or(config)
    with jax.enable_x64(True):
        gap = float(rules.gradient_gap(jax.random.key(config.seed), (10, 8, 6, 3)))
    right = held_out(config, partial(rules.early_stopped, hidden=(config.width,), seed=config.seed))
    work.keep({"functions.json": functions, "perceptron.json": scatter, "xor.json": curves})
    cancer = {"cancer/accuracy": float(right.values.mean()), "cancer/each": right}
    return logical | linear | xor | {"back_propagation/gap": gap} | cancer


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """The older rules, and a support-vector machine, on the same folds."""
    found = {name: held_out(config, learn) for name, learn in learners(config.seed).items()}
    return {
        name: {"cancer/accuracy": float(right.values.mean()), "cancer/each": right} for name, right in found.items()
    }


def read(formula: str) -> logic.Net:
    """The net of a formula. Raises UsageError where it cannot be read, or has too many inputs."""
    net = logic.compiled(formula)
    if len(net.inputs) > 10:
        raise UsageError(f"{formula!r} has {len(net.inputs)} inputs, whose truth table nobody reads; give up to ten.")
    return net


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """The truth table of each formula: inputs, and each unit of its net once it has settled, the last the answer."""
    nets, rows = attempted(inputs, read)
    for formula, net in nets:
        names = [*net.inputs, *(logic.described(name, unit) for name, unit in net.units.items())]
        depth = max(logic.depths(net).values())
        for row in logic.assignments(len(net.inputs)):
            fires = np.append(row, logic.fired(net, np.tile(row, (depth, 1)))[-1]).astype(int).tolist()
            rows.append({"formula": formula} | dict(zip(names, fires, strict=True)))
    return rows


def draw(trained: Trained, inputs: list[str], path: Path | None) -> str:
    """The net of each formula, in characters; as a picture at the path."""
    nets = {formula: logic.drawing(read(formula)) for formula in inputs}
    if path is not None:
        network(nets, path)
    return "\n\n".join(f"{formula}\n{outline(*net)}" for formula, net in nets.items()) + "\n"


def figures(trained: Trained, folder: Path) -> None:
    """Nets, their sizes and their moments, mistakes below their bound, exclusive or, and how the loss falls."""
    place = folder / "figures"
    network(
        {formula: logic.drawing(logic.compiled(formula)) for formula in trained.config.formulas},
        place / "1-nets.svg",
        title="Nets of all-or-none units",
    )
    proofs, found, xor = (trained.asset(f"{name}.json") for name in ("functions", "perceptron", "xor"))
    sizes = {"smallest net": "fewest", "net of the normal form": "written"}
    counts = {name: np.bincount([proof[key] for proof in proofs]) for name, key in sizes.items()}
    series = {name: (np.arange(1, len(own)), own[1:]) for name, own in counts.items()}
    curves(series, place / "2-sizes.svg", x="units", y="functions of two and three inputs", markers=True)
    three = [proof for proof in proofs[16:] if proof["counts"] is not None]  # after the 16 of two inputs
    units = {" or ".join(map(str, own["counts"])) or "never": float(own["fewest"]) for own in three}
    bars(
        units,
        place / "2-symmetric.svg",
        unit="units of the smallest net",
        title="fires where so many of three inputs do",
    )
    for name, (names, fires) in logic.episodes().items():
        shown = {"rows": names, "columns": list(map(str, range(len(fires)))), "x": "moment", "title": name}
        heatmap(fires.T.astype(float), place / f"3-{name}.svg", **shown)
    mistakes, bounds = np.maximum(found["mistakes"], 1), np.array(found["bounds"])
    labels = {"x": "bound on the mistakes: (R / margin)²", "y": "mistakes of the perceptron"}
    scatter(mistakes, bounds, place / "4-mistakes.svg", **labels, log=True)
    series = {name: (np.arange(1, len(own) + 1), np.array(own)) for name, own in xor["mistakes"].items()}
    curves(series, place / "5-perceptron.svg", x="pass over the four corners", y="mistakes", markers=True)
    side = np.linspace(-1.5, 1.5, 60, dtype=np.float32)
    grid = jnp.asarray(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2))
    nets = {name: tuple(map(jnp.array, net)) for name, net in xor["nets"].items()}
    scores = {name: np.asarray(rules.activations(net, grid)[-1]).reshape(60, 60) for name, net in nets.items()}
    planes(scores, CORNERS, XOR, place / "6-exclusive-or.svg", extent=(-1.5, 1.5, -1.5, 1.5), title="Exclusive or")
    series = {name: (xor["every"] * np.arange(len(own)), np.array(own)) for name, own in xor["loss"].items()}
    curves(series, place / "7-loss.svg", x="step", y=f"cross-entropy, mean of {trained.config.attempts} nets")


EXPECTED = {
    "logic/verified": (272, 0),
    "perceptron/violations": (0, 0),
    "xor/solved by 2": (0.98, 0.03),
    "cancer/accuracy": (0.975, 0.01),
}
SMOKE = {"sets": 30, "attempts": 4, "hidden": (2,), "folds": 2}

if __name__ == "__main__":
    run_file(__file__)
