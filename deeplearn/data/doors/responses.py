"""What brains answered: volumes with conditions and runs, dissimilarities of images, or voxels that saw images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from deeplearn.data.nifti import read_nifti
from deeplearn.data.sets.haxby import haxby
from deeplearn.data.sets.images92 import Alike, images92
from deeplearn.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which responses."""

    name: Literal["haxby", "images92", "simulated"] = "haxby"
    """Eight kinds of objects in ventral temporal cortex; 92 objects in IT (needs path); voxels made from a network."""
    path: Path | None = None
    """The folder of images92. Or your own instead: an .npz of responses [N, V], runs [N], conditions [N] or stimuli
    [N, H, W, 3] (uint8) and, of several people, subjects [N]; or volumes (.nii, .nii.gz), with mask and attributes."""
    mask: Path | None = None
    """Own volumes: a volume that is positive in the voxels to take."""
    attributes: Path | None = None
    """Own volumes: a text with the condition and the run of each, line by line; rest is called rest."""


@dataclass(frozen=True, kw_only=True)
class Scans:
    """Measurements of one subject under named conditions."""

    name: str
    values: Float[np.ndarray, "N V"]
    conditions: Shaped[np.ndarray, "N"]
    runs: Shaped[np.ndarray, "N"]
    places: Int[np.ndarray, "V 3"] | None = None
    """Where the voxels lie in the volume."""
    subject: str = ""


@dataclass(frozen=True, kw_only=True)
class Viewed:
    """Responses of one subject to images."""

    name: str
    images: UInt8[np.ndarray, "N H W 3"]
    values: Float[np.ndarray, "N V"]
    runs: Shaped[np.ndarray, "N"]
    subject: str = ""


def load(data: Data) -> list[Scans] | list[Viewed] | Alike:
    """The responses that the knobs name, by subject; simulated ones need a network, and so another function.

    Raises:
        DataError: names the file, and the row, line or voxel that is wrong.
        ConfigError: the knobs do not name a data set.
    """
    if data.path is not None and data.path.suffix == ".npz":
        return read_arrays(data.path)
    if data.path is not None and data.path.name.endswith((".nii", ".nii.gz")):
        if data.mask is None or data.attributes is None:
            raise ConfigError("volumes need --data.mask and --data.attributes, too.")
        return [read_scans(data.path, data.mask, data.attributes)]
    if data.name == "images92":
        return images92(data.path)
    if data.path is not None:
        raise ConfigError(f"{data.path} is no .npz, .nii or .nii.gz; --data.name images92 takes a folder.")
    return [read_scans(*haxby(), name="haxby")]


def read_scans(volumes: Path, mask: Path, attributes: Path, name: str | None = None) -> Scans:
    """The voxels of volumes [X, Y, Z, N] that the mask takes, and what the text says of each volume."""
    values, taken = read_nifti(volumes), read_nifti(mask) > 0
    if values.ndim != 4 or values.shape[:3] != taken.shape[:3]:
        raise DataError(f"{mask} has the shape {taken.shape}, which are not the voxels of {volumes} {values.shape}.")
    try:
        lines = attributes.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {attributes} ({error}); give a text with a line a volume.") from error
    rows = [line.split() for line in lines if line.strip()]
    for number, row in enumerate(rows, start=1):
        if len(row) < 2:
            raise DataError(f"{attributes}, line {number}: write the condition and the run, as in: face 3.")
    taken = taken.reshape(taken.shape[:3])
    scans = Scans(
        name=name or str(volumes),
        values=values[taken].T.astype(np.float64),
        conditions=np.array([row[0] for row in rows]),
        runs=np.array([row[1] for row in rows]),
        places=np.argwhere(taken),
    )
    _check(volumes, scans.values, {str(attributes): scans.conditions}, scans.runs)
    _check_runs(str(volumes), scans.runs)
    return scans


