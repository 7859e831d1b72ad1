"""Peaks and records."""

import json
from types import SimpleNamespace

import jax
import pytest

from benchmarks import peaks, records
from deeplearn.errors import DataError

ZEN4 = "vendor_id : AuthenticAMD\ncpu family\t: 25\ncpu MHz\t\t: 2500.0\nflags : fma avx2 avx512f avx512_bf16\n"
XEON = "vendor_id : GenuineIntel\ncpu family\t: 6\ncpu MHz\t\t: 2000.0\nflags : fma avx2 avx512f\n"


@pytest.mark.parametrize(
    "kind, dtype, tera",
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4),
        ("NVIDIA H200", "float8_e4m3fn", 1978.9),
        ("NVIDIA A100-SXM4-80GB", "tf32", 156),
        ("NVIDIA B200", "bfloat16", 2250),
        ("TPU v5 lite", "bfloat16", 197),
        ("TPU v5p", "bfloat16", 459),
        ("TPU v6 lite", "int8", 1836),
    ],
)
def test_datasheets_are_found_by_kind(kind, dtype, tera):
    peak = peaks.datasheet(SimpleNamespace(platform="gpu", device_kind=kind))
    assert peak.flops[dtype] == pytest.approx(tera * 1e12) and peak.source


def test_a_device_without_datasheet_has_none():
    assert peaks.datasheet(SimpleNamespace(platform="gpu", device_kind="Abacus 1")) is None


def test_a_processor_from_cores_clock_and_width():
    assert peaks.processor(ZEN4, 4).flops == {"float32": 4 * 2.5e9 * 32, "bfloat16": 4 * 2.5e9 * 64}
    assert peaks.processor(XEON, 4).flops == {"float32": 4 * 2e9 * 64}
    assert peaks.processor("no such thing", 4) is None


def test_measured_ceilings_are_rates(monkeypatch):
    monkeypatch.setattr(peaks, "QUICK", peaks.Budget(rounds=1, fewest=1, seconds=0, warmup=0))
    assert peaks.measured_flops(jax.devices()[0], "float32", size=64, quick=True) > 0


def test_records_survive_the_disk(tmp_path):
    header = records.begin("matmul")
    path = records.write(tmp_path / "new" / "a.jsonl", header, [{"case": {"size": 64}, "gflops": float("nan")}])
    found = records.read(path)
    assert found.benchmark == "matmul" and found.rows == ({"case": {"size": 64}, "gflops": None},)
    assert found.environment["packages"]["jax"] == jax.__version__ and found.conditions["threads"] >= 1


@pytest.mark.parametrize(
    "text, words",
    [
        (None, "cannot be read"),
        ("", "has the schema None"),
        ('{"schema": "other/9"}', "other/9"),
        ("{", "line 1 is no JSON"),
        (json.dumps({"schema": records.SCHEMA}) + "\n{}", "line 2 names no case"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_line(tmp_path, text, words):
    path = tmp_path / "a.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=words):
        records.read(path)
