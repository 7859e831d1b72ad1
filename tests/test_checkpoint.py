import contextlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplearn import sealed
from deeplearn.checkpoint import Store, read, shapes
from deeplearn.errors import ConfigError, StorageError
from deeplearn.optimizer import track_average
from deeplearn.sealed import DAMAGED, PARTIAL, SEAL, steps, verify
from deeplearn.step import State


def state(value=1.0, width=4):
    params = {"kernel": jnp.full((width, 3), value), "half": jnp.full((5,), value, jnp.bfloat16)}
    opt = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init(params)
    return State(step=jnp.int32(value), params=params, extra={}, opt=opt, skipped=jnp.int32(0))


def target(tree):
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two sealed checkpoints, of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    with Store(folder) as store:
        store.save(1, state(1.0))
        store.save(2, state(2.0))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def restored(folder, like=None):
    with Store(folder) as store:
        return store.restore(target(state() if like is None else like))


def test_what_is_saved_comes_back_to_the_bit(folder):
    step, got = restored(folder)
    assert step == 2
    assert jax.tree.structure(got) == jax.tree.structure(state())
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), got, state(2.0))


def test_no_checkpoint_is_none(tmp_path):
    assert restored(tmp_path / "nothing") is None


def fault_files(folder):
    return sorted(path for path in (folder / "2").rglob("*") if path.is_file())


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


