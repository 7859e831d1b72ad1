"""An index of pictures: their codes by one model, to be searched with that model and no other.

    album.index/index.json    {"model", "seal", "files", "code"}: which model, the hash of its weights, the pictures
    album.index/codes.npy     float32 [N, D], of length 1

The seal is why codes of two models, or of one model before and after more training, are never compared.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PyTree, UInt8

from deeplearn import files
from deeplearn.data.image_folder import pictures_in, read_image
from deeplearn.errors import StorageError, UsageError
from deeplearn.methods import search
from deeplearn.methods.ranking import unit
from deeplearn.record.folder import write_text

READY = "efficientnet-lite0"
"""The model that needs no training: a layer of it, averaged over the picture."""
LAYER = ("block15", 1)
PICTURES = 256
"""Read and coded at a time: 40 MB at 224 pixels a side."""
LARGEST = 64 * 2**20
"""Bytes of an index.json that is read: half a million pictures."""


@dataclass(frozen=True, kw_only=True)
class Coder:
    """A model as an index needs it."""

    model: str
    """A run folder, or `READY`."""
    seal: str
    """sha256 of its weights."""
    shape: tuple[int, ...]
    """[H, W, C] that pictures are read in."""
    codes: Callable[[UInt8[np.ndarray, "N H W C"]], Float[np.ndarray, "N D"]]


class Answer(NamedTuple):
    """A picture of the index that is like a query."""

    query: str
    rank: int
    image: str
    similarity: float


def coder(model: str, *, trust: bool = False) -> Coder:
    """A trained run of retrieval, or `READY`.

    Raises:
        UsageError: the run does not code pictures.
        ConfigError: its training has not ended.
    """
    if model == READY:
        from deeplearn.models.features import features
        from deeplearn.models.pretrained import pretrained

        ready = pretrained(READY)
        shape = (ready.size, ready.size, 3)
        return Coder(
            model=model,
            seal=_seal(ready.variables),
            shape=shape,
            codes=lambda pictures: features(ready, pictures, [LAYER])[LAYER],
        )
    from deeplearn.trained import load, refuse_unended

    model = str(Path(model).resolve())  # runs/latest is another run tomorrow
    trained = load(Path(model), trust=trust)
    refuse_unended(Path(model))
    shape = tuple(getattr(trained.fitted, "shape", ()))
    if len(shape) != 3 or trained.task is None or not trained.task.couples:
        raise UsageError(f"{model} does not code pictures; give a run of retrieval, or {READY}")
    return Coder(
        model=model,
        seal=_seal(trained.variables),
        shape=shape,
        codes=lambda pictures: trained.predict({"image": pictures}),
    )


def build(inputs: Sequence[str], model: str, output: Path, *, trust: bool = False) -> int:
    """A new index of pictures and of folders of them; returns how many.

    Raises:
        UsageError: there is an index already.
        DataError: a picture cannot be read.
    """
    if (output / "index.json").exists():
        raise UsageError(f"{output} is an index already; add to it, or give another --output")
    return _write(output, coder(model, trust=trust), [], None, inputs)


def add(index: Path, inputs: Sequence[str], *, trust: bool = False) -> int:
    """More pictures by the index's own model, in place of those of the same files; returns how many it now holds.

    Raises:
        StorageError: the index is damaged, or its model has changed.
    """
    head, codes = _read(index)
    by = _same(index, head, coder(head["model"], trust=trust))
    again = {str(file.resolve()) for file in pictures_in(inputs)}
    kept = [row for row, file in enumerate(head["files"]) if file not in again]
    return _write(index, by, [head["files"][row] for row in kept], codes[kept], inputs)


def query(index: Path, inputs: Sequence[str], k: int = 8, *, trust: bool = False) -> list[Answer]:
    """The k pictures of the index that are most like each of the inputs; the picture itself is not an answer.

    Raises:
        StorageError: the index is damaged, or its model has changed.
    """
    head, codes = _read(index)
    by = _same(index, head, coder(head["model"], trust=trust))
    asked = pictures_in(inputs)
    found = search.exact(_coded(by, asked), codes, min(k + 1, len(codes)))
    answers = []
    for file, values, rows in zip(asked, found.value, found.index, strict=True):
        others = [
            (head["files"][row], float(value))
            for row, value in zip(rows, values, strict=True)
            if head["files"][row] != str(file.resolve())
        ]
        answers += [Answer(str(file), rank, *other) for rank, other in enumerate(others[:k], 1)]
    return answers


def sheet(answers: Sequence[Answer], path: Path, side: int = 160) -> None:
    """A picture of every query, followed by its answers and how alike they are."""
    from deeplearn.record.figures import images

    rows = {}
    for answer in answers:
        rows.setdefault(answer.query, []).append(answer)
    columns = 1 + max(map(len, rows.values()))
    pictures, captions = [], []
    for asked, own in rows.items():
        shown = [asked, *(answer.image for answer in own)]
        pictures += [read_image(file, (side, side), 3) / 255 for file in shown]
        captions += [f"{Path(asked).name} is like", *(f"{Path(a.image).name} {a.similarity:.2f}" for a in own)]
        pictures += [np.ones((side, side, 3))] * (columns - len(shown))
        captions += [""] * (columns - len(shown))
    images(pictures, path, captions=captions, columns=columns)


def _seal(variables: PyTree) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(variables):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _same(index: Path, head: dict[str, Any], by: Coder) -> Coder:
    if head["seal"] != by.seal:
        raise StorageError(
            f"{index} was made with other weights of {by.model} than are there now, so its codes mean something else; "
            "build it again"
        )
    return by


def _coded(by: Coder, asked: Sequence[Path]) -> Float[np.ndarray, "N D"]:
    parts = []
    for start in range(0, len(asked), PICTURES):
        some = [read_image(file, by.shape[:2], by.shape[2]) for file in asked[start : start + PICTURES]]
        parts.append(by.codes(np.stack(some)))
    return unit(np.concatenate(parts)).astype(np.float32)


def _write(
    index: Path, by: Coder, names: list[str], codes: Float[np.ndarray, "N D"] | None, inputs: Sequence[str]
) -> int:
    more = list(dict.fromkeys(file.resolve() for file in pictures_in(inputs)))
    files.refuse_unwritable(index, "--output")
    found = _coded(by, more)
    everything = found if codes is None else np.concatenate([codes, found])
    names = [*names, *map(str, more)]
    index.mkdir(parents=True, exist_ok=True)
    np.save(index / "codes.npy", everything)
    head = {"model": by.model, "seal": by.seal, "files": names, "code": files.sha256(index / "codes.npy")}
    write_text(index / "index.json", json.dumps(head, indent=1) + "\n", "--output")  # Last: the codes are whole.
    return len(names)


def _read(index: Path) -> tuple[dict[str, Any], Float[np.ndarray, "N D"]]:
    if not (index / "index.json").is_file():
        raise UsageError(f"{index} holds no index; make one with deeplearn index build FOLDER --output {index}")
    try:
        head = files.read_json(index / "index.json", LARGEST)
        if files.sha256(index / "codes.npy") != head["code"]:
            raise ValueError("codes.npy has changed")
        codes = np.load(index / "codes.npy", allow_pickle=False)
        if len(codes) != len(head["files"]) or not isinstance(head["model"], str):
            raise ValueError("its parts do not agree")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{index} is damaged ({error}); build it again") from error
    return head, codes
