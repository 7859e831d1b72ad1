"""Arrays that lie in files are the arrays that numpy would have in memory, and take none of it."""

import subprocess
import sys

import numpy as np
import pytest

from deeplearn.data import paged, recordings
from deeplearn.data.audio import padded


@pytest.fixture(params=["memory", "files"])
def place(request, monkeypatch):
    if request.param == "files":
        monkeypatch.setattr(paged, "HELD", 0)
        monkeypatch.setattr(paged, "SEGMENT", 1000)


@pytest.mark.usefixtures("place")
def test_the_same_numbers_as_in_memory():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(7, 3, 2)), rng.normal(size=(5, 3, 2))
    assert np.array_equal(paged.zeros((4, 3), np.int16), np.zeros((4, 3), np.int16))
    assert paged.zeros((0, 3), np.int32).shape == (0, 3)
    assert np.array_equal(paged.stacked(iter(first), 7), first)
    assert np.array_equal(paged.joined(first, second), np.concatenate([first, second]))
    for rows in (np.array([3, 0, 3, -1]), first[:, 0, 0] > 0, np.array([], int)):
        assert np.array_equal(paged.taken(first, rows), first[rows])
    with pytest.raises(IndexError):
        paged.taken(first, np.array([7]))
    with pytest.raises(ValueError, match=r"float64\[2\] among float64\[3, 2\]"):
        paged.stacked([first[0], np.zeros(2)], 2)


@pytest.mark.usefixtures("place")
def test_a_pool_keeps_what_it_is_given():
    rng, pool = np.random.default_rng(0), paged.Pool()
    given = [rng.integers(-99, 99, size).astype(kind) for size, kind in [(3, "i2"), (900, "f8"), (0, "i2"), (7, "f4")]]
    kept = [pool.kept(array) for array in given]
    for own, array in zip(kept, given, strict=True):
        assert own.dtype == array.dtype and np.array_equal(own, array)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process' own memory by RLIMIT_DATA")
def test_a_process_needs_no_memory_for_them():
    """It may have 64 MiB more than it has, and fills 256."""
    program = """
import resource
import numpy as np
from deeplearn.data import paged
paged.HELD = 2**20
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 2**26, used + 2**26))
try:
    np.zeros(2**28, np.uint8)
    raise SystemExit("numpy has found room")
except MemoryError:
    pass
whole = paged.zeros((2**18, 2**10), np.uint8)
whole[:] = 1
pool = paged.Pool()
for _ in range(256):
    pool.kept(np.ones(2**20, np.uint8))
print(int(whole[:, 0].sum()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == f"{2**18}\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="macOS takes the disk's space as it is written")
def test_where_the_disk_has_no_room_memory_has_and_that_is_said(monkeypatch, capsys):
    """Before anything is written: a mapped file on a full disk ends the process."""
    import resource

    monkeypatch.setattr(paged, "HELD", 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        assert paged.zeros((2**25,), np.uint8).sum() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "0.03 GiB of data are held in memory" in capsys.readouterr().err


def test_recordings_are_the_same_in_files(tmp_path, monkeypatch):
    from scipy.io import wavfile

    rng = np.random.default_rng(0)
    lines = ["file,text,speaker"]
    for n in range(30):
        wavfile.write(tmp_path / f"{n}.wav", 8000, (rng.normal(size=4000 + 10 * n) * 3000).astype(np.int16))
        lines.append(f"{n}.wav,say {n},{'abc'[n % 3]}")
    (tmp_path / "transcripts.csv").write_text("\n".join(lines))
    sounds = []
    for held in (paged.HELD, 20_000):
        monkeypatch.setattr(paged, "HELD", held)
        corpus, _ = recordings.folder(tmp_path, 8000, 0, 16.0)
        sounds.append(padded([utterance.sound for utterance in corpus.train], 5000))
    assert np.array_equal(*sounds)
