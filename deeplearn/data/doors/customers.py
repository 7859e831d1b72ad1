"""What there is to be grouped: customers or images; labels are kept to judge by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplearn.data import customers, images
from deeplearn.data.csvtable import Reading, Schema
from deeplearn.data.customers import Scaling
from deeplearn.data.image_folder import SUFFIXES
from deeplearn.data.inputs import TABLES, attempted, expanded
from deeplearn.data.sets.cdnow import cdnow
from deeplearn.data.sets.digits import digits, mnist5k
from deeplearn.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Data(Reading):
    """Which examples to group."""

    name: Literal["cdnow", "digits", "mnist5k"] = "cdnow"
    """Customers of CDNOW, or handwritten digits."""
    path: Path | None = None
    """Own CSV: purchases (customer, date, amount), the first half of which is learnt from, or a table of numbers."""
    tfds: str | None = None
    """A prepared TFDS set of labelled images, such as mnist, for the presets of digits."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What half of the past foretold of its other half: forecasts are learnt from it, and from nothing later."""

    known: np.ndarray
    """bool [N], whether the customer had bought in the first half."""
    before: np.ndarray
    """float32 [N, F, 1, 1] scaled numbers of the first half; zeros for customers not known then."""
    after: np.ndarray
    """float32 [N, 2] logarithms of the purchases and the spend of the second half, at mean 0 and deviation 1."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """N examples to group, and what their groups are judged by afterwards."""

    name: str
    image: np.ndarray
    """float32 [N, H, W, C]; F scaled numbers of a customer are a signal [N, F, 1, 1]."""
    scaling: Scaling | None = None
    """How the numbers of a customer were scaled."""
    values: np.ndarray | None = None
    """[N, F] the numbers in their own units."""
    lesson: Lesson | None = None
    """Of purchases."""
    later: np.ndarray | None = None
    """[N] what each customer spent in the following period."""
    label: np.ndarray | None = None
    """int32 [N] true classes."""

    @property
    def flat(self) -> np.ndarray:
        """[N, H * W * C] what a classical method sees."""
        return self.image.reshape(len(self.image), -1)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What customers have, by name [N] each: their numbers, and what they spent later; nothing of images."""
        named = {} if self.scaling is None else dict(zip(self.scaling.columns, self.values.T, strict=True))
        return named if self.later is None else named | {"later spend": self.later}

    @property
    def foretold(self) -> int:
        """How many numbers a forecast foretells."""
        return 0 if self.lesson is None else self.lesson.after.shape[1]

    def forecasting(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What forecasts are learnt from, of those of these rows of which something is known: `image` and `after`.

        Raises:
            ConfigError: there is nothing to learn from.
        """
        lesson = self.lesson
        if lesson is None or not lesson.after[lesson.known].any():
            raise ConfigError(f"{self.name} shows no dates on which customers came back; start with --preset idec.")
        rows = rows[lesson.known[rows]]
        return {"image": lesson.before[rows], "after": lesson.after[rows]}


def load(data: Data, *, say: bool = True) -> Examples:
    """The examples; all of them, since nothing is learnt from labels or from the later period.

    Args:
        say: note on standard error what was made of the user's file.

    Raises:
        DataError: a file cannot be read or is wrong; names the line.
    """
    if data.path is not None:
        if customers.holds_purchases(data.path, data):
            return _buyers(*customers.read_purchases(data.path, data, say=say))
        _, columns, values, schema = customers.read_features(data.path, data, say=say)
        scaling = customers.fit_scaling(columns, values, log=False, days=None, schema=schema)
        return Examples(name=str(data.path), image=_signal(scaling, values), scaling=scaling, values=values)
    if data.name == "cdnow" and data.tfds is None:
        return _buyers(cdnow())
    splits = _labelled(data)
    pixels = np.concatenate([split.image for split in splits]).astype(np.float32) / 255
    return Examples(name=data.tfds or data.name, image=pixels, label=np.concatenate([split.label for split in splits]))


def _labelled(data: Data) -> images.Splits:
    if data.tfds is None:
        return {"digits": digits, "mnist5k": mnist5k}[data.name]()
    from deeplearn.data import tfds

    return tfds.images(data.tfds)


def _buyers(purchases: customers.Purchases, schema: Schema | None = None) -> Examples:
    start, cut, end = customers.halves(purchases)
    past = purchases.between(start, cut)
    there = customers.known(past)
    if not len(there):
        raise DataError(f"{purchases.name} holds no purchase before {cut} that was not undone; give earlier ones")
    values = customers.describe(past.of(there), cut)
    days = int((cut - start).astype(int))
    scaling = customers.fit_scaling(customers.FEATURES, values, log=True, days=days, schema=schema)
    return Examples(
        name=purchases.name,
        image=_signal(scaling, values),
        scaling=scaling,
        values=values,
        lesson=_lesson(past.of(there), start, cut, scaling),
        later=purchases.between(cut, end).of(there).spend(),
    )


def _lesson(past: customers.Purchases, start: np.datetime64, cut: np.datetime64, scaling: Scaling) -> Lesson:
    middle = start + (cut - start) // 2
    first, second = past.between(start, middle), past.between(middle, cut)
    known = customers.counts(first) > 0
    before = _signal(scaling, customers.describe(first, middle, stretch=(cut - start) / (middle - start)))
    before[~known] = 0
    after = np.log1p(np.stack([customers.counts(second), np.maximum(second.spend(), 0)], axis=1))
    mean, deviation = after[known].mean(0), after[known].std(0)
    after = (after - mean) / np.where(deviation > 0, deviation, 1)
    return Lesson(known=known, before=before, after=after.astype(np.float32))


def _signal(scaling: Scaling, values: np.ndarray) -> np.ndarray:
    return customers.scaled(scaling, values)[:, :, None, None]


def read_all(
    inputs: Sequence[str], shape: Sequence[int], scaling: Scaling | None
) -> tuple[list[dict[str, str]], np.ndarray, list[dict[str, Any]]]:
    """(where each of N examples comes from, inputs [N, *shape], a row with `error` for each file that cannot be read).

    Of a CSV file all customers are examples, of images each file.
    """
    files = expanded(inputs, SUFFIXES if scaling is None else TABLES)
    read, failed = attempted(files, lambda path: read_like(path, shape, scaling), threads=8)
    place = lambda path, name: {"image": path} if scaling is None else {"file": path, "customer": name}  # noqa: E731
    examples = [np.empty((0, *shape), np.float32), *(values for _, (_, values) in read)]
    return [place(path, name) for path, (names, _) in read for name in names], np.concatenate(examples), failed


def read_like(path: str, shape: Sequence[int], scaling: Scaling | None) -> tuple[list[str], np.ndarray]:
    """(names, inputs [N, *shape]) of a user's file: an image, or a CSV of customers like the one learnt from.

    Raises:
        DataError: the file cannot be read or is wrong.
    """
    if scaling is None:
        from deeplearn.data.image_folder import read_image

        return [path], read_image(path, shape[:2], shape[2])[None].astype(np.float32) / 255
    names, values = customers.read_like(path, scaling)
    return names, _signal(scaling, values)
