"""Responses of brains: volumes, arrays and the 92 images; what is wrong with them is named."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from deeplearn.data.doors.responses import Data, Scans, Viewed, alike, load
from deeplearn.data.nifti import read_nifti
from deeplearn.errors import ConfigError, DataError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "92images"


def nifti(path, values, code=16, slope=0.0, shift=0.0, order="<"):
    """A file of one NIfTI-1 volume, compressed by its name."""
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, values.ndim, *values.shape, *[1] * (7 - values.ndim))
    struct.pack_into(f"{order}h", header, 70, code)
    struct.pack_into(f"{order}3f", header, 108, 352.0, slope, shift)
    header[344:348] = b"n+1\0"
    data = bytes(header) + values.tobytes(order="F")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(("name", "order"), [("a.nii", "<"), ("a.nii.gz", ">")])
def test_volumes_are_read_in_their_order_and_scale(tmp_path, name, order):
    values = np.arange(24).reshape(2, 3, 4)
    path = nifti(tmp_path / name, values.astype(f"{order}i2"), code=4, slope=0.5, shift=3.0, order=order)
    np.testing.assert_allclose(read_nifti(path), 0.5 * values + 3)


ZIPPED = gzip.compress(b"x" * 400, mtime=0)  # else the time would be in the name of the case


@pytest.mark.parametrize("data", [b"", b"no volume at all" * 40, ZIPPED, b"\x1f\x8bdamaged"])
def test_what_is_no_volume_is_refused(tmp_path, data):
    (tmp_path / "a.nii.gz").write_bytes(data)
    with pytest.raises(DataError, match=r"cannot read the volume .*a\.nii\.gz"):
        read_nifti(tmp_path / "a.nii.gz")


def volumes(folder, lines=8, shape=(3, 2, 1)):
    rng = np.random.default_rng(0)
    mask = np.ones(shape, np.float32)
    mask[0, 0] = 0
    (folder / "attributes.txt").write_text("".join(f"{['face', 'house'][i % 2]} {i // 4}\n" for i in range(lines)))
    return Data(
        path=nifti(folder / "bold.nii.gz", rng.normal(size=(3, 2, 1, 8)).astype(np.float32)),
        mask=nifti(folder / "mask.nii", mask),
        attributes=folder / "attributes.txt",
    )


def test_own_volumes_become_voxels_with_conditions_and_runs(tmp_path):
    data = volumes(tmp_path)
    (scans,) = load(data)
    assert scans.values.shape == (8, 5) and scans.runs.tolist() == ["0"] * 4 + ["1"] * 4
    here = tuple(scans.places[2])
    np.testing.assert_allclose(scans.values[:, 2], read_nifti(data.path)[here])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"lines": 7}, "8 measurements and 7"), ({"lines": 4}, "8 measurements and 4"), ({"shape": (3, 3, 1)}, "shape")],
)
def test_volumes_that_do_not_fit_are_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        load(volumes(tmp_path, **change))


def test_a_line_without_a_run_is_named(tmp_path):
    data = volumes(tmp_path)
    data.attributes.write_text("face 0\nhouse\n")
    with pytest.raises(DataError, match=r"attributes\.txt, line 2"):
        load(data)


ONES = np.ones(6, int)


def arrays(path, **changes):
    columns = {"responses": np.random.default_rng(0).normal(size=(6, 3)), "runs": np.arange(6) // 3}
    columns |= {"conditions": np.array(["a", "b", "c"] * 2)} | changes
    np.savez(path, **{name: own for name, own in columns.items() if own is not None})
    return Data(path=path)


def test_own_arrays_are_scans_or_views(tmp_path):
    (scans,) = load(arrays(tmp_path / "a.npz"))
    assert isinstance(scans, Scans) and scans.conditions.tolist() == ["a", "b", "c"] * 2
    images = np.zeros((6, 4, 4, 3), np.uint8)
    (viewed,) = load(arrays(tmp_path / "b.npz", conditions=None, stimuli=images))
    assert isinstance(viewed, Viewed) and alike([viewed]) is None


def test_subjects_keep_to_themselves(tmp_path):
    people = load(
        arrays(tmp_path / "a.npz", runs=np.arange(6) // 3, subjects=np.array(["b", "a"] * 3), conditions=ONES)
    )
    assert [own.subject for own in people] == ["a", "b"] and [len(own.values) for own in people] == [3, 3]


def test_images_that_all_saw_are_compared_in_one_order(tmp_path):
    rng = np.random.default_rng(0)
    images, values = rng.integers(0, 256, (5, 2, 2, 3)).astype(np.uint8), rng.normal(size=(5, 3))
    order = np.array([3, 1, 0, 4, 2])
    columns = {"stimuli": np.concatenate([images, images[order]]), "responses": np.concatenate([values, values[order]])}
    columns |= {"runs": np.tile([0, 1, 0, 1, 0], 2), "subjects": np.repeat([1, 2], 5), "conditions": None}
    found = alike(load(arrays(tmp_path / "a.npz", **columns)))
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_allclose(found.rdms[0], found.rdms[1])
    np.testing.assert_allclose(found.rdms[0], 1 - np.corrcoef(values), atol=1e-12)
    columns["stimuli"][5:7] += 1
    with pytest.raises(DataError, match="all subjects saw 3 of the stimuli"):
        alike(load(arrays(tmp_path / "b.npz", **columns)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": None}, "lacks runs"),
        ({"runs": np.zeros(6)}, "all measurements are of run 0"),
        ({"runs": np.arange(5)}, "6 measurements and 5 runs"),
        ({"conditions": None}, "neither stimuli nor conditions"),
        ({"conditions": np.array(["a"] * 5)}, "6 measurements and 5 conditions"),
        ({"responses": np.full((6, 3), np.nan)}, r"3 voxel\(s\) are not finite, such as 0, 1, 2 \(at row 0\)"),
        ({"responses": np.zeros(6)}, "give numbers .measurements, voxels."),
        ({"responses": np.full((6, 3), "a")}, "give numbers"),
        ({"subjects": np.arange(5)}, "6 measurements and 5 subjects"),
        ({"subjects": np.arange(6) // 3}, r"\(0\): all measurements are of run 0"),
        ({"subjects": np.arange(6) % 2, "conditions": np.array(list("abcdab")), "runs": np.arange(6) // 2}, "share"),
        ({"conditions": None, "stimuli": np.zeros((6, 4, 4))}, "give uint8"),
        ({"runs": np.array([{}] * 6, object)}, "cannot read"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load(arrays(tmp_path / "a.npz", **changes))


def test_the_92_images_say_where_they_come_from(tmp_path):
    for path in (None, tmp_path):
        with pytest.raises(DataError, match=r"92_brainRDMs\.mat.*rsatoolbox.*--data\.path"):
            load(Data(name="images92", path=path))
    with pytest.raises(ConfigError, match=r"is no \.npz"):
        load(Data(path=tmp_path))


def test_the_92_images_are_read():
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here: a user fetches these data once")
    found = load(Data(name="images92", path=SHARED))
    assert found.images.shape == (92, 175, 175, 3) and found.rdms.shape == (4, 92, 92)
    np.testing.assert_allclose(found.rdms, np.swapaxes(found.rdms, 1, 2), atol=1e-6)
    assert found.models["animate or not"].sum() == 2 * 48 * 44  # 48 of the objects are animate
