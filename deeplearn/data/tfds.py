"""TensorFlow Datasets (TFDS), read and written as ArrayRecord files without TensorFlow.

    write("shapes", features, {"train": records})     # our own sets
    read("cifar10", "train")[0]                       # {"image": uint8 [32, 32, 3], "label": int32 [], "id": b"..."}
    images("cifar10")                                 # -> Splits in memory
    crops("imagenet2012", "train", batch=1024, ...)   # -> Records, read as they are needed

Prepared sets lie in `$TFDS_DATA_DIR`, by default where TFDS itself keeps them (`~/tensorflow_datasets`).
"""

import contextlib
import io
import json
import os
import sys
import types
import unittest.mock
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn import files
from deeplearn.data import paged
from deeplearn.data.csvtable import Table
from deeplearn.data.images import Images, Splits, carved
from deeplearn.data.source import Records
from deeplearn.errors import DataError

WITHOUT_TENSORFLOW = (
    *("mnist", "fashion_mnist", "cifar10", "cifar100"),
    *("ted_hrlr_translate/ru_to_en", "wmt14_translate/de-en"),
)
"""What `prepare` was tested on; it takes the other languages of the last two as well."""


def home() -> Path:
    """The folder of prepared data sets."""
    chosen = os.environ.get("TFDS_DATA_DIR")
    return Path(chosen).expanduser() if chosen else files.home() / "tensorflow_datasets"


