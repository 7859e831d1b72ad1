"""Results as JSON lines: a header with everything they depend on, then one line for each measurement."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplearn.errors import DataError
from deeplearn.record.environment import environment

from .timing import conditions

SCHEMA = "deeplearn-benchmark/1"
"""Changes when a reader of older files would misunderstand the new ones."""


@dataclass(frozen=True, kw_only=True)
class Records:
    """One file."""

    benchmark: str
    """matmul, step, ..."""
    environment: Mapping[str, Any]
    conditions: Mapping[str, Any]
    """Load and threads when it began."""
    rows: tuple[Mapping[str, Any], ...]
    """Each has `case`, a dict that names what was measured, and numbers or text beside it."""


def begin(benchmark: str) -> dict[str, Any]:
    """The header; take it before the measurements, so that the load is that of the others."""
    return {"schema": SCHEMA, "benchmark": benchmark, "environment": environment(), "conditions": conditions()}


def write(path: Path, header: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> Path:
    """One JSON object a line; numbers that JSON lacks (NaN, infinities) become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(_finite(row), allow_nan=False) + "\n" for row in (header, *rows))
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> Records:
    """A file that `write` made.

    Raises:
        DataError: it cannot be read, has another schema, or a line of it is damaged; names file and line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); give a .jsonl file that `deeplearn bench` wrote.") from error
    objects = []
    for number, line in enumerate(lines, start=1):
        try:
            objects.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number} is no JSON ({error}); measure again.") from error
    head = objects[0] if objects and isinstance(objects[0], dict) else {}
    if head.get("schema") != SCHEMA:
        raise DataError(f"{path} has the schema {head.get('schema')!r}, not {SCHEMA!r}; measure again.")
    for number, row in enumerate(objects[1:], start=2):
        if not isinstance(row, dict) or not isinstance(row.get("case"), dict):
            raise DataError(f"{path}, line {number} names no case; measure again.")
    return Records(
        benchmark=head["benchmark"],
        environment=head["environment"],
        conditions=head["conditions"],
        rows=tuple(objects[1:]),
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
