"""Weights from PyTorch and safetensors: equal to what was saved, and nothing else in the file ever runs."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from deeplearn.data.weights import read_weights
from deeplearn.errors import DataError

FILES = Path(__file__).parent / "files"
BASE = np.arange(24, dtype=np.float32)
SAVED = {  # what torch 2.13 saved into both files: several views of one storage, and every kind of number
    "a.weight": BASE.reshape(2, 3, 4),
    "a.turned": BASE.reshape(4, 6).T[1:3],
    "b.half": np.array([1.5, -2], np.float16),
    "b.brain": np.array([1.5, -3], ml_dtypes.bfloat16),
    "c.count": np.array(7),
    "c.flag": np.array([True, False]),
    "c.empty": np.zeros((0, 3), np.float32),
    "d.double": np.array([[1e300]]),
}


def same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].flags.writeable
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("name", ["zipped.pth", "legacy.pth"])
def test_both_files_of_torch_save_give_what_was_saved(name):
    same(read_weights(FILES / name), SAVED)


def test_safetensors_give_what_their_own_package_saved(tmp_path):
    save = pytest.importorskip("safetensors.numpy").save_file
    saved = {name: np.ascontiguousarray(value) for name, value in SAVED.items()}
    save(saved, tmp_path / "own.safetensors", metadata={"format": "np"})
    found = read_weights(tmp_path / "own.safetensors")
    same({name: found[name] for name in saved}, saved)


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_program_in_the_file_is_refused_and_does_not_run(tmp_path, zipped):
    path, target = tmp_path / "evil.pth", tmp_path / "ran"
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", pickle.dumps({"a": Evil(target)}))
    else:
        path.write_bytes(pickle.dumps(Evil(target)))
    with pytest.raises(DataError, match=r"evil\.pth.*it asks for pathlib"):
        read_weights(path)
    assert not target.exists()


def forged(path, shape, strides, offset=0, values=4):
    """A zip that torch could have written, with one float32 tensor `a` as told."""
    storage = f"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI{values}\ntQ"
    sides, steps = ("(" + "".join(f"I{i}\n" for i in part) + "t" for part in (shape, strides))
    text = f"(S'a'\nctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n{sides}{steps}tRd."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("f/data.pkl", text)
        archive.writestr("f/data/0", np.arange(4, dtype=np.float32).tobytes())
    return path


def test_views_stay_inside_their_storage(tmp_path):
    np.testing.assert_array_equal(read_weights(forged(tmp_path / "a.pth", (2, 2), (1, 2)))["a"], [[0, 2], [1, 3]])
    for wrong in [((2, 2), (2, 2)), ((5,), (1,)), ((2,), (-1,)), ((9999,), (0,)), ((2,), (1, 1)), ((4,), (1,), 1)]:
        with pytest.raises(DataError, match="reaches out of its storage"):
            read_weights(forged(tmp_path / "b.pth", *wrong))
    with pytest.raises(DataError, match="ends after 16 bytes"):
        read_weights(forged(tmp_path / "c.pth", (2,), (1,), values=5))


@pytest.mark.parametrize("name", ["zipped.pth", "legacy.pth"])
def test_a_file_cut_short_is_named(tmp_path, name):
    data = (FILES / name).read_bytes()
    for size in (0, 1, 40, len(data) // 2, len(data) - 1):
        (tmp_path / name).write_bytes(data[:size])
        with pytest.raises(DataError, match=name):
            read_weights(tmp_path / name)


def test_what_is_not_a_state_dictionary_is_named(tmp_path):
    path = tmp_path / "training.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t/data.pkl", pickle.dumps({"epoch": 3}))
    with pytest.raises(DataError, match=r"its entry 'epoch' is a int.*state_dict"):
        read_weights(path)
    with pytest.raises(DataError, match="check the path"):
        read_weights(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("entry", "data"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, b"0000"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, b"0000"),
        ({"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}, b"0000"),
        ({"dtype": "F32", "shape": [1]}, b"0000"),
    ],
)
def test_safetensors_that_do_not_add_up_are_refused(tmp_path, entry, data):
    header = json.dumps({"a": entry}).encode()
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    with pytest.raises(DataError, match=r"wrong\.safetensors"):
        read_weights(path)
    path.write_bytes(struct.pack("<Q", 2**60) + header)
    with pytest.raises(DataError, match="is cut off"):
        read_weights(path)