def write(name: str, features: Mapping[str, Any], splits: Mapping[str, Iterable[Mapping[str, Any]]]) -> Path:
    """Writes records as a TFDS data set, version 1.0.0, and returns its folder; an existing one is left as it is.

    Args:
        features: `tfds.features` by name. Give tensors `encoding=Encoding.BYTES`, which is ten times as fast, and
            images as encoded bytes: encoding arrays would need TensorFlow.
        splits: records of each split, in order.
    """
    import tensorflow_datasets as tfds

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            described = tfds.features.FeaturesDict(dict(features))
            return tfds.core.DatasetInfo(builder=self, features=described, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {split: enumerate(records) for split, records in splits.items()}

        def _generate_examples(self):
            raise NotImplementedError  # the splits above are generators already

    Builder.name = name
    builder = Builder(data_dir=home(), file_format="array_record")
    with contextlib.redirect_stdout(sys.stderr):  # TFDS prints its progress; standard output is for results
        builder.download_and_prepare()
    return Path(builder.data_dir)


@dataclass(frozen=True)
class Decoded(Sequence):
    """Random access to records of arrays (integers of 64 bits become int32) and of `bytes` for text."""

    raw: Sequence[Mapping[str, Any]]
    """A TFDS data source."""

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return _plain(self.raw[row])


def read(name: str, split: str, *, encoded: bool = False) -> Decoded:
    """Records of a prepared data set.

    Args:
        name: `cifar10`, or `name/config`, or `name/config:version`; the newest version that is there is taken.
        split: `train`, or a slice such as `train[:80%]`.
        encoded: leaves images as the bytes of their files.

    Raises:
        DataError: the set is not prepared (with the command that does it), is no ArrayRecord, has no such split, or
            asks for code outside of TFDS.
    """
    import tensorflow_datasets as tfds

    builder = _builder(name)
    decoders = {}
    if encoded:
        decoders = {
            key: tfds.decode.SkipDecoding()
            for key, feature in builder.info.features.items()
            if isinstance(feature, tfds.features.Image)
        }
    try:
        return Decoded(builder.as_data_source(split, decoders=decoders or None))
    except ValueError as error:
        raise DataError(f"{name} has no split {split!r}; it has {', '.join(builder.info.splits)}") from error


def classes(name: str, feature: Sequence[str] = ("label",)) -> tuple[str, ...]:
    """Names of the values of `label`, or of a feature inside of others, such as ("objects", "label")."""
    found = _builder(name).info.features
    for part in feature:
        found = found[part]
    return tuple(found.names)


def table(name: str) -> Table:
    """The columns of a set of numbers, classes and texts, such as diamonds; of nested ones the innermost name.

    Raises:
        DataError: the set is not prepared, or has a column that is no column of a table, such as an image.
    """
    import tensorflow_datasets as tfds

    records, features = read(name, "train"), dict(_leaves(_builder(name).info.features))
    columns: dict[str, list] = {column: [] for column in sorted(features)}  # TFDS keeps no order
    for row in range(len(records)):
        for column, value in _leaves(records[row]):
            columns[column].append(value)
    found: Table = {}
    for column, values in columns.items():
        if isinstance(values[0], bytes):
            found[column] = np.array([value.decode() for value in values])
        elif np.ndim(values[0]):
            raise DataError(f"{name} is no table: its {column} holds arrays; choose a set of numbers and classes")
        elif isinstance(features[column], tfds.features.ClassLabel):
            found[column] = np.array(["", *features[column].names])[np.array(values) + 1]  # -1: not known
        else:
            found[column] = np.array(values, np.float64)
    return found


def _leaves(tree: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in tree.items():
        if hasattr(value, "items"):  # A record's mapping, or TFDS' FeaturesDict, which is none.
            yield from _leaves(value)
        else:
            yield name, value


def images(name: str, seed: int = 0) -> Splits:
    """A set of `image` and `label` that fits into memory; a stratified tenth of its `train` becomes the validation."""
    parts = {}
    for split in ("train", "test"):
        records = read(name, split)
        label, title = [], {"name": name, "version": _folder(name).name}
        image = paged.stacked(_images(records, label), len(records))
        parts[split] = Images(image=image, label=np.stack(label), classes=classes(name), **title)
    everything = np.arange(len(parts["train"].label))
    train, validation, _ = carved(parts["train"], everything, everything[:0], seed, share=0.1)
    return Splits(train, validation, parts["test"].take(np.arange(len(parts["test"].label)), "test"))


def _images(records: Sequence[Mapping[str, Any]], label: list[Any]) -> Iterator[np.ndarray]:
    """The images of all records, each decoded once; their labels are added to `label`."""
    for row in range(len(records)):
        record = records[row]
        label.append(record["label"])
        yield record["image"]


def crops(name: str, split: str, *, batch: int, size: int = 224, train: bool, seed: int = 0) -> Records:
    """Images of any size as uint8 [size, size, 3], decoded while they are needed: for sets larger than memory.

    Args:
        train: random area and aspect ratio and a random flip (Szegedy et al., 2015, arXiv:1409.4842); otherwise the
            middle square, 7/8 of the shorter side, as the ImageNet papers evaluate.
    """

    def transform(record: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        from PIL import Image

        with Image.open(io.BytesIO(record["image"])) as image:
            box = _random_box(image.size, rng) if train else _middle_box(image.size)
            pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=box))
        return {"image": pixels[:, ::-1] if train and rng.random() < 0.5 else pixels, "label": record["label"]}

    records = read(name, split, encoded=True)
    title = {"name": f"{name}/{split}", "version": _folder(name).name}
    return Records(records=records, batch=batch, transform=transform, seed=seed, **title)


def listing(width: int | None = None) -> str:
    """A line a data set: its prepared version, or the command that makes it, below the name where `width` is small."""

    def fitting(line: str, more: str) -> str:
        whole = f"{line} {more}"
        return whole if width is None or len(whole) < width else f"{line}\n    {more}"

    known = [*WITHOUT_TENSORFLOW, "imagenet2012"]
    found = {}
    for path in sorted([*home().glob("*/*/dataset_info.json"), *home().glob("*/*/*/dataset_info.json")]):
        folder = path.relative_to(home()).parent
        found.setdefault(folder.parent.as_posix(), []).append(folder.name)
    lines = [fitting("Prepared data sets in", f"{home()}:")]
    for name in [*known, *sorted(found.keys() - set(known))]:
        missing = (f"  {name:27} not prepared; run:", f"deeplearn data prepare {name}")
        lines.append(fitting(f"  {name:27}", ", ".join(found[name])) if name in found else fitting(*missing))
    return "\n".join(lines)


def prepare(name: str) -> Path:
    """Downloads a data set and writes it below `home()`, without TensorFlow.

    Raises:
        DataError: the download failed, or this set needs TensorFlow (the message holds the command to use).
    """
    known = {example.partition("/")[0]: example for example in WITHOUT_TENSORFLOW}
    example = known.get(name.partition("/")[0])
    if example and "/" in example and "/" not in name:
        raise DataError(f"{name} is a set for each pair of languages; name one, such as {example}")
    if example is None:
        raise DataError(
            f"preparing {name} needs TensorFlow once, in an environment of its own: python -m venv tfds-env && "
            "tfds-env/bin/pip install tensorflow tensorflow-datasets && "
            f"tfds-env/bin/tfds build {name} --file_format=array_record --data_dir={home()}"
            + " (with the two ILSVRC2012 archives in its downloads/manual folder)"
            * (name == "imagenet2012")
        )
    import tensorflow_datasets as tfds
    import tensorflow_datasets.translate  # TFDS registers its texts when they are asked for, and not before

    builder = tfds.builder(name, data_dir=home(), file_format="array_record")
    try:
        with _untensored(builder), contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare()
    except Exception as error:  # TFDS lets every kind of network error through
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"cannot prepare {name} ({reason}); check the network and the disk, then try again") from error
    return Path(builder.data_dir)


