"""What brains and networks have in common, for people: matrices of dissimilarities, layer curves, maps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deeplearn.record.figures import curves, heatmap, images


def decoded(found: Mapping[str, Any], place: Path) -> None:
    """Distances of conditions, by rank, and where in its slices each subject's conditions are told apart."""
    for own in found["subjects"]:
        ranks, names, who = np.array(own["ranks"]), own["names"], f"-{own['subject']}" if own["subject"] else ""
        of = f", subject {own['subject']}" if own["subject"] else ""
        title = f"crossnobis distances, by rank{of}\nthe bluer, the less alike"
        heatmap(ranks / ranks.max(), place / f"distances{who}.svg", rows=names, columns=names, title=title)
        if "slices" in own:
            low, high = own["range"]
            shades = f"{low:.2f} (dark grey) to {high:.2f} (white)"
            title = f"searchlight{of}: accuracy of voxels and their neighbours,\n{shades}"
            pictures = [np.array(picture) for picture in own["slices"]]
            images(pictures, place / f"searchlight{who}.svg", columns=1, inches=4.0, title=title)


def compared(found: Mapping[str, Any], place: Path) -> None:
    """The two matrices side by side, by rank, and every layer's similarity below the ceiling's band."""
    pair = [np.array(found[name]) for name in ("brain", "model")]
    shown = {"captions": ["brain, mean of subjects", f"{found['chosen']} of the network"], "columns": 2, "inches": 3.0}
    title = "dissimilarity of stimuli, by rank: the brighter, the less alike"
    images([own / own.max() for own in pair], place / "matrices.svg", **shown, title=title)
    low, high = (np.full(len(found["layers"]), np.mean(own)) for own in found["ceiling"])
    series = {
        "layers, with 95 % over subjects and stimuli": (
            found["layers"],
            np.mean(found["scores"], axis=0),
            *found["interval"],
        ),
        "ceiling: from the other subjects' mean to that of all": (found["layers"], (low + high) / 2, low, high),
    }
    curves(series, place / "layers.svg", y="Spearman's correlation", x="layer")


def mapped(found: Mapping[str, Any], place: Path) -> None:
    """How many voxels of each region every layer explains best, and how alike region and layer find stimuli."""
    best, layers = np.array(found["scores"]).argmax(0), found["layers"]
    region = np.array(found["region"])
    counts = {name: np.bincount(best[region == name], minlength=len(layers)) for name in dict.fromkeys(region.tolist())}
    series = {name: (layers, own / own.sum()) for name, own in counts.items()}
    curves(series, place / "map.svg", x="layer", y="share of voxels it explains best", markers=True)
    if "similarity" in found:
        series = {name: (layers, own) for name, own in found["similarity"].items()}
        curves(series, place / "regions.svg", x="layer", y="correlation of matrices", markers=True)
