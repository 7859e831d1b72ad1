"""Exact mode over the whole matrix: kinds of models, devices, processes, microbatches, resumed half way elsewhere."""

import dataclasses
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import with_knobs
from test_exact import EXACT, made
from test_processes import codes, said, start

from deeplearn import catalog
from deeplearn.experiment import Experiment

KINDS = ("mlp", "convolving", "transformer", "tabm")
WHOLE, HALF = 4, 2
LAYOUTS = {  # processes, devices of each -> (mesh, microbatches)
    (1, 2): [("data=1", 1), ("data=2", 2)],
    (2, 2): [("data=2,fsdp=2", 4)],
    (4, 1): [("fsdp=4", 1)],
}
ROUND = ((1, 2), (2, 2), (4, 1))
"""Where half of a run is trained, and where, in the place after it, the other half."""


def experiment(kind: str) -> tuple[Experiment, dict]:
    """A small one with averaged parameters, and the knobs of its run."""
    if kind in ("mlp", "convolving"):
        return made(kind, EXACT), {"batch": EXACT.batch}
    name = {"transformer": "translation", "tabm": "prices"}[kind]
    recipe = catalog.load(name)
    config = with_knobs(recipe.Config(), recipe.SMOKE | {"batch": 16, "optimizer": EXACT.optimizer, "steps": WHOLE})
    return recipe.experiment(config), {"batch": 16}


WORKER = """
import sys
from deeplearn import processes
processes.join()
from test_exact_everywhere import work
work(*sys.argv[1:])
"""


def work(folder: str, devices: str, before: str) -> None:
    """In every process of a layout: all kinds on all its meshes, half of a run, and the other half of `before`."""
    import jax

    from deeplearn.loop import fit
    from deeplearn.parallel import fetched

    here, layout = Path(folder), (jax.process_count(), int(devices))
    assert jax.device_count() == layout[0] * layout[1]
    found = {}
    for kind in KINDS:
        own, knobs = experiment(kind)

        def sha(place: str, steps: int, mesh: str, microbatches: int, own=own, knobs=knobs) -> str:
            run = dataclasses.replace(EXACT, **knobs, steps=steps, mesh=mesh, microbatches=microbatches)
            state = fetched(fit(dataclasses.replace(own, evaluations={}), run, here / place)[0])
            return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))).hexdigest()

        name = f"{layout[0]}x{layout[1]}-{kind}"
        for mesh, microbatches in LAYOUTS[layout]:
            found[f"{kind} {mesh} {microbatches}"] = sha(f"{name}-{mesh}-{microbatches}", WHOLE, mesh, microbatches)
        sha(f"{name}-half", HALF, LAYOUTS[layout][-1][0], 1)  # a resumed run keeps its microbatches
        if before:
            found[f"{kind} after {before}"] = sha(f"{before}-{kind}-half", WHOLE, LAYOUTS[layout][0][0], 1)
    (here / f"{layout[0]}x{layout[1]}-after-{before}-{jax.process_index()}.json").write_text(json.dumps(found))


@pytest.mark.slow  # some minutes
def test_one_state_wherever_and_however_it_is_trained(tmp_path):
    seen: dict[str, set[str]] = {kind: set() for kind in KINDS}
    before, told = "", 0
    for number, (count, devices) in enumerate(ROUND):
        place = tmp_path / str(number)
        place.mkdir()
        for half in tmp_path.glob(f"{number - 1}/*-half"):
            shutil.move(half, place)
        workers = start(place, "-c", WORKER, place, devices, before, count=count, devices=devices)
        assert codes(workers, 1500) == [0] * count, said(place)
        for rank in range(count):
            found = json.loads((place / f"{count}x{devices}-after-{before}-{rank}.json").read_text())
            told += len(found)
            for name, sha in found.items():
                seen[name.split()[0]].add(sha)
        before = f"{count}x{devices}"
    print(f"{told} states", file=sys.stderr)
    assert {kind: len(shas) for kind, shas in seen.items()} == dict.fromkeys(KINDS, 1)
