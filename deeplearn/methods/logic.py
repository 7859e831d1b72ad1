"""Nets of all-or-none units (McCulloch & Pitts, 1943): what they compute, and nets for Boolean formulas.

A unit fires one moment after at least `threshold` of its excitatory synapses do, unless one of its inhibitory synapses
does: inhibition is absolute, and each unit delays by one moment. A threshold of zero stands for the paper's unit that
is excited all the time: it fires whenever nothing inhibits it.

In a layered net every unit hears the layer before it only. All paths to the output are then equally long, so that the
output at moment t + depth depends on the inputs at moment t alone; without that, values of different moments meet.
"""

import ast
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from deeplearn.errors import UsageError

GRAMMAR = "write names, and, or, not, ^ (exclusive or), parentheses, True and False"
Table = tuple[bool, ...]
"""A function of I inputs: its values for the 2^I assignments in counting order, the first input the highest digit."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One all-or-none unit."""

    threshold: int
    """Synapses that must fire."""
    excite: tuple[str, ...] = ()
    """Inputs and units that excite it; one that is named twice has two synapses."""
    inhibit: tuple[str, ...] = ()
    """Inputs and units each of which silences it."""

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.excite, *self.inhibit)


@dataclass(frozen=True, kw_only=True)
class Net:
    """Units by name, each after those it hears unless the net has circles; the last one is the output."""

    inputs: tuple[str, ...]
    units: Mapping[str, Unit]


MEMORY = Net(inputs=("set", "reset"), units={"kept": Unit(threshold=1, excite=("set", "kept"), inhibit=("reset",))})
"""A circle: the unit excites itself, so it remembers `set` until `reset`."""
HEAT = Net(
    inputs=("warm", "cold"),
    units={
        "chill": Unit(threshold=2, excite=("cold", "cold")),
        "ended": Unit(threshold=2, excite=("chill", "chill"), inhibit=("cold",)),
        "hot": Unit(threshold=2, excite=("warm", "warm", "ended", "ended")),
        "felt cold": Unit(threshold=2, excite=("chill", "cold")),
    },
)
"""Figure 1e of the paper: something cold that touches the skin for a moment feels hot; held longer, it feels cold."""


def counter(digits: int) -> Net:
    """Counts the moments at which `pulse` fires, modulo 2^digits; digit d is one where `up d` or `stay d` fires.

    Digit d shows at moment t + 1 + d whether the pulses up to moment t make it one.
    """
    units, carry = {}, "pulse"
    for digit in range(digits):
        up, stay, over = (f"{name} {digit}" for name in ("up", "stay", "carry"))
        # They never fire together: the first begins a one where there was none, the second keeps it.
        units[up] = Unit(threshold=1, excite=(carry,), inhibit=(up, stay))
        units[stay] = Unit(threshold=1, excite=(up, stay), inhibit=(carry,))
        units[over] = Unit(threshold=3, excite=(carry, carry, up, stay))
        carry = over
    return Net(inputs=("pulse",), units=units)


def fired(net: Net, inputs: Bool[np.ndarray, "T I"]) -> Bool[np.ndarray, "T+1 U"]:
    """Which units fire at the moments 0 to T, when the inputs fire as given at 0 to T - 1; at first all are silent."""
    place = {name: row for row, name in enumerate((*net.inputs, *net.units))}
    excite, inhibit = (np.zeros((len(place), len(net.units)), int) for _ in range(2))
    for column, unit in enumerate(net.units.values()):
        np.add.at(excite[:, column], [place[name] for name in unit.excite], 1)
        np.add.at(inhibit[:, column], [place[name] for name in unit.inhibit], 1)
    threshold = np.array([unit.threshold for unit in net.units.values()])
    states = [np.zeros(len(net.units), bool)]
    for now in inputs:
        state = np.concatenate([now, states[-1]]).astype(int)
        states.append((state @ excite >= threshold) & (state @ inhibit == 0))
    return np.array(states)


def episodes() -> dict[str, tuple[list[str], Bool[np.ndarray, "24 U"]]]:
    """Nets with circles over 24 moments: one remembers, one counts, one feels heat where cold ends.

    Name -> (names of inputs and units, whether each fires at each moment).
    """
    moment = np.arange(24)
    shown = {
        "memory": (MEMORY, [np.isin(moment, (2, 15)), moment == 9]),
        "counter": (counter(3), [moment % 7 < 4]),
        "heat": (HEAT, [moment == 18, np.isin(moment, (2, 9, 10, 11, 12))]),
    }
    found = {}
    for name, (net, columns) in shown.items():
        inputs = np.stack(columns, axis=1)
        found[name] = [*net.inputs, *net.units], np.concatenate([inputs, fired(net, inputs)[:-1]], axis=1)
    return found


def assignments(count: int) -> Bool[np.ndarray, "R I"]:
    """All 2^count rows of a truth table, in counting order."""
    return np.array(list(product((False, True), repeat=count)), bool).reshape(2**count, count)


