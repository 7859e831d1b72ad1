import builtins
import json
import math
import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from deeplearn.errors import StorageError
from deeplearn.record.log import _jsonl, described, log_to, rewind


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def write(folder: Path, start: int, stop: int) -> None:
    with log_to(folder, 100, quiet=True) as log:
        log.start(start)
        for step in range(start + 1, stop + 1):
            log.progress(step)
            log.write(step, {"train/loss": 1 / step})


def test_an_interrupted_run_and_its_resumption_leave_one_clean_history(tmp_path: Path) -> None:
    write(tmp_path, 0, 7)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "seconds": 1.0, "train/lo')  # Killed while it wrote.
    write(tmp_path, 4, 10)
    found = lines(tmp_path)
    assert [entry["step"] for entry in found] == list(range(1, 11))
    assert [entry["train/loss"] for entry in found] == [1 / step for step in range(1, 11)]
    assert [entry["seconds"] for entry in found] == sorted(entry["seconds"] for entry in found)


def test_a_run_from_the_start_begins_a_new_history(tmp_path: Path) -> None:
    write(tmp_path, 0, 7)
    write(tmp_path, 0, 3)
    assert [entry["step"] for entry in lines(tmp_path)] == [1, 2, 3]


def test_rewind_of_garbage_keeps_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "seconds": 2.5}\n\xff\xfe\n[]\n{"step": 2}\n{"step": 9, "seconds": 3}\n')
    assert rewind(path, 5) == 2.5
    assert path.read_text() == '{"step": 1, "seconds": 2.5}\n'
    assert rewind(tmp_path / "none", 5) == 0.0


def test_a_line_is_on_disk_when_write_returns_and_holds_only_json(tmp_path: Path) -> None:
    with log_to(tmp_path, 2, quiet=True) as log:
        log.start(0)
        log.write(1, {"train/loss": math.nan, "train/norm": math.inf, "train/accuracy": 0.5})
        (entry,) = (
            json.loads(line, parse_constant=pytest.fail)
            for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
        )
    assert entry["train/loss"] is None
    assert entry["train/norm"] is None
    assert entry["train/accuracy"] == 0.5


def test_tensorboard_holds_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    write(tmp_path, 0, 3)
    (path,) = tmp_path.glob("events.out.tfevents.*")
    data, found = path.read_bytes(), []
    while data:  # A record is its length (8 bytes), a checksum (4), the event and a checksum (4).
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        data = data[16 + size :]
    assert found == [(step, "train/loss", pytest.approx(1 / step)) for step in (1, 2, 3)]


def test_without_tensorboardx_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    write(tmp_path, 0, 3)
    assert capsys.readouterr().err.count("tensorboardX is not installed") == 1
    assert len(lines(tmp_path)) == 3
    assert not list(tmp_path.glob("events*"))


def test_plain_lines_go_to_stderr_and_say_how_long_it_takes(tmp_path: Path, capsys) -> None:
    with log_to(tmp_path, 200) as log:
        log.start(0, batch=32)
        log.progress(1)
        time.sleep(0.01)
        log.write(100, {"train/loss": 0.25, "train/accuracy": 0.9})
        log.say("restored [step] 3")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("step 100/200 train loss 0.25 accuracy 0.9 | ")
    assert "steps/s" in err
    assert "examples/s" in err
    assert "0:00 left" in err
    assert "restored [step] 3" in err


def test_quiet_says_only_what_is_said(tmp_path: Path, capsys) -> None:
    with log_to(tmp_path, 2, quiet=True) as log:
        log.start(0)
        log.write(1, {"train/loss": 1.0})
        log.say("attention")
    assert capsys.readouterr() == ("", "attention\n")


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the captured stream for a terminal.
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr("deeplearn.record.log.REFRESH", 0.0)
    with log_to(tmp_path, 20) as log:
        log.start(0)
        for step in range(1, 21):
            log.progress(step)
            log.write(step, {"train/loss": 0.5})
        log.write(20, {"test/accuracy": 0.75})
    err = capsys.readouterr().err
    assert "20/20" in err
    assert "train loss 0.5" in err
    assert "test accuracy 0.75" in err


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_the_line_of_a_bar_keeps_count_rate_and_time_whole(tmp_path: Path, monkeypatch, capsys, columns: int) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with log_to(tmp_path, 2000) as log:
        log.start(0, batch=128)
        log.progress(1)
        log.write(200, {"train/loss": 0.5, "train/accuracy": 0.25, "train/gradient norm": 1.0, "train/rate": 1e-3})
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    last = drawn.replace("\r", "\n").rstrip().splitlines()[-1]
    assert re.match(r" *200/2000 .*[\d.]+[kMG]? steps/s.* \| \d+:\d\d left \|", last)
    assert len(last) <= columns and ("train" in last) == (columns >= 80)


def test_values_are_grouped_by_split() -> None:
    values = {"valid/loss": 0.123456, "valid/accuracy": 1.0, "test/loss": math.nan, "rate": 1e-5}
    assert described(values) == "valid loss 0.1235 accuracy 1 · test loss nan · rate 1e-05"


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file.*--workdir"), log_to(tmp_path / "file", 1, quiet=True) as log:
        log.start(0)


def test_a_full_disk_is_a_storage_error() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with ExitStack() as stack, pytest.raises(StorageError, match="No space left"):
        _jsonl(full, 0.0, stack)(1, {"train/loss": 1.0})


def test_logging_costs_little(tmp_path: Path) -> None:
    with log_to(tmp_path, 10_000, quiet=True) as log:
        log.start(0)
        log.write(1, {"train/loss": 1.0})  # Imports tensorboardX.
        start = time.process_time()
        for step in range(10_000):
            log.progress(step)
            if step % 100 == 0:
                log.write(step, {"train/loss": 1.0, "train/accuracy": 0.5})
    # 3 % of a step of one millisecond, which few models are faster than.
    assert (time.process_time() - start) / 10_000 < 30e-6
