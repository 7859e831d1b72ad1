"""What a knob may be, declared once beside it: `rate: Positive = 1e-3`. `config.check` holds configs to it."""

import math
from dataclasses import dataclass
from typing import Annotated, TypeVar


@dataclass(frozen=True, kw_only=True)
class Range:
    """The finite numbers from low to high, for a knob's type: `Annotated[float, Range(low=0)]`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """`low` itself is not allowed."""
    below: bool = False
    """`high` itself is not allowed."""

    def __contains__(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (value > self.low if self.above else value >= self.low)
            and (value < self.high if self.below else value <= self.high)
        )

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f"{'above' if self.above else 'at least'} {self.low:g}"
        high = "" if self.high == math.inf else f"{'below' if self.below else 'at most'} {self.high:.10g}"
        return " and ".join(part for part in (low, high) if part) or "a finite number"


@dataclass(frozen=True)
class Filled:
    """A knob of several values has one at least."""


Value = TypeVar("Value")
Some = Annotated[tuple[Value, ...], Filled()]
"""`sizes: Some[Count] = (50, 100)`: one or more."""
Count = Annotated[int, Range(low=1)]
"""Of things there has to be one of, such as steps, rows, units."""
Amount = Annotated[int, Range(low=0)]
"""Of things there need not be any of."""
Number = Annotated[float, Range()]
Positive = Annotated[float, Range(low=0, above=True)]
NotNegative = Annotated[float, Range(low=0)]
Share = Annotated[float, Range(low=0, high=1)]
"""Of a whole, or a probability."""
Rest = Annotated[float, Range(low=0, high=1, below=True)]
"""A share that leaves something, such as dropout, or the decay of an average."""
Within = Annotated[float, Range(low=0, high=1, above=True, below=True)]
"""A share that is neither nothing nor everything, such as a quantile."""
