"""Packages as data: only the pinned hash, safe paths, one cache entry however many ask."""

import concurrent.futures
import hashlib
import io
import multiprocessing
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from deeplearn.data.package import cache, deb, package, sdist, whole
from deeplearn.errors import DataError, StorageError


def wheel(folder, files, name="shippeddata", version="1.0", tag="py3-none-any"):
    """A wheel in `folder` that pip accepts; returns its sha256."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry without network: a folder of wheels that pip is told about as a user would do it."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("DEEPLEARN_DATA", str(tmp_path / "cache"))
    return tmp_path / "links"


def test_fetches_once_then_works_offline_and_never_imports(registry, tmp_path):
    files = {"shippeddata/__init__.py": "raise SystemExit", "shippeddata/data/rows.csv": "1,2\n", "other/x.py": ""}
    sha256 = wheel(registry, files)
    folder = package("shippeddata", "1.0", sha256, "shippeddata")
    assert (folder / "data/rows.csv").read_text() == "1,2\n"
    assert "shippeddata" not in sys.modules
    assert not (folder.parent / "other").exists()
    for path in registry.iterdir():
        path.unlink()
    assert package("shippeddata", "1.0", sha256, "shippeddata") == folder
    assert [path.name for path in cache().glob("wheels/*")] == [folder.parent.name]  # no leftovers


def test_a_cache_entry_that_has_changed_is_made_again(registry, capsys):
    sha256 = wheel(registry, {"shippeddata/a.csv": "1,2\n", "shippeddata/b.csv": "3\n"})
    folder = package("shippeddata", "1.0", sha256, "shippeddata")
    assert whole(folder.parent)
    (folder / "c.csv").write_text("4\n")
    assert not whole(folder.parent)
    for spoil in (lambda: (folder / "a.csv").write_text("1,3\n"), lambda: (folder / "b.csv").unlink()):
        spoil()
        assert package("shippeddata", "1.0", sha256, "shippeddata") == folder
        assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.csv": "1,2\n", "b.csv": "3\n"}
        assert "is not what was unpacked there" in capsys.readouterr().err
    assert len(list(cache().glob("wheels/*"))) == 1


def test_a_wheel_that_would_fill_the_disk_is_not_unpacked(registry, monkeypatch):
    monkeypatch.setattr("deeplearn.data.package.MOST", 10**6)
    sha256 = wheel(registry, {"shippeddata/zeros": "0" * 10**7})
    with pytest.raises(DataError, match="would unpack to more than 1,000,000 bytes"):
        package("shippeddata", "1.0", sha256, "shippeddata")
    assert not list(cache().glob("wheels/*"))


def test_of_a_compiled_package_every_machine_takes_the_same_wheel(registry):
    foreign = "cp311-cp311-win_arm64"  # Whose code runs on none of the machines that test this.
    sha256 = wheel(registry, {"shippeddata/data/rows.csv": "1,2\n"}, tag=foreign)
    folder = package("shippeddata", "1.0", sha256, "shippeddata", platform="win_arm64")
    assert (folder / "data/rows.csv").read_text() == "1,2\n"


def test_wrong_hash_is_refused_and_leaves_nothing(registry):
    wheel(registry, {"shippeddata/rows.csv": "1"})
    with pytest.raises(DataError, match=r"shippeddata 1\.0 is not the one we know.*expected 0000"):
        package("shippeddata", "1.0", "0" * 64, "shippeddata")
    assert not list(cache().glob("wheels/*"))


def test_abbreviated_hash_is_a_programming_error():
    with pytest.raises(ValueError, match="all 64"):
        package("shippeddata", "1.0", "0" * 16, "shippeddata")


def test_unreachable_registry_says_what_to_do(registry):
    registry.mkdir()
    with pytest.raises(DataError, match=r"cannot fetch shippeddata 1\.0 .*PIP_FIND_LINKS"):
        package("shippeddata", "1.0", "0" * 64, "shippeddata")


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "shippeddata/../../outside.txt", "C:outside.txt"])
def test_paths_that_leave_the_folder_are_refused(registry, tmp_path, name):
    sha256 = wheel(registry, {"shippeddata/rows.csv": "1", name: "evil"})
    with pytest.raises(DataError, match="unsafe path"):
        package("shippeddata", "1.0", sha256, "shippeddata")
    assert not list(tmp_path.rglob("outside.txt"))


def test_missing_module_is_named(registry):
    sha256 = wheel(registry, {"shippeddata/rows.csv": "1"})
    with pytest.raises(DataError, match="no folder 'elsewhere'"):
        package("shippeddata", "1.0", sha256, "elsewhere")


def test_installed_copy_of_that_version_is_used(monkeypatch, tmp_path):
    (tmp_path / "here-2.0.dist-info").mkdir()
    (tmp_path / "here-2.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: here\nVersion: 2.0\n")
    (tmp_path / "here").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert package("here", "2.0", "0" * 64, "here") == tmp_path / "here"


def test_unwritable_cache_is_a_storage_error(registry, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("DEEPLEARN_DATA", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="DEEPLEARN_DATA"):
        package("shippeddata", "1.0", "0" * 64, "shippeddata")


def test_several_processes_at_once_agree(registry):
    sha256 = wheel(registry, {f"shippeddata/{i}.csv": str(i) * 1000 for i in range(50)})
    spawn = multiprocessing.get_context("spawn")  # fork and JAX's threads do not mix
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=spawn) as pool:
        asked = [pool.submit(package, "shippeddata", "1.0", sha256, "shippeddata") for _ in range(3)]
        folders = {future.result() for future in asked}
    assert len(folders) == 1 and len(list(folders.pop().glob("*.csv"))) == 50
    assert len(list(cache().glob("wheels/*"))) == 1


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPLEARN_DATA", str(tmp_path / "a"))
    assert cache() == tmp_path / "a"
    monkeypatch.delenv("DEEPLEARN_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache() == tmp_path / "b/deeplearn"


def test_a_source_archive_is_unpacked_and_its_code_never_runs(registry, tmp_path):
    registry.mkdir()
    files = {"setup.py": f"open({str(tmp_path / 'ran')!r}, 'w')", "data/rows.csv": "1,2\n", "PKG-INFO": "Name: shipped"}
    path = registry / "shippeddata-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"shippeddata-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=r"shippeddata 1\.0 is not the one we know"):
        sdist("shippeddata", "1.0", "0" * 64)
    folder = sdist("shippeddata", "1.0", sha256)
    path.unlink()
    assert sdist("shippeddata", "1.0", sha256) == folder
    assert (folder / "data/rows.csv").read_text() == "1,2\n"
    assert not (tmp_path / "ran").exists()
    assert len(list(cache().glob("sdists/*"))) == 1  # no leftovers


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="only Debian and its children have its tools")
def test_a_debian_package_is_unpacked(registry, tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: shippeddata\nVersion: 1.0-1\nArchitecture: all\nMaintainer: nobody\nDescription: data\n"
    )
    (tree / "usr/share/shipped").mkdir(parents=True)
    (tree / "usr/share/shipped/rows.csv").write_text("1,2\n")
    archive = tmp_path / "shippeddata_1.0-1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(tree), str(archive)], check=True, capture_output=True)
    apt = tmp_path / "bin/apt-get"
    apt.parent.mkdir()
    apt.write_text(f"#!/bin/sh\ncp {archive} .\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(apt.parent), prepend=":")
    with pytest.raises(DataError, match=r"shippeddata 1\.0-1 is not the one we know"):
        deb("shippeddata", "1.0-1", "0" * 64)
    folder = deb("shippeddata", "1.0-1", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert (folder / "usr/share/shipped/rows.csv").read_text() == "1,2\n"
    with pytest.raises(DataError, match="cannot fetch absent 1"):
        apt.write_text("#!/bin/sh\necho 'E: no such package' >&2; exit 100\n")
        deb("absent", "1", "0" * 64)
