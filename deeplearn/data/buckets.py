"""Batches of few shapes for examples of many lengths: each shape costs a compilation, and padding costs every step."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from deeplearn.data.source import Arrays, Batch


def bounds(lengths: Sequence[int] | Int[np.ndarray, "N"], most: int, step: int = 1) -> list[int]:
    """The at most so many lengths, multiples of `step`, to pad to, such that the least is padded; the last fits all."""
    rounded = -(-np.asarray(lengths) // step) * step
    sizes, counts = np.unique(rounded, return_counts=True)
    if len(sizes) > 64:  # the choice among all lengths takes time with their square, and gains little
        sizes = np.unique(np.quantile(rounded, np.linspace(0, 1, 65), method="higher"))
        counts = np.bincount(np.searchsorted(sizes, rounded))
    before = np.concatenate([[0], np.cumsum(counts)])
    # best[k][j]: (padded total, bounds) of the j shortest sizes with k bounds, the last of them sizes[j - 1].
    best = {0: (0, [])}
    for _ in range(most):
        best |= {
            j: min(
                (cost + int(sizes[j - 1] * (before[j] - before[i])), [*chosen, int(sizes[j - 1])])
                for i, (cost, chosen) in best.items()
                if i < j
            )
            for j in range(len(sizes), 0, -1)
        }
    return best[len(sizes)][1]


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """A source of several `Arrays`, one for each shape; every batch is of one of them.

    A cycle is about one epoch: each part gives as many batches as its examples fill, in an order that the seed draws.
    Within a part every example comes once before any comes again.
    """

    parts: Sequence[Mapping[str, np.ndarray]]
    """The same columns [N, ...] for each shape."""
    batch: int
    """Examples in a batch of all processes together."""
    seed: int = 0
    """Draws the order of parts and of the examples in them."""
    name: str = "buckets"
    """Name of the data set, for the fingerprint."""
    process_index: int = 0
    """Which slice of the global batch is ours."""
    process_count: int = 1
    """How many processes share a batch."""

    @cached_property
    def arrays(self) -> list[Arrays]:
        own = {name: getattr(self, name) for name in ("batch", "seed", "name", "process_index", "process_count")}
        return [Arrays(columns=part, **own) for part in self.parts]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.arrays)

    def at(self, step: int) -> Batch:
        counts = [max(round(part.size / self.batch), 1) for part in self.arrays]
        cycle, place = divmod(step, sum(counts))
        order = np.random.default_rng([self.seed, cycle]).permutation(np.repeat(np.arange(len(counts)), counts))
        number = order[place]
        earlier = cycle * counts[number] + int((order[:place] == number).sum())
        return self._numbered(self.arrays[number].at(earlier), number)

    def once(self) -> Iterator[Batch]:
        for number, part in enumerate(self.arrays):
            for batch in part.once():
                yield self._numbered(batch, number)

    def fingerprint(self) -> dict[str, Any]:
        parts = [part.fingerprint() for part in self.arrays]
        digest = hashlib.sha256("".join(part["sha256"] for part in parts).encode()).hexdigest()
        return {**parts[0], "size": self.size, "sha256": digest}

    def described(self, column: str) -> str:
        """Examples and length of each part, such as `812 x 16000`."""
        return ", ".join(f"{part.size} x {part.columns[column].shape[1]}" for part in self.arrays)

    def _numbered(self, batch: Batch, number: int) -> Batch:
        before = sum(part.size for part in self.arrays[:number])
        return batch | {"index": (batch["index"] + before).astype(np.int32)}


def padding(lengths: Sequence[int], limits: Sequence[int]) -> float:
    """Share of padding among all places when each length is padded to the smallest limit that holds it."""
    padded = np.asarray(limits)[np.searchsorted(limits, lengths)]
    return 1 - math.fsum(lengths) / math.fsum(padded)