@contextlib.contextmanager
def _untensored(builder):
    """Lets a stock builder encode images by PIL and open files by Python, which is all it asks of TensorFlow."""
    from PIL import Image
    from tensorflow_datasets.core.download import extractor
    from tensorflow_datasets.core.features import image_feature

    def encode(self, array: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(file, self.encoding_format)
        return file.getvalue()

    files = types.SimpleNamespace(gfile=types.SimpleNamespace(GFile=open))
    stand_in = types.SimpleNamespace(io=files, compat=types.SimpleNamespace(as_text=str))
    with (
        unittest.mock.patch.object(image_feature._ImageEncoder, "_encode_image", encode),
        unittest.mock.patch.object(extractor, "tf", stand_in),
        unittest.mock.patch.object(sys.modules[type(builder).__module__], "tf", stand_in, create=True),
    ):
        yield


@contextlib.contextmanager
def _soundless():
    """Lets TFDS make the feature of a sound, for which it asks TensorFlow what NumPy knows."""
    from tensorflow_datasets.core.features import audio_feature

    stand_in = types.SimpleNamespace(dtypes=types.SimpleNamespace(as_dtype=np.dtype))
    with unittest.mock.patch.object(audio_feature, "tf", stand_in):
        yield


def _folder(name: str) -> Path:
    """The folder of the newest prepared version."""
    import tensorflow_datasets as tfds

    place, _, version = name.partition(":")
    found = [path.parent for path in (home() / place).glob(f"{version or '*'}/dataset_info.json")]
    if not found:
        raise DataError(f"{name} is not prepared in {home()}; set TFDS_DATA_DIR or run: deeplearn data prepare {name}")
    return max(found, key=lambda path: tfds.core.Version(path.name))


def _builder(name: str):
    import tensorflow_datasets as tfds

    folder = _folder(name)
    _refuse_foreign_code(folder / "features.json")
    with _soundless():
        builder = tfds.builder_from_directory(folder)
        features = builder.info.features  # TFDS makes them when they are first asked for
    assert features is not None
    if builder.info.file_format.value != "array_record":
        kind = builder.info.file_format.value
        text = f"{folder} holds {kind} files and we read array_record"
        raise DataError(f"{text}; remove it and run: deeplearn data prepare {name}")
    return builder


def _refuse_foreign_code(path: Path) -> None:
    """TFDS imports the modules that features.json names, so a data folder could run code."""

    def names(value: Any) -> Iterable[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("pythonClassName", "type") and isinstance(inner, str):
                    yield inner
                yield from names(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from names(inner)

    try:
        foreign = [name for name in names(json.loads(path.read_text())) if not name.startswith("tensorflow_datasets.")]
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} ({error}); prepare the data set again") from error
    if foreign:
        raise DataError(f"{path} would import {foreign[0]!r}, which is not part of TFDS; do not use this folder")


def _plain(value: Any) -> Any:
    """One type for what TFDS, its versions and its mock give as int, 0-d array, str or bytes."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str | bytes):
        return value.encode() if isinstance(value, str) else value
    array = np.asarray(value)
    return array.astype(np.int32) if array.dtype == np.int64 else array


def _random_box(size: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A box of 8 to 100 % of the area and a ratio of 3/4 to 4/3; the middle if ten draws do not fit."""
    width, height = size
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1)
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    return _middle_box(size)


def _middle_box(size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size
    side = min(size) * 7 / 8
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2
