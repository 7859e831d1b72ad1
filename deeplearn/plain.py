"""Text from files and users, made safe to show: on a terminal, on a page, in a table, in a picture."""

import math
import re
from collections.abc import Mapping
from typing import Any

LONGEST = 1000
"""Characters that are shown of one text; more is no name, and no number, of ours."""
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls: they move the cursor, change titles, answer as if the user had typed
    "\u2028\u2029\u202a-\u202e\u2066-\u2069"  # line ends, and marks that turn the direction of what follows
    "\ud800-\udfff]"  # halves of characters, which cannot be written
)


def plain(text: Any, longest: int = LONGEST) -> str:
    r"""The text in one line: what is unsafe to show as an escape such as \x1b, and the end of a long one cut off."""
    text = str(text)
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return UNSAFE.sub(lambda found: ascii(found[0])[1:-1], cut)


def counted(text: str) -> list[str | int]:
    """A key to sort texts by, their numbers as numbers: seed-2 comes before seed-10."""
    # Texts stand at even places, numbers at odd ones, so that two keys never compare one with the other.
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", text))]


def plain_values(value: Any) -> Any:
    """JSON values with every string made plain."""
    if isinstance(value, dict):
        return {plain(name): plain_values(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain_values(inner) for inner in value]
    return plain(value) if isinstance(value, str) else value


def finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
