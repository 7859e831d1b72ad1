"""Files and disks that fail, and folders that are not what they seem."""

import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from deeplearn import checkpoint

from . import hostile
from .suffering import ERRORS, Ground, Outcome, Tally, at_call
from .victim import run, use


def _bytes(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes() or b"x")
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def _folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, draw: random.Random) -> None:
    """To the very same bytes."""
    path.rename(path.parent.parent / "aside")
    path.symlink_to(path.parent.parent / "aside")


def _another(path: Path, draw: random.Random) -> None:
    """The bytes of a file beside it."""
    beside = sorted(other for other in path.parent.iterdir() if other.is_file() and other != path)
    if beside:
        path.write_bytes(draw.choice(beside).read_bytes())


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "flipped": _flip,
    "cut": lambda path, draw: _bytes(path, lambda data: data[: draw.randrange(len(data) or 1)]),
    "zeroed": lambda path, draw: _bytes(path, lambda data: bytes(len(data))),
    "emptied": lambda path, draw: _bytes(path, lambda data: b""),
    "appended to": lambda path, draw: _bytes(path, lambda data: data + b"0"),
    "removed": lambda path, draw: path.unlink(),
    "a folder": _folder,
    "a link": _link,
    "another": _another,
}


def damages(ground: Ground, count: int) -> Iterator[Tally]:
    """One or two files of a finished run; then the model is used, the run reported, and some are trained on."""
    one, two = Tally(fault="a file damaged, then predict"), Tally(fault="two files damaged, then predict")
    going = Tally(fault="one or two damaged, then train")
    cases = [
        (kind, path.relative_to(ground.place / kind), how)
        for kind in ("one fit", "two phases", "seeds in turn")
        for path in sorted((ground.place / kind).rglob("*"))
        for how in DAMAGES
        if path.is_file()
    ]
    ground.draw.shuffle(cases)
    for number in range(count):
        kind, name, how = cases[number % len(cases)]
        folder, tally, what = ground.copy(kind), one, f"{kind}: {name} {how}"
        DAMAGES[how](folder / name, ground.draw)
        if number % 4 == 3:
            other = ground.draw.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
            more = ground.draw.choice(list(DAMAGES))
            DAMAGES[more](other, ground.draw)
            tally, what = two, f"{what}, {other.relative_to(folder)} {more}"
        found = ground.suffer(_used, kind, folder)
        tally.add(what, judged(found, ground.whole[kind]["predicted"]), bits=found.code == 0)
        if number % 16 in (3, 8):
            ended = ground.suffer(run, kind, folder)
            told = ended.code in ERRORS and not ended.traceback
            lost = None if told else ground.again(kind, folder, logs=False)
            going.add(what, lost, bits=lost is None and not told)
        shutil.rmtree(folder)
    yield from (one, two, going)


def _used(kind: str, folder: Path) -> Any:
    """`deeplearn report`, which never fails, and `deeplearn predict`."""
    from deeplearn.record.reading import load_run
    from deeplearn.record.table import table

    table([load_run(folder)], "text")
    return use(kind, folder)


def judged(found: Outcome, right: Any) -> str | None:
    """Nothing if the model was the right one, if an older one was and it was said, or if one sentence refused it."""
    if found.code == 0:
        return None if found.value == right or "is damaged" in found.said else "silently another model"
    return None if found.code in ERRORS and not found.traceback else str(found)


def disks(ground: Ground, count: int) -> Iterator[Tally]:
    """Files that may not grow, which any user can set; full and read-only disks where we may mount some."""
    tally = Tally(fault="no file may grow, from some save on")
    for _ in range(count):
        starve = partial(_limit, ground.draw.randrange(1_000, 60_000), ground.draw.randrange(8))
        _starved(ground, ground.fresh(), tally, starve)
    yield tally
    for fault, option in (("disk full", "size={}k"), ("no inodes", "nr_inodes={}")):
        tally = Tally(fault=fault)
        for _ in range(count):
            folder = ground.fresh()
            if _mounted(folder, "-t", "tmpfs", "-o", option.format(ground.draw.randrange(40, 400)), "faults"):
                enlarge = partial(_mounted, folder, "-o", "remount,size=100m,nr_inodes=100k")
                _starved(ground, folder / "run", tally, feed=enlarge)
                _unmounted(folder)
        yield tally
    yield _read_only(ground)


def _limit(most: int, nth: int) -> None:
    """From the nth save on no file may have more bytes."""
    at_call(checkpoint.Store, "save", nth, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))


def _starved(
    ground: Ground,
    folder: Path,
    tally: Tally,
    starve: Callable[[], None] = lambda: None,
    feed: Callable[[], Any] = lambda: None,
) -> None:
    """A run that may end with 74; the next one, with room, has to end with the same bits."""
    ended = ground.suffer(lambda: (starve(), run("one fit", folder)))
    feed()
    fine = ended.code in (0, 74) and not ended.traceback
    lost = ground.again("one fit", folder) if fine else str(ended)
    tally.add("run", lost, bits=lost is None, seconds=ended.seconds)


def _read_only(ground: Ground) -> Tally:
    """A finished run can be used there, and one that is to go on says that it cannot."""
    tally, folder = Tally(fault="read-only disk"), ground.fresh()
    shutil.copytree(ground.place / "one fit", folder / "run")
    if _mounted(folder, "--bind", str(folder)) and _mounted(folder, "-o", "remount,ro,bind"):
        found = ground.suffer(_used, "one fit", folder / "run")
        tally.add("predict", judged(found, ground.whole["one fit"]["predicted"]), bits=found.code == 0)
        ended = ground.suffer(run, "one fit", folder / "run", steps=90)
        tally.add("train", None if ended.code == 74 and not ended.traceback else str(ended), seconds=ended.seconds)
    _unmounted(folder)
    return tally


def _mounted(folder: Path, *words: str) -> bool:
    """Whether `mount` did it; only root may, and not everywhere."""
    folder.mkdir(exist_ok=True)
    return subprocess.run(["mount", *words, str(folder)], capture_output=True).returncode == 0


def _unmounted(folder: Path) -> None:
    while subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0:
        continue  # Until nothing is mounted there.


def strangers(ground: Ground, count: int) -> Iterator[Tally]:
    """Run folders made to do harm, each in a table beside a good one; every twentieth on a page."""
    tally = Tally(fault="a stranger's folder, then report")
    for number in range(count):
        folder, seed, before = ground.copy("seeds together"), ground.draw.randrange(2**32), time.monotonic()
        ended = ground.suffer(_attacked, ground, folder, seed, page=number % 20 == 0)
        shown = ended.code == 0 and "always the same" in ended.value
        tally.add(f"drawn by {seed}", None if shown else str(ended), seconds=time.monotonic() - before)
        shutil.rmtree(folder)
    yield tally


def _attacked(ground: Ground, folder: Path, seed: int, *, page: bool) -> str:
    from deeplearn.record import report
    from deeplearn.record.reading import load_run
    from deeplearn.record.table import table

    hostile.spoil(folder, random.Random(seed))
    signal.alarm(60)
    runs = [load_run(ground.place / "one fit"), load_run(folder)]
    if page:
        report.page(runs, folder.with_suffix(".html"))
    return "".join(table(runs, form) for form in ("text", "github", "latex", "html"))
