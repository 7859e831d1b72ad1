"""fit.json: what one fit was started with, so that its folder is never taken for another's.

    {"id": random, "knobs": {...}, "data": {"train": fingerprint, evaluation: fingerprint, ...},
     "inputs": {column: {"shape": [...], "dtype": ...}}, "fitted": {...}, "assets": {name: sha256}}

It is written before the first step and never again: the seals of checkpoints carry its sha256.
"""

import hashlib
import io
import json
import secrets
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn import files
from deeplearn.config import difference
from deeplearn.errors import ConfigError, StorageError, UsageError
from deeplearn.record.folder import write_text

NAME = "fit.json"
LARGEST = 4 * 2**30
"""Bytes of an asset that is read."""


def admit(
    folder: Path, own: Mapping[str, Any], assets: Mapping[str, Any], free: Collection[str], *, again: bool = False
) -> None:
    """Write fit.json and the assets of a fit that begins here, or make sure that it is this fit that began here.

    Args:
        own: "knobs", "data", "inputs" and "fitted" of the fit, as JSON values.
        assets: file name -> bytes or JSON values, for folder/assets.
        free: knobs that may differ when a fit is resumed.
        again: begin here whatever was begun before.

    Raises:
        ConfigError: the folder holds a fit with other knobs or other data.
        StorageError: what the fit has written is damaged.
    """
    if (folder / NAME).exists() and not again:
        before = read(folder)
        refuse_other_knobs(folder, before["knobs"], own["knobs"], free)
        refuse_other_data(folder, before["data"], own["data"])
        for name, digest in before["assets"].items():
            _read(folder, name, digest)
        return
    hashes = write_assets(folder, assets)
    stamp = {"id": secrets.token_hex(8), **own, "assets": hashes}
    write_text(folder / NAME, json.dumps(stamp, indent=1) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """What fit.json says.

    Raises:
        UsageError: there is none.
        StorageError: it is damaged.
    """
    path = folder / NAME
    try:
        stamp = files.read_json(path)
        if {"id", "knobs", "data", "inputs", "fitted", "assets"} <= stamp.keys():
            return stamp
        reason = "it lacks some of its parts"
    except FileNotFoundError as error:
        raise UsageError(f"{folder} holds no model yet; let its training begin, or train it again.") from error
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error)
    raise StorageError(f"{path} is damaged ({reason}); restore it from a copy, or train with --restart.")


def refuse_other_knobs(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str]) -> None:
    """Raises ConfigError where knobs differ that are not free: a resumed folder would mix two experiments."""
    odd = {name: pair for name, pair in difference(before, now).items() if not {name, name.partition(".")[0]} & {*free}}
    if odd:
        named = ", ".join(f"{name} was {old} and is now {new}" for name, (old, new) in list(odd.items())[:3])
        raise ConfigError(f"{folder} holds a run with other knobs ({named}); give the same ones, or a new --workdir.")


def refuse_other_data(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises ConfigError where the knobs may be the same and the data behind them are not."""
    odd = [name for name in before if name in now and before[name] != now[name]]
    if odd:
        old, new = before[odd[0]], now[odd[0]]
        raise ConfigError(
            f"{folder} was made with other data: {odd[0]} was {_described(old)} and is now {_described(new)}; "
            "restore the data, train in a new --workdir, or evaluate with --other-data."
        )


def _described(data: Mapping[str, Any]) -> str:
    return f"{data.get('size')} examples of {data.get('name')} (sha256 {str(data.get('sha256'))[:8]})"


def write_assets(folder: Path, assets: Mapping[str, Any]) -> dict[str, str]:
    """Write folder/assets: bytes as they are, arrays by name as .npz, all else as JSON; returns file name -> sha256."""
    found = {}
    for name, value in assets.items():
        path = folder / "assets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = _packed(name, value)
        path.write_bytes(data)
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def _packed(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if name.endswith(".npz"):
        file = io.BytesIO()
        np.savez(file, **value)
        return file.getvalue()
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def read_asset(folder: Path, name: str) -> Any:
    """An asset as it was given: JSON values, arrays by name (.npz), or bytes where the name ends otherwise.

    Raises:
        StorageError: it is missing or damaged.
    """
    known = read(folder)["assets"] if (folder / NAME).exists() else {}
    data = _read(folder, name, known.get(name))
    try:
        if name.endswith(".npz"):
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                return dict(file)
        return files.parse_json(data) if name.endswith(".json") else data
    except (ValueError, zipfile.BadZipFile) as error:
        raise _damaged(folder, name, error) from error


def _read(folder: Path, name: str, digest: str | None) -> bytes:
    """The bytes of an asset, which have to have that sha256 where one is given."""
    try:
        data = files.read(folder / "assets" / name, LARGEST)
    except OSError as error:
        raise _damaged(folder, name, error) from error
    if digest not in (None, hashlib.sha256(data).hexdigest()):
        raise _damaged(folder, name, "it has changed since the fit began")
    return data


def _damaged(folder: Path, name: str, why: object) -> StorageError:
    return StorageError(
        f"{folder / 'assets' / name} is damaged or missing ({why}); restore it from a copy, or train with --restart."
    )