FAULTS = {
    "flip": flip,
    "truncate": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "remove": lambda path: path.unlink(),
    "append": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "link": lambda path: (path.unlink(), path.symlink_to("/dev/null")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_any_damaged_file_leads_to_the_older_checkpoint(folder, fault):
    """Verification alone, over every file; what follows from a failed one is tested once below."""
    for path in fault_files(folder):
        if path.stat().st_size == 0 and fault in ("flip", "truncate", "empty"):
            continue  # An empty file has nothing to flip.
        before = path.read_bytes()
        FAULTS[fault](path)
        assert verify(folder / "2") is not None, path
        path.unlink(missing_ok=True)
        path.write_bytes(before)
        assert verify(folder / "2") is None


def test_a_damaged_checkpoint_is_set_aside_with_its_reason(folder, capsys):
    files = [path for path in fault_files(folder) if path.name != SEAL]
    largest = max(files, key=lambda path: path.stat().st_size)
    flip(largest)
    step, got = restored(folder)
    assert step == 1
    np.testing.assert_array_equal(got.params["kernel"], state(1.0).params["kernel"])
    assert (folder / f"2{DAMAGED}").is_dir()
    said = capsys.readouterr().err
    assert f"{largest.relative_to(folder / '2')} has changed" in said
    assert "restoring step 1" in said


def unsealed(folder, step):
    """As if the run had been killed after Orbax had committed that step."""
    (folder / str(step) / SEAL).unlink()
    (folder / str(step)).rename(folder / f"{step}{PARTIAL}")


def test_a_checkpoint_that_was_never_sealed_counts_as_none(folder):
    unsealed(folder, 2)
    assert restored(folder)[0] == 1
    unsealed(folder, 1)
    assert restored(folder) is None
    assert steps(folder) == []
    assert not list(folder.iterdir())  # What a killed run leaves is removed by the next.


def test_a_foreign_file_is_a_fault(folder):
    (folder / "2" / "extra").write_text("x")
    assert "not in the seal" in verify(folder / "2")


def test_nothing_that_verifies_stays_an_error_until_the_user_decides(folder):
    (folder / "2" / SEAL).unlink()
    assert restored(folder)[0] == 1
    (folder / "1" / SEAL).unlink()
    for _ in range(2):
        with pytest.raises(StorageError, match=r"no checkpoint in .* verifies .*1: its seal is missing.*--restart"):
            restored(folder)
    shutil.rmtree(folder / "1")
    with pytest.raises(StorageError, match=r"2: set aside as damaged"):
        restored(folder)
    with Store(folder) as store:
        store.clear()
    assert restored(folder) is None


def test_a_step_under_another_name_is_refused(folder):
    shutil.copytree(folder / "1", folder / "3")
    assert verify(folder / "3") == "its seal is that of step 1"
    assert restored(folder)[0] == 2


def test_a_checkpoint_of_another_fit_is_refused(folder, tmp_path):
    """Of the same shape, with seals in order."""
    mine, other = tmp_path / "mine" / "checkpoints", tmp_path / "other" / "checkpoints"
    for place in (mine, other):
        place.mkdir(parents=True)
        (place.parent / "fit.json").write_text(f'{{"id": "{place.parent.name}"}}')
        with Store(place) as store:
            store.save(1, state(1.0))
    with Store(other) as store:
        store.save(2, state(2.0))
    shutil.copytree(other / "2", mine / "2")
    assert verify(other / "2") is None
    assert verify(mine / "2") == "it does not belong to the fit.json beside it"
    assert read(mine)[0] == restored(mine)[0] == 1
    (other.parent / "fit.json").write_text("{}")
    with pytest.raises(StorageError, match=r"fit\.json"):
        restored(other)
    assert steps(other) == [1, 2]  # The checkpoints are not what is damaged.


def snapshot(folder):
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in [folder, *folder.rglob("*")]}


def test_a_reader_changes_nothing(folder, capsys):
    flip(max(fault_files(folder), key=lambda path: path.stat().st_size))
    shutil.copytree(folder / "1", folder / f"3{PARTIAL}")
    before = snapshot(folder)
    step, arrays = read(folder)
    assert step == 1
    np.testing.assert_array_equal(arrays["params/kernel"], state(1.0).params["kernel"])
    assert snapshot(folder) == before
    assert f"3{PARTIAL}" not in capsys.readouterr().err  # The one under way is nobody's business.


def test_a_reader_takes_only_what_predicts_and_only_of_the_right_shape(folder):
    own = {f"params/{name}": jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in state().params.items()}
    assert set(read(folder, own)[1]) == {"step", "params/kernel", "params/half"}
    wide = own | {"params/kernel": jax.ShapeDtypeStruct((10**6, 10**6), jnp.float32)}
    for odd, seeds in ((wide, 1), ({"params/half": own["params/half"]}, 1)):
        with pytest.raises(ConfigError, match=r"another model"):
            read(folder, odd, seeds=seeds)


def test_a_reader_takes_an_average_in_the_place_of_its_parameter(tmp_path):
    """Both would be twice the memory that the model needs."""
    opt = optax.chain(optax.adam(1e-3), track_average(0.9)).init({"kernel": jnp.full((4, 3), 2.0)})
    with Store(tmp_path / "checkpoints") as store:
        store.save(1, state(1.0).replace(params={"kernel": jnp.full((4, 3), 1.0)}, opt=opt))
    found = read(tmp_path / "checkpoints")[1]
    assert set(found) == {"step", "params/kernel"} and float(found["params/kernel"][0, 0]) == 2.0
    assert shapes(tmp_path / "checkpoints") == {"step": (), "params/kernel": (4, 3)}


def test_a_folder_of_checkpoints_that_is_a_link_is_refused(folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(folder)
    before = snapshot(folder)
    with pytest.raises(StorageError, match="symbolic link"):
        read(tmp_path / "run" / "checkpoints")
    with pytest.raises(StorageError, match="symbolic link"):
        restored(tmp_path / "run" / "checkpoints")
    assert snapshot(folder) == before


def test_a_pipe_in_a_checkpoint_is_a_fault_and_nobody_waits_for_it(folder):
    os.mkfifo(folder / "2" / "pipe")
    assert verify(folder / "2") == "pipe is no regular file"
    (folder / "1" / SEAL).unlink()
    os.mkfifo(folder / "1" / SEAL)
    assert verify(folder / "1") == "its seal is unreadable"


def test_a_second_store_is_refused_while_the_first_is_open(folder):
    with Store(folder), pytest.raises(ConfigError, match=rf"in use by process {os.getpid()} on"), Store(folder):
        pass
    assert restored(folder)[0] == 2


def test_what_was_damaged_goes_when_its_step_is_made_again(folder):
    flip(max(fault_files(folder), key=lambda path: path.stat().st_size))
    with Store(folder) as store:
        step, got = store.restore(target(state()))
        store.save(step + 1, got)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (lambda s: s.replace(params={**s.params, "bias": jnp.zeros(3)}), "lacks params/bias"),
        (lambda s: s.replace(params={"kernel": s.params["kernel"]}), "only the checkpoint has params/half"),
        (
            lambda s: s.replace(params={**s.params, "kernel": jnp.zeros((5, 3))}),
            r"params/kernel is .*\[4, 3\].*\[5, 3\]",
        ),
        (lambda s: s.replace(params={**s.params, "half": jnp.zeros(5)}), "params/half is bfloat16"),
    ],
)
def test_another_model_is_an_error_that_names_the_leaf(folder, like, message):
    with pytest.raises(ConfigError, match=message):
        restored(folder, like(state()))
    assert steps(folder) == [1, 2]  # It is not damage: nothing is set aside.


