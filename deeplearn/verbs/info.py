"""`deeplearn info`: versions, devices, settings and folders."""

import re
from dataclasses import dataclass

from deeplearn.flags import before_jax, parse, screen_width


def main(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Info:
        pass

    parse(Info, words, verb="info", about="Versions, devices, settings and folders: what to put into a bug report.")
    before_jax()
    from deeplearn.data.package import cache
    from deeplearn.record.environment import environment, facts

    width = screen_width()
    for name, value in [*facts(environment()), ("data cache", str(cache()))]:
        print("\n".join(_fitting(name, value, width - 1)) if width else f"{name:18} {value}")


def _fitting(name: str, value: str, width: int) -> list[str]:
    """Lines no longer than the screen, broken at spaces and inside of lists with colons: a path stays whole, and what
    is too long for the column of values stands below the name."""
    parts = re.findall(r"[^\s:]+:?\s*|:\s*", value)
    column = 19 if max((len(part.rstrip()) for part in parts), default=0) <= width - 19 else 4
    lines = [f"{name:18} "] if column == 19 else [name, " " * column]
    for part in parts:
        if len((lines[-1] + part).rstrip()) <= width or len(lines[-1]) == column:
            lines[-1] += part
        else:
            lines.append(" " * column + part)
    return [line.rstrip() for line in lines]
