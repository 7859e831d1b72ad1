"""What a run will cost, before it starts: `--dry-run`."""

import json
import math
import re
from collections import Counter

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from deeplearn import parallel
from deeplearn.beginning import refuse
from deeplearn.config import check, to_json
from deeplearn.errors import UsageError
from deeplearn.experiment import Recipe, Run
from deeplearn.step import init, train_step

SENT = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
"""Instructions of a compiled program that send arrays between devices."""


def plan(recipe: Recipe, config: Run) -> str:
    """The resolved knobs, the number of parameters, and FLOPs, memory and traffic of one step as XLA counts them."""
    if recipe.experiment is None:
        raise UsageError(f"{recipe.name} has no one step to plan: its main does all; leave --dry-run out.")
    check(config)
    experiment = recipe.experiment(config)
    mesh = parallel.make_mesh(config.mesh)
    told = refuse(experiment, config, mesh)
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
        f"state on a device    {held(state, shardings) / 2**20:,.1f} MiB (what fsdp and tensor leave of it)",
        f"mesh                 {dict(mesh.shape)} of {len(jax.devices())} {jax.devices()[0].platform} device(s)",
        f"FLOPs a step         {costs.get('flops', float('nan')):,.3g} a device",
        f"bytes moved a step   {costs.get('bytes accessed', float('nan')):,.3g} a device",
    ]
    if config.best:
        lines.append(f"best step            {size((state.params, state.extra)) / 2**20:,.1f} MiB more, sliced alike")
    if sent := collectives(program.as_text()):
        kinds = ", ".join(f"{name} {size / 2**20:,.2f} MiB" for name, size in sent.items())
        lines.append(f"sums and copies      {kinds} a step and device")
    if memory is not None:
        need = memory.argument_size_in_bytes + memory.temp_size_in_bytes
        lines.append(f"memory a device      {need / 2**20:,.1f} MiB (arguments and temporaries of one step)")
    if config.exact:
        lines.append(
            f"of a plain step; --exact {config.exact} computes as much, holds the whole state, and sends other sums"
        )
    return "\n".join([*lines, told] if told else lines)


def held(tree: PyTree, shardings: PyTree) -> int:
    """Bytes of arrays or shapes on each device."""
    sizes = jax.tree.map(
        lambda leaf, where: math.prod(where.shard_shape(leaf.shape)) * leaf.dtype.itemsize, tree, shardings
    )
    return sum(jax.tree.leaves(sizes))


def collectives(program: str) -> dict[str, int]:
    """Bytes that a compiled program's collectives leave on a device, by kind; what a loop repeats counts once."""
    found: Counter[str] = Counter()
    for shapes, kind, start in re.findall(rf"= (.*?) ({'|'.join(SENT)})(-start)?\(", program):
        arrays = re.findall(r"([a-z]+\d+|pred)\[([\d,]*)\]", shapes)
        if start and kind != "all-reduce":  # (what goes in, what comes out)
            arrays = arrays[len(arrays) // 2 :]
        for dtype, sizes in arrays:
            size = 1 if dtype == "pred" else int(re.sub(r"\D", "", dtype)) // 8
            found[kind] += size * math.prod(int(n) for n in sizes.split(",") if n)
    return dict(found)
