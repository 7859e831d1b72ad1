"""Metrics and pictures in words: what stands at an axis and below a picture."""

import html
import re

from deeplearn.plain import plain

LONGEST = 300
"""Characters of what a picture says of itself."""
SHARE = "0 to 1"
WORDS = {
    "accuracy": ("accuracy", SHARE),
    "blanks": ("blank frames", "share"),
    "calibration_error": ("calibration error", SHARE),
    "cer": ("character error rate", ""),
    "log_rmse": ("root mean squared error of the logarithm", ""),
    "mae": ("mean absolute error", "in the target's unit"),
    "map": ("mean average precision", SHARE),
    "mape": ("mean absolute error", "share of the true value"),
    "mcd_timed": ("mel-cepstral distortion, frame by frame", "dB"),
    "psnr": ("peak signal-to-noise ratio", "dB"),
    "r2": ("R², explained share of the variance", ""),
    "rmse": ("root mean squared error", "in the target's unit"),
    "too_fast": ("recordings too short for their text", "share"),
    "top5": ("top-5 accuracy", SHARE),
    "wer": ("word error rate", ""),
}
"""Metric that curves are drawn of -> (what it is, its unit or range where it has one)."""


def words(metric: str) -> str:
    """What a metric, without its split, is called."""
    return WORDS.get(metric, (metric.replace("_", " "), ""))[0]


def measure(metric: str) -> str:
    """`words`, with the unit or range where that is known."""
    unit = WORDS.get(metric, ("", ""))[1]
    return f"{words(metric)} ({unit})" if unit else words(metric)


def titled(picture: bytes, suffix: str) -> str:
    """The title that `figures.canvas` gave an SVG or PNG, safe to show; empty where there is none."""
    head = picture[:4000]
    if suffix == ".svg":
        found = re.search(rb"<title>([^<]*)</title>", head)
        return plain(html.unescape(found[1].decode("utf-8", errors="replace")).strip(), LONGEST) if found else ""
    # A chunk of text: its length, its kind (latin-1, or UTF-8 where that has no sign for it), its name, the text.
    found = re.search(rb"(.{4})(?:tEXt(Title\0)|iTXt(Title\0{5}))", head, re.DOTALL) if suffix == ".png" else None
    if found is None:
        return ""
    end = found.end() + max(0, int.from_bytes(found[1], "big") - len(found[2] or found[3]))
    return plain(head[found.end() : end].decode("latin-1" if found[2] else "utf-8", errors="replace"), LONGEST)
