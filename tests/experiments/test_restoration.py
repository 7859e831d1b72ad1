"""What is restored, and what is left alone."""

from dataclasses import replace

import jax
import numpy as np

from experiments import restoration


def test_painting_in_changes_holes_alone():
    config = replace(restoration.PRESETS["inpaint"], width=8)
    rng = np.random.default_rng(0)
    hint = (rng.random((2, 32, 32, 1)) > 0.9).astype(np.float32)
    batch = {"given": rng.random((2, 32, 32, 3)).astype(np.float32), "hint": hint}
    task = restoration.task(config)
    learnt = jax.tree.map(lambda x: x + 0.1, task.init(jax.random.key(0), batch))  # The last layer begins at zero.
    painted, known = np.asarray(task.predict(learnt, batch)), (hint == 0)[..., 0]
    np.testing.assert_array_equal(painted[known], batch["given"][known])
    assert (painted[~known] != batch["given"][~known]).all(-1).mean() > 0.5
