"""Every number that a user may set has a range, and a wrong one is named with it before anything else happens."""

import dataclasses
import math
import typing
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import pytest

from deeplearn import catalog
from deeplearn.config import check, from_json, to_json
from deeplearn.errors import ConfigError
from deeplearn.experiment import Run
from deeplearn.knobs import Amount, Count, NotNegative, Range, Rest, Share, Some, Within


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: NotNegative = 0.1
    shares: tuple[Within, ...] = (0.5,)
    clip: Annotated[float, Range(low=0, above=True)] | None = None
    sizes: Some[Count] = (2, 3)


@dataclass(frozen=True, kw_only=True)
class Outer:
    steps: Count = 3
    begin: Amount | None = None
    dropout: Rest = 0.0
    share: Share = 1.0
    free: int = 0
    name: Literal["a", "b"] = "a"
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True, kw_only=True)
class Other(Outer):
    """Other defaults are no other ranges."""

    steps: int = 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps is 0, and it has to be at least 1"),
        ({"begin": -1}, "begin is -1, and it has to be at least 0"),
        ({"dropout": 1.0}, "dropout is 1.0, and it has to be at least 0 and below 1"),
        ({"share": 1.5}, "share is 1.5, and it has to be at least 0 and at most 1"),
        ({"inner": {"rate": math.nan}}, "inner.rate is nan, and it has to be at least 0"),
        ({"inner": {"rate": math.inf}}, "inner.rate is inf"),
        ({"inner": {"shares": [0.5, 0.0]}}, "inner.shares is 0.0, and it has to be above 0 and below 1"),
        ({"inner": {"sizes": []}}, "inner.sizes is empty, and it has to have one value at least"),
        ({"inner": {"sizes": [4, 0]}}, "inner.sizes is 0, and it has to be at least 1"),
        ({"inner": {"clip": 0.0}}, "inner.clip is 0.0, and it has to be above 0"),
    ],
)
@pytest.mark.parametrize("cls", [Outer, Other])
def test_a_value_outside_is_named_with_what_it_may_be(cls, wrong, message):
    with pytest.raises(ConfigError, match=f"the knob {message}"):
        from_json(cls, wrong)


def test_what_is_inside_passes_and_comes_back():
    config = Other(steps=1, begin=0, share=0.0, free=-5, inner=Inner(rate=0.0, shares=(), clip=None))
    check(config)
    assert from_json(Other, to_json(config)) == config


@pytest.mark.parametrize("seed", [-1, 2**32 - 1000, 2**32])
def test_every_seed_of_a_run_is_a_uint32(seed):
    with pytest.raises(ConfigError, match="the knob seed is"):
        check(Run(seed=seed))
    check(Run(seed=2**32 - 1001, seeds=1000))


def numbers(cls: type, prefix: str = "") -> set[str]:
    """Dotted names of the knobs that are numbers."""
    found = set()
    hints = typing.get_type_hints(cls)
    for one in dataclasses.fields(cls):
        inside = {hints[one.name], *typing.get_args(hints[one.name])}
        if inside & {int, float}:
            found.add(prefix + one.name)
        for part in inside:
            if dataclasses.is_dataclass(part):
                found |= numbers(part, f"{prefix}{one.name}.")
    return found


def with_value(config: Any, name: str, value: Any) -> Any:
    outer, _, inner = name.partition(".")
    if inner:
        value = with_value(getattr(config, outer), inner, value)
    elif isinstance(getattr(config, outer), tuple):
        value = (value,)
    return replace(config, **{outer: value})


@pytest.mark.parametrize("name", catalog.names())
def test_no_number_of_an_experiment_goes_without_a_range(name):
    recipe = catalog.load(name)
    for config in (recipe.Config(), *recipe.PRESETS.values()):
        check(config)
    for knob in sorted(numbers(recipe.Config)):
        with pytest.raises(ConfigError, match=f"the knob {knob} is nan"):
            check(with_value(recipe.Config(), knob, math.nan))
        with pytest.raises(ConfigError, match=f"the knob {knob} is -1000000"):
            check(with_value(recipe.Config(), knob, -1_000_000))