def test_the_state_may_change_while_it_is_being_written(tmp_path):
    """The loop gives the state's memory to the next step right after `save` returns."""
    move = jax.jit(lambda s: jax.tree.map(lambda leaf: leaf + jnp.ones((), leaf.dtype), s), donate_argnums=0)
    big = {"w": jnp.arange(2.0**20)}
    expected = np.array(big["w"])
    with Store(tmp_path) as store:
        store.save(1, big)
        for _ in range(5):
            big = move(big)
    np.testing.assert_array_equal(restored(tmp_path, big)[1]["w"], expected)


def test_only_the_newest_are_kept(tmp_path):
    with Store(tmp_path, keep=2) as store:
        for step in (1, 2, 3):
            store.save(step, {"w": jnp.ones(2)})
    assert steps(tmp_path) == [2, 3]


def test_a_full_disk_is_a_storage_error_and_older_steps_stay(folder, monkeypatch):
    def full(*seal):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sealed, "seal", full)
    with pytest.raises(StorageError, match=r"No space left on device.*resume"), Store(folder) as store:
        store.save(3, state(3.0))
    monkeypatch.undo()
    assert verify(folder / "2") is None
    assert restored(folder)[0] == 2


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(StorageError, match=r"cannot write .*Not a directory"),
        Store(tmp_path / "file" / "checkpoints") as store,
    ):
        store.save(1, {"w": jnp.ones(2)})


def test_the_first_error_is_the_one_shown(folder, monkeypatch):
    monkeypatch.setattr(sealed, "seal", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with contextlib.suppress(KeyError), Store(folder) as store:
        store.save(3, state(3.0))
        raise KeyError("the loop's own")


@pytest.fixture
def written(tmp_path):
    """A checkpoint that three processes have written and Orbax has committed, not yet sealed."""
    path = sealed.partial(tmp_path / "7")
    for name in (
        "d/a",
        "ocdbt.process_0/d/b",
        "ocdbt.process_1/d/c",
        "ocdbt.process_2/d/e",
        "x/process_1",
        "process_1x",
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    return path


def test_each_process_hashes_what_it_has_written_and_the_first_seals_all(written):
    each = [sealed.entries(written, process, 3) for process in range(3)]
    assert sorted(each[1]) == ["ocdbt.process_1/d/c", "x/process_1"] and sorted(each[2]) == ["ocdbt.process_2/d/e"]
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(sealed.gather, written, 3)
        others = [pool.submit(sealed.send, written, process, 3) for process in (2, 1)]
        assert [other.result() for other in others] == [None, None]
    assert first.result() == sealed.entries(written) == each[0] | each[1] | each[2]
    assert list(written.parent.iterdir()) == [written]
    sealed.seal(written, 7, None, first.result())
    assert verify(written.rename(written.with_name("7"))) is None


def test_processes_that_do_not_share_a_disk_are_told_so(written, monkeypatch):
    monkeypatch.setattr(sealed, "PATIENCE", 0.1)
    with pytest.raises(StorageError, match=r"process 1 did not appear .* all processes share"):
        sealed.gather(written, 2)
    with pytest.raises(StorageError, match=r"process 0 did not appear .* all processes share"):
        sealed.send(written.with_name("8.partial"), 1, 2)