def described(name: str, unit: Unit) -> str:
    """A unit in words, such as `u2: 1 of a, b unless u1`."""
    heard = (
        f"{unit.threshold} of {', '.join(unit.excite)}" if unit.excite else "always" if unit.threshold == 0 else "never"
    )
    return f"{name}: {heard}{' unless ' if unit.inhibit else ''}{' or '.join(unit.inhibit)}"


def depths(net: Net) -> dict[str, int]:
    """Length of the longest path from an input to each input and unit; the net has no circles."""
    found = dict.fromkeys(net.inputs, 0)
    for name, unit in net.units.items():
        found[name] = 1 + max((found[source] for source in unit.sources), default=0)
    return found


def computes(net: Net, table: Table) -> bool:
    """Whether the output is the function, `depth` moments late, while assignments stream in, each only for a moment.

    They come in counting order and back again: an output that mixes moments would see two different neighbours.
    """
    rows = assignments(len(net.inputs))
    stream, wanted = np.concatenate([rows, rows[::-1]]), np.array([*table, *table[::-1]])
    depth = depths(net)[[*net.units][-1]]
    output = fired(net, np.concatenate([stream, np.zeros((depth - 1, len(net.inputs)), bool)]))[depth:, -1]
    return bool((output == wanted).all())


def layered(net: Net) -> Net:
    """The units that the output needs, with relays where a source lies further back than the layer before."""
    depth, units = depths(net), {}

    def place(source: str, layer: int) -> str:
        """The name of what fires as the source does, in that layer."""
        late = layer - depth[source]
        if layer == 0 or (name := f"{source}+{late}" if late else source) in units:
            return source if layer == 0 else name
        unit = Unit(threshold=1, excite=(source,)) if late else net.units[source]
        excite, inhibit = (tuple(place(s, layer - 1) for s in names) for names in (unit.excite, unit.inhibit))
        units[name] = replace(unit, excite=excite, inhibit=inhibit)
        return name

    output = [*net.units][-1]
    place(output, depth[output])
    return Net(inputs=net.inputs, units=units)


def drawing(net: Net) -> tuple[list[dict[str, str]], list[tuple[str, str, bool]]]:
    """(inputs and units by layer, name -> threshold or name; synapses: from, to, whether it inhibits) for a picture."""
    depth = depths(net)
    layers: list[dict[str, str]] = [{} for _ in range(1 + max(depth.values()))]
    for name in depth:
        layers[depth[name]][name] = str(net.units[name].threshold) if name in net.units else name
    synapses = [(source, name, False) for name, unit in net.units.items() for source in unit.excite]
    return layers, synapses + [(source, name, True) for name, unit in net.units.items() for source in unit.inhibit]


def compiled(formula: str) -> Net:
    """A layered net for a formula of names, `and`, `or`, `not`, `^` (exclusive or), True, False and parentheses.

    A conjunction is one unit, whose negated parts inhibit it; so is a disjunction without negated parts.

    Raises:
        UsageError: the formula holds anything else, or cannot be read.
    """
    return layered(drafted(formula))


def drafted(formula: str) -> Net:
    """The formula's units without relays: right while the inputs stay, wrong while they change."""
    tree = _read(formula)
    inputs = tuple(sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}))
    names: dict[Unit, str] = {}

    def unit(threshold: int, excite: Sequence[str] = (), inhibit: Sequence[str] = ()) -> str:
        own = Unit(threshold=threshold, excite=tuple(excite), inhibit=tuple(inhibit))
        return names.setdefault(own, f"u{len(names) + 1}")  # equal parts are built once

    def conjunction(parts: Sequence[tuple[str, bool]]) -> str:
        plain = [name for name, negated in parts if not negated]
        return unit(len(plain), plain, [name for name, negated in parts if negated])

    def signal(node: ast.expr) -> tuple[str, bool]:
        """(what fires, whether it has to be negated): inhibition negates without a unit of its own."""
        match node:
            case ast.Name(id=name):
                return name, False
            case ast.Constant(value=bool(value)):
                return unit(0), not value
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                name, negated = signal(operand)
                return name, not negated
            case ast.BinOp(op=ast.BitXor(), left=left, right=right):
                (one, first), (other, second) = signal(left), signal(right)
                either, both = unit(1, [one, other]), unit(2, [one, other])
                return unit(1, [either], [both]), first != second
            case ast.BoolOp(op=operator, values=values):
                parts = [signal(value) for value in values]
                if isinstance(operator, ast.And):
                    return conjunction(parts), False
                if any(negated for _, negated in parts):  # De Morgan: inhibition is at hand for "and" only.
                    return conjunction([(name, not negated) for name, negated in parts]), True
                return unit(1, [name for name, _ in parts]), False
        raise UsageError(f"cannot make a net of {ast.unparse(node)!r}; {GRAMMAR}.")

    name, negated = signal(tree)
    if negated or name in inputs:
        name = unit(0, inhibit=[name]) if negated else unit(1, [name])
    units = {name: own for own, name in names.items()}
    return Net(inputs=inputs, units=units | {name: units.pop(name)})


