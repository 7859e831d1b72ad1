"""McCulloch-Pitts nets: every function of two and three inputs, streams of inputs, and the paper's own nets."""

from dataclasses import replace
from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplearn.errors import UsageError
from deeplearn.methods import logic
from deeplearn.methods.logic import Net, Unit


def table_of(formula, names):
    """What Python makes of the formula: the oracle."""
    rows = logic.assignments(len(names))
    return tuple(bool(eval(formula, {}, dict(zip(names, map(bool, row), strict=True)))) for row in rows)


@pytest.mark.parametrize("count", [2, 3])
def test_every_function_has_a_net_that_computes_it(count):
    found = logic.smallest(count)
    assert set(found) == set(product((False, True), repeat=2**count))
    for table, net in found.items():
        written = replace(logic.compiled(logic.normal_form(table, "abc"[:count])), inputs=net.inputs)
        assert logic.computes(net, table) and logic.computes(written, table)
        assert len(net.units) <= len(written.units)


def test_the_smallest_nets_are_the_smallest():
    """Against all layered nets of up to three units over two inputs, tried one by one."""

    def units(sources):
        for synapses in product((-1, 0, 1, 2), repeat=len(sources)):
            excite = tuple(name for name, n in zip(sources, synapses, strict=True) for _ in range(n))
            inhibit = tuple(name for name, n in zip(sources, synapses, strict=True) if n < 0)
            for threshold in range(len(excite) + 2):
                yield Unit(threshold=threshold, excite=excite, inhibit=inhibit)

    rows, fewest = logic.assignments(2), {}

    def note(*units):
        net = Net(inputs=("a", "b"), units={f"u{i}": unit for i, unit in enumerate(units)})
        output = logic.fired(net, np.repeat(rows, 3, axis=0))[3::3, -1]  # each assignment until the output has it
        fewest.setdefault(tuple(output.tolist()), len(net.units))

    for one in units("ab"):
        note(one)
    for first, last in product(units("ab"), units(["u0"])):
        note(first, last)
    distinct = {table: net.units["u1"] for table, net in logic.smallest(2).items() if len(net.units) == 1}
    for pair in combinations_with_replacement(distinct.values(), 2):
        for last in units(["u0", "u1"]):
            note(*pair, last)
    assert fewest == {table: len(net.units) for table, net in logic.smallest(2).items()}


def test_symmetric_functions_of_three_inputs_take_these_units():
    """By how many inputs fire (0, 1, 2, 3): one unit counts, a second one bounds, and parity needs five."""
    ones = logic.assignments(3).sum(1)
    nets = logic.smallest(3)
    units = {
        "".join(map(str, map(int, answer))): len(nets[tuple(bool(answer[n]) for n in ones)].units)
        for answer in product((False, True), repeat=4)
    }
    alone = dict.fromkeys(("0000", "1111", "0111", "0011", "0001", "1000"), 1)
    assert units == alone | {"1100": 2, "1110": 2} | dict.fromkeys(("0100", "0010", "0110", "1001", "1011"), 3) | {
        "1010": 4,
        "1101": 4,
        "0101": 5,
    }


FORMULAS = st.recursive(
    st.sampled_from("abcd") | st.sampled_from(["True", "False"]),
    lambda part: st.one_of(
        part.map("(not {})".format),
        st.tuples(part, part).map("({0[0]} ^ {0[1]})".format),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(part, min_size=2, max_size=3)).map(
            lambda made: f"({f' {made[0]} '.join(made[1])})"
        ),
    ),
    max_leaves=8,
)


@given(FORMULAS)
def test_a_formula_streams_through_its_net_as_python_evaluates_it(formula):
    net = logic.compiled(formula)
    assert logic.computes(net, table_of(formula, net.inputs))
    depth = logic.depths(net)
    assert all(depth[name] == 1 + depth[source] for name, unit in net.units.items() for source in unit.sources)


def test_paths_of_unequal_length_mix_moments():
    formula = "(a and b) or c"
    table = table_of(formula, "abc")
    assert not logic.computes(logic.drafted(formula), table)
    assert logic.computes(logic.compiled(formula), table)


def test_inhibition_is_absolute():
    net = Net(inputs=("a", "b"), units={"u": Unit(threshold=1, excite=("a",) * 9, inhibit=("b",))})
    assert logic.fired(net, np.array([[True, True], [True, False]]))[:, 0].tolist() == [False, False, True]


def test_memory_keeps_until_reset():
    rng = np.random.default_rng(0)
    inputs = rng.random((200, 2)) < 0.1
    kept = False
    for now, fires in zip(inputs, logic.fired(logic.MEMORY, inputs)[1:, 0], strict=True):
        kept = (kept or now[0]) and not now[1]
        assert fires == kept


def test_the_counter_counts():
    pulses = np.random.default_rng(0).random((60, 1)) < 0.5
    net = logic.counter(3)
    names, fires = [*net.units], logic.fired(net, pulses)
    shown = [fires[:, names.index(f"up {d}")] | fires[:, names.index(f"stay {d}")] for d in range(3)]
    for moment, count in enumerate(np.cumsum(pulses)[:-3]):
        assert sum(2**d * int(shown[d][moment + 1 + d]) for d in range(3)) == count % 8


def test_a_brief_cold_touch_feels_hot_and_a_long_one_cold():
    hot, cold = ([*logic.HEAT.units].index(name) for name in ("hot", "felt cold"))
    brief, long = (logic.fired(logic.HEAT, np.array([[False, t < n] for t in range(4)])) for n in (1, 4))
    assert brief[:, hot].any() and not brief[:, cold].any()
    assert long[:, cold].any() and not long[:, hot].any()


@pytest.mark.parametrize(
    "formula", ["", "a +", "a + b", "f(a)", "a and 1", "a == b", "(" * 500, "a; b", "a if b else c"]
)
def test_what_is_no_formula_is_refused(formula):
    with pytest.raises(UsageError, match="write names, and, or, not"):
        logic.compiled(formula)


def test_proofs_say_on_how_many_inputs_a_symmetric_function_depends():
    counts = {proof.formula: proof.counts for proof in logic.proofs(2)}
    assert counts["(a and b)"] == (2,) and counts["(not a and b) or (a and not b)"] == (1,)
    assert counts["False"] == () and counts["(a and not b)"] is None


def test_nets_with_circles_remember_count_and_feel():
    (_, memory), (names, counter), (_, heat) = logic.episodes().values()
    assert memory[:, 2].tolist() == [False] * 3 + [True] * 7 + [False] * 6 + [True] * 8
    ones = counter[:, names.index("up 0")] | counter[:, names.index("stay 0")]
    np.testing.assert_array_equal(ones[1:], np.cumsum(counter[:-1, 0]) % 2)
    assert heat[:, 4].nonzero()[0].tolist() == [5, 15, 19]  # cold for a moment, cold that ends, something warm
