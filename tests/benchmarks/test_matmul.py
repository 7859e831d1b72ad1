"""The matrix benchmark end to end on tiny products, with peers that are missing and sizes that do not fit."""

import sys

import jax
import numpy as np
import pytest

from benchmarks import matmul, peaks, products, records, report
from benchmarks.timing import Budget

TINY = Budget(rounds=3, fewest=3, seconds=0, warmup=0, rest=0)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(matmul, "QUICK", TINY)
    monkeypatch.setattr(peaks, "QUICK", TINY)
    monkeypatch.setattr(peaks, "measured_flops", lambda *_, **__: 2e11)
    monkeypatch.setattr(peaks, "measured_bandwidth", lambda *_, **__: 2e10)
    monkeypatch.setitem(sys.modules, "torch", None)  # As if it were not installed.


def test_tables_records_plots_and_page(tiny, tmp_path, capsys):
    matmul.main(matmul.Config(sizes=(8, 16), quick=True, output=tmp_path))
    printed = capsys.readouterr()
    assert "pip install torch" in printed.err and "no accelerator" in printed.err
    assert "float32: GFLOP/s" in printed.out and "float8_e4m3fn is left out" in printed.out
    found = records.read(tmp_path / "matmul.jsonl")
    product = next(r for r in found.rows if r["case"].get("contestant") == "jax" and r["case"]["n"] == 16)
    assert product["flops"] == pytest.approx(2 * 16**3 / product["seconds"]["min"])
    assert set(product["faster_than"]) == {"numpy", "python"} and product["error"] < 1e-6
    for name in ("throughput", "speedup", "roofline"):
        assert (tmp_path / f"matmul-{name}.svg").stat().st_size and (tmp_path / f"matmul-{name}.png").stat().st_size
    page = (tmp_path / "report.html").read_text()
    assert "How many times faster" in page and page.count("<svg") == 3 and "<script" not in page


def test_a_product_that_does_not_fit_is_left_out_by_name(tiny, tmp_path, capsys):
    matmul.main(matmul.Config(sizes=(2**20,), shapes=(), dtypes=("float32",), output=tmp_path))
    assert "GiB that are free" in capsys.readouterr().out


@pytest.mark.parametrize("contestant", products.contestants()[0], ids=lambda one: one.name)
def test_everybody_computes_the_same_product(contestant):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 7), np.float32), rng.standard_normal((7, 3), np.float32)
    for dtype, largest in {"float32": 1e-6, "bfloat16": 1e-2}.items():
        if dtype in contestant.dtypes:
            assert products.error(contestant, dtype, a, b) < largest


def test_int8_adds_up_exactly():
    a, b = (products.draw(np.random.default_rng(i), (16, 16), "int8") for i in range(2))
    found = products.multiply(*(jax.numpy.asarray(x, "int8") for x in (a, b)), "int8", "cpu")
    assert np.array_equal(found, a.astype(int) @ b.astype(int))


def test_grid_is_a_github_table():
    assert report.grid(["a", "bb"], [["x", "1"]]) == "| a  | bb |\n| :- | -: |\n| x  |  1 |"
