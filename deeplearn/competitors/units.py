"""Speech from pieces of recordings, as machines spoke before they learnt to: unit selection (Hunt & Black, 1996).

A unit reaches from the middle of one phoneme to the middle of the next, where sounds are steadiest. Of all recorded
units the chain is chosen whose neighbours fit each other and whose surroundings are those that are asked for.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from deeplearn.data.doors.teacher import Lesson
from deeplearn.errors import DataError
from deeplearn.methods.prosody import Measured
from deeplearn.methods.sound import Mel
from deeplearn.methods.voice import cepstra

MOST = 50
"""Candidates for one unit; the first of the recordings, whose order is random."""
OTHER, BROKEN, SPLICE = 1.0, 1.0, 8.0
"""Costs: of an unlike neighbour, of a cut as such, and of a unit where only one of the two phonemes is right. The
distance of two cepstra at a cut comes on top, in deviations of all frames."""
FADE = 0.005
"""Seconds over which two pieces are blended."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Recordings cut into phonemes."""

    sounds: Sequence[Int[np.ndarray, "_"]]
    phonemes: Sequence[Sequence[str]]
    ends: Sequence[Int[np.ndarray, "_"]]
    """The frame at which each phoneme ends."""
    cepstra: Sequence[Float[np.ndarray, "_ C"]]
    hop: int
    """Samples from frame to frame."""
    rate: int

    @cached_property
    def middles(self) -> list[Int[np.ndarray, "_"]]:
        """The frame in the middle of each phoneme; the outermost, which are silent, at the very ends."""
        found = []
        for ends, own in zip(self.ends, self.cepstra, strict=True):
            middle = (np.concatenate([[0], ends[:-1]]) + ends) // 2
            middle[0], middle[-1] = 0, len(own) - 1
            found.append(np.minimum(middle, len(own) - 1))
        return found

    @cached_property
    def places(self) -> dict[tuple[str | None, str | None], list[tuple[int, int]]]:
        """(phoneme, next) -> (recording, number of the first); None where either may stand."""
        found = defaultdict(list)
        for number, names in enumerate(self.phonemes):
            for place in range(len(names) - 1):
                for key in ((names[place], names[place + 1]), (None, names[place + 1]), (names[place], None)):
                    if len(found[key]) < MOST:
                        found[key].append((number, place))
        return found

    @cached_property
    def scale(self) -> Float[np.ndarray, "C"]:
        return np.concatenate(self.cepstra).std(0)

    def say(self, names: Sequence[str]) -> Float[np.ndarray, "T"]:
        """Samples in -1..1. Raises DataError for a phoneme that was never recorded."""
        wanted, total, back = [], np.zeros(1), []
        for place in range(len(names) - 1):
            units, own = self._candidates(names, place)
            if place:
                cost = total[:, None] + np.array([[self._join(a, b) for b in units] for a in wanted[-1]])
                back.append(cost.argmin(0))
                total = cost.min(0) + own
            else:
                total = own
            wanted.append(units)
        chain = [int(total.argmin())]
        for step in reversed(back):
            chain.append(int(step[chain[-1]]))
        return self._joined([units[choice] for units, choice in zip(wanted, reversed(chain), strict=True)])

    def _candidates(self, names: Sequence[str], place: int) -> tuple[list[tuple[int, int]], Float[np.ndarray, "K"]]:
        """Units for a phoneme and the next, and how ill their surroundings fit."""
        first, second = names[place], names[place + 1]
        ways = (((first, second), 0.0), ((None, second), SPLICE), ((first, None), SPLICE))
        units, spliced = next(((self.places[key], cost) for key, cost in ways if key in self.places), ([], 0.0))
        if not units:
            raise DataError(f"no recording holds {first!r} or {second!r}: record more, or say something else")
        around = (names[place - 1] if place else None, names[place + 2] if place + 2 < len(names) else None)
        costs = []
        for number, start in units:
            own = self.phonemes[number]
            left, right = own[start - 1] if start else None, own[start + 2] if start + 2 < len(own) else None
            costs.append(spliced + OTHER * (left != around[0]) + OTHER * (right != around[1]))
        return units, np.array(costs)

    def _join(self, a: tuple[int, int], b: tuple[int, int]) -> float:
        if a[0] == b[0] and a[1] + 1 == b[1]:
            return 0.0
        left = self.cepstra[a[0]][self.middles[a[0]][a[1] + 1]]
        right = self.cepstra[b[0]][self.middles[b[0]][b[1]]]
        return BROKEN + float(np.linalg.norm((left - right) / self.scale))

    def _joined(self, chain: Sequence[tuple[int, int]]) -> Float[np.ndarray, "T"]:
        """The units one after the other; those that follow each other in a recording are one piece."""
        pieces = []
        for number, place in chain:
            start, end = (int(self.middles[number][at]) * self.hop for at in (place, place + 1))
            if pieces and pieces[-1][0] == number and pieces[-1][2] == start:
                pieces[-1] = (number, pieces[-1][1], end)
            else:
                pieces.append((number, start, end))
        fade = round(FADE * self.rate)
        found = np.zeros(0, np.float32)
        for number, start, end in pieces:
            piece = self.sounds[number][start : end + fade] / np.float32(32768)
            blend = min(fade, len(found), len(piece))
            up = np.arange(blend, dtype=np.float32) / max(blend, 1)
            middle = found[len(found) - blend :] * (1 - up) + piece[:blend] * up
            found = np.concatenate([found[: len(found) - blend], middle, piece[blend:]])
        return found


def inventories(lessons: Sequence[Lesson], found: Sequence[Measured], mel: Mel) -> dict[str, Inventory]:
    """The recordings of each speaker, and what was measured of them: nobody speaks with another's pieces."""
    rows = defaultdict(list)
    for lesson, own in zip(lessons, found, strict=True):
        rows[lesson.speaker].append((lesson.sound, lesson.phonemes, np.cumsum(own.duration), cepstra(own.bands)))
    made = {}
    for who, own in rows.items():
        sounds, phonemes, ends, spectra = zip(*own, strict=True)
        made[who] = Inventory(sounds=sounds, phonemes=phonemes, ends=ends, cepstra=spectra, hop=mel.hop, rate=mel.rate)
    return made
