"""Nets drawn: every unit once, circles and lines for synapses, and the same net in characters."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np

from deeplearn.record import nets

LAYERS = [{"a": "a", "b": "b"}, {"u1": "1", "u2": "2"}, {"u3": "1"}]
SYNAPSES = [("a", "u1", False), ("b", "u1", False), ("a", "u2", False), ("b", "u2", False)]
SYNAPSES += [("u1", "u3", False), ("u2", "u3", True)]


def test_a_net_in_characters_goes_from_its_output_to_its_inputs():
    assert nets.outline(LAYERS, SYNAPSES).splitlines() == [
        "◎ u3, threshold 1",
        "  ├─● u1, threshold 1",
        "  │  ├─● a",
        "  │  └─● b",
        "  └─○ u2, threshold 2",
        "     ├─● a",
        "     └─● b",
    ]


def test_a_unit_that_several_hear_is_written_out_once():
    layers = [{"a": "a"}, *({f"u{i}": "1", f"v{i}": "1"} for i in range(20)), {"end": "1"}]
    names = [list(layer) for layer in layers]
    synapses = [(a, b, False) for one, other in pairwise(names) for a in one for b in other]
    text = nets.outline(layers, synapses)
    assert len(text.splitlines()) < 100 and text.count("u0, threshold 1") == 1 and "u0, as above" in text


def test_nets_are_drawn_below_each_other_with_all_units(tmp_path):
    svg = nets.network({"first": (LAYERS, SYNAPSES), "second": (LAYERS, SYNAPSES)}, tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text() == svg
    texts = [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"first", "second"} < set(texts) and texts.count("a") == 2 and texts.count("1") == 4


def test_planes_have_the_name_of_each():
    svg = nets.planes({"one": np.eye(3), "two": -np.eye(3)}, np.eye(2), np.array([1, -1]), extent=(0, 1, 0, 1))
    assert ">one<" in svg and ">two<" in svg
