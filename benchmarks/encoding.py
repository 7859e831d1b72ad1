"""Encoding models on this machine: ridge and banded ridge regressions of many voxels, ours beside himalaya's.

himalaya runs on NumPy; `pip install himalaya` adds it, since it is no dependency.
    deeplearn bench encoding --quick
"""

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from deeplearn.methods import encoding

from . import records
from .report import publish, ratio
from .timing import QUICK, Budget, Ratio, measure, timed

PENALTIES = 10.0 ** np.arange(-2, 5)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to fit."""

    stimuli: int = 600
    features: int = 2000
    """Of each of two bands."""
    voxels: int = 2000
    candidates: int = 4
    """Shares that banded ridge regression tries."""
    quick: bool = False
    """Fewer samples."""
    output: Path = Path("runs/bench")
    """Folder for encoding.jsonl and the page."""


def main(config: Config) -> None:
    """Measure, print the table, write the records."""
    header = records.begin("encoding")
    publish(records.write(config.output / "encoding.jsonl", header, list(_rows(config))))


def _rows(config: Config) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    bands = [rng.normal(size=(config.stimuli, config.features)).astype(np.float32) for _ in range(2)]
    values = sum(band @ rng.normal(size=(config.features, config.voxels)) for band in bands)
    values = (values / values.std() + rng.normal(size=values.shape)).astype(np.float32)
    folds = np.arange(config.stimuli) % 5
    products = np.asarray(encoding.kernels(bands, bands)) / config.features
    shares = rng.dirichlet((1, 1), config.candidates).astype(np.float32)
    for name, own, tried in (("ridge", products[:1], np.ones((1, 1), np.float32)), ("banded", products, shares)):
        print(f"bench encoding: {name}", file=sys.stderr, flush=True)
        arguments = tuple(jnp.asarray(array) for array in (own, values))
        rows, knobs = encoding.folds_of(folds), (jnp.asarray(PENALTIES, jnp.float32), jnp.asarray(tried))
        samplers = {"ours": timed(lambda _, a=arguments, k=knobs, rows=rows: encoding.encode(*a, rows, *k))}
        if importlib.util.find_spec("himalaya") is None:
            yield {"case": {"missing": "no himalaya: pip install himalaya adds it."}}
        else:
            samplers["himalaya, NumPy"] = timed(_himalaya(own, values, folds, tried))
        times = measure(samplers, QUICK if config.quick else Budget(rounds=9, seconds=60.0))
        for who, timing in times.items():
            against = {other: vars(Ratio.of(times[other], timing)) for other in times if other != who}
            yield {
                "case": {"name": name, "candidate": who},
                "seconds": timing.summary(),
                "samples": timing.samples,
                "faster_than": against,
                "shown": {
                    "model": name,
                    "who": who,
                    "seconds, best": f"{timing.minimum:.3f}",
                    "median": f"{timing.median:.3f}",
                    **{f"times {other}": ratio(found) for other, found in against.items()},
                },
            }


def _himalaya(products: np.ndarray, values: np.ndarray, folds: np.ndarray, shares: np.ndarray) -> Any:
    from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
    from himalaya.scoring import r2_score
    from sklearn.model_selection import PredefinedSplit

    return lambda _: solve_multiple_kernel_ridge_random_search(
        products,
        values,
        n_iter=shares,
        alphas=PENALTIES.astype(np.float32),
        cv=PredefinedSplit(folds),
        score_func=r2_score,
        fit_intercept=True,
        return_weights="dual",
        progress_bar=False,
    )


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
