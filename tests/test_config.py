import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplearn.config import changed, difference, flat, from_json, is_whole, to_json
from deeplearn.errors import ConfigError
from deeplearn.knobs import Count, Share


@dataclass(frozen=True, kw_only=True)
class Adam:
    rate: float = 1e-3
    clip: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sgd:
    momentum: float = 0.9


@dataclass(frozen=True, kw_only=True)
class Config:
    steps: int = 10
    name: str = "cnn"
    average: bool = False
    parallel: Literal["jit", "pmap"] = "jit"
    workdir: Path | None = None
    widths: tuple[int, ...] = (8, 16)
    pair: tuple[str, float] = ("a", 0.5)
    weights: dict[str, float] = field(default_factory=dict)
    optimizer: Adam = Adam()
    spare: Adam | None = None
    choice: Adam | Sgd = Sgd()
    seed: int | str = 0


paths = st.builds(Path, st.text("abc/.", min_size=1))
numbers = st.floats(allow_nan=False)
configs = st.builds(
    Config,
    steps=st.integers(),
    name=st.text(),
    average=st.booleans(),
    parallel=st.sampled_from(["jit", "pmap"]),
    workdir=st.none() | paths,
    widths=st.lists(st.integers()).map(tuple),
    pair=st.tuples(st.text(), numbers),
    weights=st.dictionaries(st.text(), numbers),
    optimizer=st.builds(Adam, rate=numbers, clip=st.none() | numbers),
    spare=st.none() | st.builds(Adam),
    choice=st.builds(Adam) | st.builds(Sgd, momentum=numbers),
    seed=st.integers() | st.text(),
)


@settings(deadline=None)
@given(configs)
def test_round_trip_through_json_text(config: Config) -> None:
    assert from_json(Config, json.loads(json.dumps(to_json(config)))) == config


def test_missing_knobs_take_their_defaults() -> None:
    assert from_json(Config, {"optimizer": {"rate": 1}}) == Config(optimizer=Adam(rate=1.0))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"optimizer": {"rat": 1.0}}, "`optimizer.rat` (did you mean `rate`?)"),
        ({"stepz": 1}, "`stepz` (did you mean `steps`?)"),
        ({"optimizer": {"rate": "3"}}, "`optimizer.rate`"),
        ({"steps": 2.5}, "`steps`"),
        ({"steps": "3"}, "`steps`"),
        ({"average": "no"}, "`average`"),
        ({"widths": [1, "2"]}, "`widths[1]`"),
        ({"parallel": "magic"}, "`parallel`"),
        ({"choice": {"type": "Lion"}}, "`choice`"),
        ({"choice": {"type": "Sgd", "momentun": 1.0}}, "`choice.momentun` (did you mean `momentum`?)"),
        ({"widths": "12"}, 'expected a list, such as ["12"]'),
        ({"parallel": "magic"}, 'expected one of "jit", '),
        ({"optimizer": None}, "expected a group of knobs, with their names, got null"),
        ([], "`Config`"),
        ({"steps": "x", "nam": 1}, "`steps`"),
        ({"steps": "x", "nam": 1}, "`nam`"),
    ],
)
def test_an_error_names_the_knob_and_the_next_step(values: object, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_json(Config, values)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(configs)
def test_changed_names_exactly_what_is_not_the_default(config: Config) -> None:
    assert bool(changed(config)) == (config != Config())


def test_changed_is_empty_where_a_knob_has_no_default() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Needy:
        path: Path

    assert changed(Needy(path=Path("a"))) == []


def test_difference_is_by_dotted_knob() -> None:
    a, b = to_json(Config()), to_json(Config(optimizer=Adam(rate=math.inf), widths=(1,)))
    assert difference(a, b) == {"widths": ([8, 16], [1]), "optimizer.rate": (1e-3, math.inf)}
    assert difference(a, a) == {}
    assert flat({"a": {"b": {"c": 1}}, "d": {}}) == {"a.b.c": 1, "d": {}}


def test_a_knob_of_whole_numbers_is_known_by_its_type():
    @dataclass(frozen=True, kw_only=True)
    class Net(Config):
        units: Count | None = None
        levels: Literal[1, 4] = 1
        share: Share | None = None
        weight: float = 1
        inner: Config | None = None

    assert [knob for knob in ("units", "levels", "steps", "inner.steps") if not is_whole(Net, knob)] == []
    others = ("share", "weight", "average", "name", "widths", "optimizer.rate", "inner.choice.momentum", "none", "a.b")
    assert [knob for knob in others if is_whole(Net, knob)] == []