def read_arrays(path: Path) -> list[Scans] | list[Viewed]:
    """An .npz, by subject; with `stimuli` for encoding models, with `conditions` for decoding."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} ({error}); save it with numpy.savez.") from error
    if missing := {"responses", "runs"} - set(arrays):
        raise DataError(f"{path} lacks {' and '.join(sorted(missing))}; it holds {', '.join(arrays) or 'nothing'}.")
    kinds = {kind: arrays[kind] for kind in ("stimuli", "conditions", "subjects") if kind in arrays}
    if len(kinds.keys() - {"subjects"}) != 1:
        there = " and ".join(kinds.keys() - {"subjects"}) or "neither stimuli nor conditions"
        raise DataError(f"{path} holds {there}; save one of them.")
    if arrays["responses"].ndim != 2 or arrays["responses"].dtype.kind not in "fiu":
        shown = f"{arrays['responses'].dtype} {arrays['responses'].shape}"
        raise DataError(f"{path}: responses are {shown}; give numbers [measurements, voxels].")
    values, runs = arrays["responses"].astype(np.float64), arrays["runs"]
    _check(path, values, kinds, runs)
    subjects = kinds["subjects"].astype(str) if "subjects" in kinds else np.full(len(values), "")
    images = kinds.get("stimuli")
    if images is not None and (images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3):
        raise DataError(f"{path}: stimuli are {images.dtype} {images.shape}; give uint8 [N, height, width, 3].")
    found: list[Any] = []
    for subject in np.unique(subjects):
        own, name = subjects == subject, f"{path} ({subject})" if subject else str(path)
        known = {"name": name, "subject": str(subject), "values": values[own], "runs": runs[own]}
        _check_runs(name, known["runs"])
        found.append(
            Scans(conditions=kinds["conditions"].astype(str)[own], **known)
            if images is None
            else Viewed(images=images[own], **known)
        )
    for own in found if images is None else ():
        if differing := set(own.conditions) ^ set(found[0].conditions):
            raise DataError(
                f"{own.name} and {found[0].name} do not share {', '.join(sorted(differing))}; leave that out."
            )
    return found


def alike(people: Sequence[Viewed]) -> Alike | None:
    """How unlike the images are that all of several people saw: 1 - correlation of mean responses; None of one person.

    Raises:
        DataError: fewer than four images were seen by all.
    """
    if len(people) < 2:
        return None
    rows: list[dict[bytes, list[int]]] = [{} for _ in people]
    for own, found in zip(people, rows, strict=True):
        for row, image in enumerate(own.images):
            found.setdefault(image.tobytes(), []).append(row)
    shared = [image for image in rows[0] if all(image in other for other in rows)]
    if len(shared) < 4:
        raise DataError(
            f"{people[0].name}: all subjects saw {len(shared)} of the stimuli; four or more can be compared."
        )
    rdms = [
        1 - np.corrcoef([own.values[found[image]].mean(0) for image in shared])
        for own, found in zip(people, rows, strict=True)
    ]
    images = people[0].images[[rows[0][image][0] for image in shared]]
    return Alike(name=f"{people[0].name}, compared", images=images, rdms=np.array(rdms), models={})


def read_patterns(path: str, voxels: int) -> Float[np.ndarray, "N V"]:
    """Patterns of a .npy file. Raises DataError where there are none, or others than of so many voxels."""
    try:
        values = np.atleast_2d(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} holds no patterns ({error}); give an array [N, voxels] in a .npy file.") from error
    if values.shape[1:] != (voxels,):
        raise DataError(f"{path} has {values.shape[-1]} voxels; this run decodes {voxels}.")
    return values


def _check(path: Path, values: np.ndarray, kinds: dict[str, np.ndarray], runs: np.ndarray) -> None:
    for kind, own in {**kinds, "runs": runs}.items():
        if len(own) != len(values):
            raise DataError(f"{path} has {len(values)} measurements and {len(own)} {kind}; give one for each.")
    bad = np.flatnonzero(~np.isfinite(values).all(0))
    if len(bad):
        row = int(np.flatnonzero(~np.isfinite(values[:, bad[0]]))[0])
        shown = ", ".join(map(str, bad[:5]))
        raise DataError(f"{path}: {len(bad)} voxel(s) are not finite, such as {shown} (at row {row}); leave them out.")


def _check_runs(name: str, runs: np.ndarray) -> None:
    if len(np.unique(runs)) < 2:
        raise DataError(f"{name}: all measurements are of run {runs[0]}; give two runs or more, to hold one out.")
