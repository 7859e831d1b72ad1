"""Records as tables, plots (SVG and PNG) and one HTML page about a whole folder."""

import html
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import records
from .records import Records

Row = Mapping[str, Any]
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; color-scheme: light dark }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #8884; text-align: right }
th:first-child, td:first-child { text-align: left }
figure { margin: 1rem 0; max-width: 44rem }
svg { width: 100%; height: auto }
pre { overflow-x: auto; background: #8881; padding: .7rem }
"""


def publish(path: Path) -> None:
    """Print the tables of one file of records; write its plots and the page about its folder beside it."""
    found = records.read(path)
    for title, header, body in tables(found):
        print(f"\n{title}\n\n{grid(header, body)}")
    try:
        pictures(found, path.parent)
    except ImportError:
        print("no plots: matplotlib is not installed", file=sys.stderr)
    print(f"\nrecords: {path}\npage: {page(path.parent)}")


def grid(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A GitHub table with aligned columns: the first to the left, numbers to the right."""
    lines = [list(header), *([str(cell) for cell in line] for line in body)]
    widths = [max(2, *(len(line[i]) for line in lines)) for i in range(len(header))]
    marks = [":" + "-" * (widths[0] - 1)] + ["-" * (width - 1) + ":" for width in widths[1:]]
    pad = [str.ljust] + [str.rjust] * (len(header) - 1)
    texts = [[pad[i](cell, widths[i]) for i, cell in enumerate(line)] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [texts[0], marks, *texts[1:]])


Table = tuple[str, list[str], list[list[str]]]


def tables(found: Records) -> Iterator[Table]:
    """(title, header, body) of every table that the records make."""
    rows = [row for row in found.rows if "contestant" in row["case"]]
    if found.benchmark == "matmul":
        yield from _matmul_tables(rows)
        yield from _ceilings([row for row in found.rows if "ceiling" in row["case"]])
    else:
        yield from _general(found)
    skipped = [(row["case"].get("name", "?"), row["skipped"]) for row in found.rows if "skipped" in row]
    skipped += [("", row["case"]["missing"]) for row in found.rows if "missing" in row["case"]]
    if skipped:
        yield "Left out", ["what", "why"], [list(line) for line in skipped]


def _matmul_tables(rows: Sequence[Row]) -> Iterator[Table]:
    for dtype in dict.fromkeys(row["case"]["dtype"] for row in rows):
        own = [row for row in rows if row["case"]["dtype"] == dtype]
        names = list(dict.fromkeys(row["case"]["contestant"] for row in own))
        body = []
        for case in dict.fromkeys(row["case"]["name"] for row in own):
            rates = {row["case"]["contestant"]: row["flops"] for row in own if row["case"]["name"] == case}
            body.append([case, *(rate(rates.get(name)) for name in names)])
        yield f"{dtype}: GFLOP/s, best sample", ["product", *names], body
    speedups = list(_speedups(rows))
    if speedups:
        header = ["product", "dtype", "who", "than", "median of rounds [95 %]", "best against best"]
        yield "How many times faster", header, speedups
    errors = {(r["case"]["dtype"], r["case"]["contestant"]): r for r in rows if r.get("error") is not None}
    yield (
        "Relative error against float64, largest product",
        ["dtype", "who", "product", "error"],
        [[dtype, who, row["case"]["name"], f"{row['error']:.1e}"] for (dtype, who), row in errors.items()],
    )
    yield "Smallest square product from which on JAX beats NumPy", ["who", "size"], list(_crossovers(rows))


def rate(flops: float | None) -> str:
    """GFLOP/s with three digits."""
    if flops is None:
        return ""
    return f"{flops / 1e9:.3g}" if flops < 1e12 else f"{flops / 1e9:,.0f}"


def _speedups(rows: Sequence[Row]) -> Iterator[list[str]]:
    rates = {(r["case"]["name"], r["case"]["dtype"], r["case"]["contestant"]): r["flops"] for r in rows}
    slow = max((r for r in rows if r["case"]["contestant"] == "python"), key=lambda r: r["case"]["n"], default=None)
    for row in rows:
        name, dtype, who = (row["case"][key] for key in ("name", "dtype", "contestant"))
        if not who.startswith("jax") or "," in who:
            continue
        for other, found in row["faster_than"].items():
            yield [name, dtype, who, other, ratio(found), f"{row['flops'] / rates[name, dtype, other]:,.2f}"]
        if "python" not in row["faster_than"] and slow is not None:
            # A Python loop does the same operations a second at every size, so its time is known without waiting.
            at = f"python, at its rate of {slow['case']['name']}"
            yield [name, dtype, who, at, "", f"{row['flops'] / slow['flops']:,.0f}"]


def ratio(found: Mapping[str, float]) -> str:
    """1.05 [1.02, 1.08]; large ones without places."""
    places = 2 if found["value"] < 20 else 0
    return f"{found['value']:,.{places}f} [{found['low']:,.{places}f}, {found['high']:,.{places}f}]"


def _crossovers(rows: Sequence[Row]) -> Iterator[list[str]]:
    square = [r for r in rows if r["case"]["name"].isdigit() and r["case"]["dtype"] == "float32"]
    for who in dict.fromkeys(r["case"]["contestant"] for r in square):
        own = sorted((r for r in square if r["case"]["contestant"] == who), key=lambda r: r["case"]["n"], reverse=True)
        faster = []
        for row in own:
            if row["faster_than"].get("numpy", {"value": 0})["value"] < 1:
                break
            faster.append(row["case"]["name"])
        if who.startswith("jax") and not who.endswith("zeros"):
            yield [who, faster[-1] if faster else "none of these"]


def _ceilings(rows: Sequence[Row]) -> Iterator[Table]:
    body = []
    for row in rows:
        for dtype, flops in row["flops"].items():
            printed = row["printed"].get(dtype)
            share = f"{flops / printed:.0%}" if printed else ""
            bandwidth = f"{row['bandwidth'] / 1e9:.1f}"
            body.append([row["device"], dtype, rate(printed), rate(flops), share, bandwidth, row["source"]])
    header = ["device", "dtype", "printed GFLOP/s", "measured", "share", "GB/s measured", "source of the printed"]
    yield "Ceilings", header, body


def _general(found: Records) -> Iterator[Table]:
    """Rows with `shown`, {column: text}, which the benchmark wrote for its own table."""
    shown = [row for row in found.rows if "shown" in row]
    for title in dict.fromkeys(row["case"].get("table", found.benchmark) for row in shown):
        own = [row["shown"] for row in shown if row["case"].get("table", found.benchmark) == title]
        header = list(dict.fromkeys(column for line in own for column in line))
        yield title, header, [[str(line.get(column, "")) for column in header] for line in own]


def pictures(found: Records, folder: Path) -> list[Path]:
    """Throughput, speed-up and roofline of products, as SVG and PNG; ImportError without matplotlib."""
    from deeplearn.record import figures

    if found.benchmark != "matmul":
        return []
    rows = [row for row in found.rows if "contestant" in row["case"]]
    square = [r for r in rows if r["case"]["name"].isdigit() and not r["case"]["contestant"].endswith("zeros")]
    throughput, speedup = _lines(square, lambda row: row["flops"] / 1e9), {}
    for other in ("numpy", "torch", "python"):
        compared = [r for r in square if other in r["faster_than"] and r["case"]["contestant"].startswith("jax")]
        lines = _lines(compared, lambda row, other=other: row["faster_than"][other]["value"])
        speedup |= {f"{name} / {other}": line for name, line in lines.items()}
    axes = dict(log_x=True, log_y=True, markers=True)
    drawn = {
        "throughput": (throughput, dict(x="M = N = K", y="GFLOP/s", title="Square products", **axes)),
        "speedup": (speedup, dict(x="M = N = K", y="times faster", title="Speed-up over CPU baselines", **axes)),
        "roofline": (_roofline(found, rows), dict(x="FLOP per byte", y="GFLOP/s", title="Roofline", **axes)),
    }
    paths = [folder / f"matmul-{name}.{kind}" for name in drawn for kind in ("svg", "png")]
    for path in paths:
        series, options = drawn[path.stem.removeprefix("matmul-")]
        if series:
            figures.curves(series, path, **options)
    return paths


def _lines(rows: Sequence[Row], value: Any) -> dict[str, tuple[list[float], list[float]]]:
    """Name of contestant and type -> (sizes, values)."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in sorted(rows, key=lambda row: row["case"]["n"]):
        xs, ys = found.setdefault(f"{row['case']['contestant']} {row['case']['dtype']}", ([], []))
        xs.append(row["case"]["n"])
        ys.append(value(row))
    return found


def _roofline(found: Records, rows: Sequence[Row]) -> dict[str, tuple[list[float], list[float]]]:
    """For every device the lower of bandwidth x intensity and the measured ceiling, and the products under it."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    for ceiling in (row for row in found.rows if "ceiling" in row["case"]):
        who = ceiling["case"]["ceiling"]
        for dtype, flops in ceiling["flops"].items():
            points = sorted(
                (row["intensity"], row["flops"] / 1e9)
                for row in rows
                if row["case"]["contestant"] == who and row["case"]["dtype"] == dtype
            )
            if not points:
                continue
            ridge = flops / ceiling["bandwidth"]
            ends = [min(points[0][0], ridge / 2), ridge, max(points[-1][0], 2 * ridge)]
            roof = [min(flops, ceiling["bandwidth"] * x) / 1e9 for x in ends]
            series[f"{who} {dtype}: ceiling"] = (ends, roof)
            series[f"{who} {dtype}"] = tuple(map(list, zip(*points, strict=True)))
    return series


def page(folder: Path) -> Path:
    """One self-contained HTML page: tables and plots of every file of records in the folder, and what they ran on."""
    parts = []
    for path in sorted(folder.glob("*.jsonl")):
        found = records.read(path)
        parts.append(f"<h2>{html.escape(path.stem)}</h2>")
        for picture in sorted(folder.glob(f"{path.stem}-*.svg")):
            parts.append(f"<figure>{_inline(picture)}</figure>")
        for title, header, body in tables(found):
            cells = [["th", *header], *(["td", *line] for line in body)]
            lines = [
                "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line) + "</tr>"
                for tag, *line in cells
            ]
            parts.append(f"<h3>{html.escape(title)}</h3><table>{''.join(lines)}</table>")
        facts = {**found.environment, "conditions": found.conditions}
        text = "\n".join(f"{name}: {value}" for name, value in facts.items())
        parts.append(f"<details><summary>environment</summary><pre>{html.escape(text)}</pre></details>")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>benchmarks</title><style>{STYLE}</style>'
    target = folder / "report.html"
    target.write_text(f"{head}<h1>Benchmarks</h1>{''.join(parts)}</html>", encoding="utf-8")
    return target


def _inline(path: Path) -> str:
    """An SVG of ours without what could run or load."""
    return re.sub(r"<script.*?</script>|<\?xml.*?\?>|<!DOCTYPE.*?>", "", path.read_text(encoding="utf-8"), flags=re.S)
