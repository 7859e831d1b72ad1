"""Run folders that a stranger made to do harm: drawn, not listed; for `faults` and for the tests of what reads them."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILES = ("config.json", "env.json", "metrics.jsonl", "result.json", "command.txt")
NUMBERS = (None, True, -1, 0, 10**400, -1e308, 1e308, float("nan"), float("inf"), 2**63, 1e-320)
TEXTS = (
    *("", "$$", "$x^{", "\x1b[2J\x1b]0;title\x07", "\ud800", "\u202egnp", "a\nb\x00c", "x" * 100_000, "%s%n"),
    *("<script>alert(1)</script>", "](javascript:alert(1))", "{{ 7*7 }}", "../../etc/passwd"),
    *("\\input{/etc/passwd}", "=cmd|'/C c'!A0"),
)
TREES = (
    *([], {}, [[]], [[1], [2, 3]], [None], {"": {}}, {"type": "x"}, [["a"]], [[[1]]], ["$", "$$", "$$$"]),
    *([[-1, -2], [1e308, float("nan")]], list(range(1000)), {f"m{i}/x": i for i in range(300)}),
)
VALUES: tuple[Any, ...] = (*NUMBERS, *TEXTS, *TREES)


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


def _paths(value: Any, path: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, part in inner for found in _paths(part, (*path, key)))]


def _replaced(value: Any, path: tuple, new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, dict):
        return {key: _replaced(part, path[1:], new) if key == path[0] else part for key, part in value.items()}
    return [_replaced(part, path[1:], new) if key == path[0] else part for key, part in enumerate(value)]


def _value(path: Path, draw: random.Random) -> None:
    """Some values of a JSON file become others."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    if path.suffix == ".txt":
        path.write_text(str(draw.choice(VALUES)), errors="surrogatepass")
        return
    number = draw.randrange(len(lines))
    value = json.loads(lines[number])
    for _ in range(draw.choice((1, 1, 3))):
        value = _replaced(value, draw.choice(_paths(value)), draw.choice(VALUES))
    lines[number] = json.dumps(value)
    path.write_text("\n".join(lines) + "\n")


def _key(path: Path, draw: random.Random) -> None:
    """A name becomes another, or a new one comes."""
    if path.suffix != ".json":
        return
    value = json.loads(path.read_text())
    places = [place for place in _paths(value) if isinstance(_at(value, place), dict)]
    place = draw.choice(places)
    name = draw.choice(TEXTS)
    path.write_text(json.dumps(_replaced(value, place, {**_at(value, place), name: draw.choice(VALUES)})))


def _at(value: Any, path: tuple) -> Any:
    for key in path:
        value = value[key]
    return value


def _bytes(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    where = draw.randrange(max(len(data), 1))
    data[where : where + draw.randrange(40)] = draw.randbytes(draw.randrange(40))
    path.write_bytes(data)


def _text(path: Path, draw: random.Random) -> None:
    texts = (
        deep(100_000),
        deep(600),
        '{"a": ' * 500 + "1" + "}" * 500,
        "1" * 10_000,
        '"\\ud800"',
        "null",
        "",
        "NaN",
        "\0",
    )
    path.write_text(draw.choice(texts))


def _pipe(path: Path, draw: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(draw.choice(("/dev/zero", "/etc/passwd", "/proc/self/mem", path.name, ".")))


def _sparse(path: Path, draw: random.Random) -> None:
    with path.open("ab") as file:
        file.truncate(10**11)


def _folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _pictures(path: Path, draw: random.Random) -> None:
    """In figures/: links out of the folder, pipes, an SVG whose size is none, names that are no text."""
    place = path.parent / "figures"
    place.mkdir(exist_ok=True)
    (place / "leak.png").symlink_to("/etc/passwd")
    os.mkfifo(place / "pipe.svg")
    (place / "size.svg").write_text('<svg viewBox="0 0 1.2.3 ....">')
    (place / os.fsdecode(b"\xff\x1b.svg")).symlink_to("/etc")


KINDS: tuple[Callable[[Path, random.Random], None], ...] = (
    *(_value, _value, _value, _value, _key, _key, _bytes, _text),
    *(_pipe, _link, _sparse, _folder, _pictures),
)


def spoil(folder: Path, draw: random.Random) -> str:
    """Do something drawn to one or two files of a run folder; says what."""
    done = []
    for name in draw.sample(FILES, draw.choice((1, 2))):
        kind = draw.choice(KINDS)
        if kind is not _pictures or not (folder / "figures" / "leak.png").is_symlink():
            kind(folder / name, draw)
            done.append(f"{kind.__name__.strip('_')} {name}")
    return ", ".join(done)
