"""What a run will cost, before it starts: `--dry-run`."""

import json

import jax
import jax.numpy as jnp

from deeplearn import parallel
from deeplearn.config import check, to_json
from deeplearn.errors import UsageError
from deeplearn.experiment import Recipe, Run
from deeplearn.step import init, train_step


def plan(recipe: Recipe, config: Run) -> str:
    """The resolved knobs, the number of parameters, and FLOPs and memory of one step as XLA counts them."""
    if recipe.experiment is None:
        raise UsageError(f"{recipe.name} has no one step to plan: its main does all; leave --dry-run out.")
    check(config)
    experiment = recipe.experiment(config)
    mesh = parallel.make_mesh(config.mesh)
    parallel.check(mesh, config.parallel, config.batch, config.microbatches)
    batch = jax.tree.map(jnp.asarray, experiment.train.at(0))
    state = jax.eval_shape(lambda: init(experiment.task, experiment.optimizer, jnp.uint32(config.seed), batch))

    def step(state, whole, rows, seed, count, *, axis):
        return train_step(
            experiment.task, experiment.optimizer, state, rows, seed, axis=axis, microbatches=config.microbatches
        )

    shardings = parallel.placements(state, mesh, experiment.rules)
    lowered = parallel.compiled(step, mesh, "jit", shardings, row_axis=0).lower(
        state, {}, batch, jnp.uint32(0), jnp.int32(1)
    )
    program = lowered.compile()
    costs, memory = program.cost_analysis() or {}, program.memory_analysis()
    size = lambda tree: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))  # noqa: E731
    lines = [
        json.dumps(to_json(config), indent=1),
        f"training examples    {experiment.train.size:,}",
        f"parameters           {sum(leaf.size for leaf in jax.tree.leaves(state.params)):,}",
        f"state                {size(state) / 2**20:,.1f} MiB (parameters, optimizer, statistics)",
        f"mesh                 {dict(mesh.shape)} of {len(jax.devices())} {jax.devices()[0].platform} device(s)",
        f"FLOPs a step         {costs.get('flops', float('nan')):,.3g} a device",
        f"bytes moved a step   {costs.get('bytes accessed', float('nan')):,.3g} a device",
    ]
    if memory is not None:
        need = memory.argument_size_in_bytes + memory.temp_size_in_bytes
        lines.append(f"memory a device      {need / 2**20:,.1f} MiB (arguments and temporaries of one step)")
    return "\n".join(lines)