def _read(formula: str) -> ast.expr:
    try:
        return ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"cannot read the formula {formula[:80]!r}; {GRAMMAR}.") from error


def normal_form(table: Table, inputs: Sequence[str]) -> str:
    """A formula of the function: the assignments under which it is true, one by one (its disjunctive normal form)."""
    rows = assignments(len(inputs))[np.array(table)]
    terms = [
        " and ".join(name if value else f"not {name}" for name, value in zip(inputs, row, strict=True)) for row in rows
    ]
    return " or ".join(f"({term})" for term in terms) or "False"


class Proof(NamedTuple):
    """One Boolean function, and what its nets were seen to do on all inputs."""

    formula: str
    verified: bool
    """Both nets compute it, as `computes` tries them."""
    written: int
    """Units of the net of its disjunctive normal form."""
    fewest: int
    """Units of the smallest net."""
    counts: tuple[int, ...] | None
    """How many inputs have to fire, where nothing else matters (a symmetric function); else None."""


def proofs(count: int) -> list[Proof]:
    """Every function of up to three inputs, tried on all inputs in two nets."""
    found, ones = [], assignments(count).sum(1)
    for table, net in smallest(count).items():
        formula = normal_form(table, net.inputs)
        written = replace(compiled(formula), inputs=net.inputs)
        verified = computes(net, table) and computes(written, table)
        values = [set(np.array(table)[ones == n].tolist()) for n in range(count + 1)]
        counts = tuple(n for n, own in enumerate(values) if own == {True}) if max(map(len, values)) == 1 else None
        found.append(Proof(formula, verified, len(written.units), len(net.units), counts))
    return found


@functools.cache
def smallest(count: int) -> dict[Table, Net]:
    """For every function of up to three inputs a layered net of the fewest units.

    One unit; a unit over one, two or three; the negation of a net so found. Any other layered net of at most four units
    has a layer of a single unit before its last, which can only repeat that one or negate it. So what is not found
    with four units needs five; and the negation of one of four has as many.
    """
    inputs = tuple("abc"[:count])
    first = _kinds(count)
    tables, kinds = np.array(list(first)), list(first.values())
    found = {table: _net(inputs, [_wired(kind, inputs)]) for table, kind in first.items()}
    for width in range(1, 4):
        groups = np.array(list(combinations(range(len(kinds)), width)))  # [G, W]
        rows = np.tensordot(tables[groups], 1 << np.arange(width)[::-1], axes=(1, 0))  # [G, R]: their row of a table
        over = _kinds(width)
        outputs = np.array(list(over))[:, rows].reshape(-1, tables.shape[1])  # every kind of unit over every group
        for which in np.unique(np.packbits(outputs, axis=1), axis=0, return_index=True)[1]:
            kind, group = divmod(int(which), len(groups))
            layer = [_wired(kinds[row], inputs) for row in groups[group]]
            last = _wired(list(over.values())[kind], [f"u{n + 1}" for n in range(width)])
            found.setdefault(tuple(outputs[which].tolist()), _net(inputs, [*layer, last]))
        for table, net in list(found.items()):
            opposite = Unit(threshold=0, inhibit=([*net.units][-1],))
            found.setdefault(tuple(not value for value in table), _net(inputs, [*net.units.values(), opposite]))
    return found


def _kinds(sources: int) -> dict[Table, tuple[int, tuple[int, ...]]]:
    """What one unit can make of its sources: function -> (threshold, synapses of each source, or -1 that inhibits).

    For up to three sources two synapses make all that more would. The fewest come first.
    """
    rows, found = assignments(sources).astype(int), {}
    for synapses in sorted(product((-1, 0, 1, 2), repeat=sources), key=lambda own: sum(map(abs, own))):
        weights = np.array(synapses, int)
        excited, free = rows @ np.maximum(weights, 0), rows @ (weights < 0) == 0
        for threshold in range(max(excited) + 2):
            found.setdefault(tuple((free & (excited >= threshold)).tolist()), (threshold, synapses))
    return found


def _wired(kind: tuple[int, tuple[int, ...]], sources: Sequence[str]) -> Unit:
    threshold, synapses = kind
    excite = tuple(name for name, count in zip(sources, synapses, strict=True) for _ in range(count))
    return Unit(
        threshold=threshold,
        excite=excite,
        inhibit=tuple(name for name, count in zip(sources, synapses, strict=True) if count < 0),
    )


def _net(inputs: tuple[str, ...], units: Sequence[Unit]) -> Net:
    return Net(inputs=inputs, units={f"u{number}": unit for number, unit in enumerate(units, start=1)})
