"""Exact mode: the same bits on any number of devices, processes and microbatches.

What a sum of float32 numbers is depends on the order of the additions, and a plain step leaves that to the number of
devices. Here every batch consists of so many virtual shards of neighbouring rows. The sums of a shard (gradient, loss,
metrics, batch statistics) come from one program for one device, wherever the shard lives; those of all shards are added
along one binary tree, first those of a device, then between devices; and the update is again a program for one device.
The partitioner sees none of the arithmetic but the additions: a first form, one program over the mesh, had the same
sums on every mesh, and other last bits of the update on one device than on several.

The price is speed (docs/performance.md), and memory: parameters that are sliced over fsdp are whole during a step.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from deeplearn.errors import ConfigError
from deeplearn.parallel import ROWS, How, kept_barriers, make_mesh, on_rows, replicated
from deeplearn.step import State, gradient_sums, updated
from deeplearn.task import Batch, Output, Task, batch_of

Sums = tuple[PyTree, Output]
"""(gradient of the SUM of the loss, outputs) of some shards, leaves [1, ...]; they just add."""


def check_shards(mesh: Mesh, how: How, batch: int, shards: int) -> None:
    """Refuse what exact mode cannot do.

    Raises:
        ConfigError: naming the knobs to change.
    """
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    if shards & (shards - 1):
        raise ConfigError(f"--exact {shards} is no power of two, so that its sums make no tree; choose 1, 2, 4, 8, ...")
    if how != "jit" or mesh.shape["tensor"] > 1:
        raise ConfigError("--exact spreads rows in its own way; leave --parallel out, and tensor out of --mesh.")
    if shards % devices or batch % shards:
        raise ConfigError(
            f"--exact {shards} needs a batch that it divides and devices that divide it; this is a batch of {batch} on "
            f"{devices} device(s)."
        )


def exact_program(
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    where: PyTree,
    shards: int,
    batch: int,
    columns: Batch,
    seed: int,
    *,
    looped: bool,
) -> Callable[[PyTree, Batch], tuple[PyTree, Array]]:
    """One step: (running, rows) -> (running, non-finite updates in a row).

    `rows` are columns [1, ...] on the host, of the whole batch or of this process' devices; where `columns` [N, ...]
    are given they are `{"index": [1, B]}` of the whole batch.

    Args:
        where: NamedShardings of the `dispatch.Running`.
        shards: virtual shards of a batch, a power of two that the devices divide.
        batch: examples of a batch, over all processes.
        looped: add the shards of a device in one program instead of in as many as there are. Needs columns.
    """
    places = [(n, d) for n, d in enumerate(mesh.devices.flat) if d.process_index == jax.process_index()]
    each = shards // mesh.size
    held = [jax.device_put((columns, np.uint32(seed)), device) for _, device in places]
    one, many, add, update = programs(task, optimizer, shards)
    join = across(mesh)
    spread, gathered = copies(mesh, where)

    def sums(state: State, n: int, place: int, rows: Batch) -> Sums:
        own, seed = held[place]
        if looped:
            return many(state, own, rows["index"], seed, np.int32(n * each), np.int32(each))
        first = (n if len(next(iter(rows.values()))) == shards else place) * each
        parts = [one(state, own, {name: x[first + i] for name, x in rows.items()}, seed) for i in range(each)]
        while len(parts) > 1:
            parts = [add(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    def step(running: PyTree, rows: Batch) -> tuple[PyTree, Array]:
        rows = {name: x[0].reshape(-1, batch // shards, *x.shape[2:]) for name, x in rows.items()}
        copied = spread(running)
        total = join([sums(own.state, n, i, rows) for i, (own, (n, _)) in enumerate(zip(copied, places, strict=True))])
        moved = [update(own, t) for own, t in zip(copied, total, strict=True)]
        return gathered([own for own, _ in moved]), moved[0][1]

    return step


def programs(
    task: Task, optimizer: optax.GradientTransformation, shards: int
) -> tuple[Callable[..., Sums], Callable[..., Sums], Callable[[Sums, Sums], Sums], Callable[..., tuple[PyTree, Array]]]:
    """(sums of one shard, sums of several in a loop, addition, update): each for one device."""

    def one(state: State, columns: Batch, rows: Batch, seed: Array) -> Sums:
        batch = batch_of(columns, {name: column[None] for name, column in rows.items()}, 0)
        return jax.tree.map(lambda x: x[None], gradient_sums(task, state, batch, seed))

    def many(state: State, columns: Batch, index: Array, seed: Array, first: Array, count: Array) -> Sums:
        """A binary counter (`index` [shards, B / shards]): kept[l] is a sum of 2^l shards which waits for the next 2^l.

        The number of shards is an argument, so that there is one program for any number of devices.
        """
        shard = lambda v: one(state, columns, {"index": index[v]}, seed)  # noqa: E731
        kept = jax.tree.map(
            lambda s: jnp.zeros((shards.bit_length(), *s.shape), s.dtype), jax.eval_shape(shard, jnp.int32(0))
        )

        def body(i: Array, kept: Sums) -> Sums:
            def carry(at: tuple[Array, Sums]) -> tuple[Array, Sums]:
                level, own = at
                return level + 1, jax.tree.map(lambda k, x: k[level] + x, kept, own)

            waits = lambda at: (i >> at[0]) & 1 == 1  # noqa: E731
            level, own = jax.lax.while_loop(waits, carry, (jnp.int32(0), shard(first + i)))
            return jax.tree.map(lambda k, x: k.at[level].set(x), kept, own)

        level = jnp.int32(31) - jax.lax.clz(count)  # log2
        return jax.tree.map(lambda k: k[level], jax.lax.fori_loop(0, count, body, kept))

    def update(running: PyTree, sums: Sums) -> tuple[PyTree, Array]:
        gradient, out = jax.tree.map(lambda x: x[0], sums)
        statistics = jax.tree.map(lambda x: x / shards, out.extra)  # the mean of the shards'
        out = Output(out.loss, dict(out.metrics), statistics)
        state, metrics = updated(optimizer, running.state, gradient, out)
        # A copy: the state's own leaf is given away to the next step.
        skipped = state.skipped + 0
        return running.replace(state=state, sums=jax.tree.map(jnp.add, running.sums, metrics)), skipped

    add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b), donate_argnums=0)
    gradient = partial(jax.jit, compiler_options=kept_barriers())
    return gradient(one), gradient(many), add, jax.jit(update, donate_argnums=0)


def across(mesh: Mesh) -> Callable[[list[Sums]], list[Sums]]:
    """[sums of each device of this process] -> [sums of all devices, on each], by recursive doubling.

    The upper levels of the tree (Thakur, Rabenseifner & Gropp, "Optimization of collective communication operations in
    MPICH", 2005): log2(devices) times the bytes of the sums are sent, where a ring, whose order depends on the number
    of devices, sends twice them.
    """
    if mesh.size == 1:
        return lambda parts: parts

    def doubled(sums: PyTree) -> PyTree:
        distance = 1
        while distance < mesh.size:
            partners = [(i, i ^ distance) for i in range(mesh.size)]
            sums = jax.tree.map(lambda x, partners=partners: x + jax.lax.ppermute(x, ROWS, partners), sums)
            distance *= 2
        return sums

    rows, own = on_rows(mesh), _local(mesh)
    program = jax.jit(jax.shard_map(doubled, mesh=mesh, in_specs=rows.spec, out_specs=rows.spec), donate_argnums=0)

    def join(parts: list[Sums]) -> list[Sums]:
        def together(*leaves: Array) -> Array:
            return jax.make_array_from_single_device_arrays((mesh.size, *leaves[0].shape[1:]), rows, leaves)

        return _on_each(program(jax.tree.map(together, *parts)), own)

    return join


def copies(mesh: Mesh, where: PyTree) -> tuple[Callable[[PyTree], list[PyTree]], Callable[[list[PyTree]], PyTree]]:
    """(arrays over the mesh -> a whole copy on each device of this process, the way back).

    Args:
        where: NamedShardings of the arrays.
    """
    if mesh.size == 1:
        return lambda tree: [tree], lambda parts: parts[0]
    same, own = replicated(mesh), _local(mesh)
    sliced = not all(sharding.is_fully_replicated for sharding in jax.tree.leaves(where))
    move = lambda to: jax.jit(lambda tree: tree, out_shardings=to) if sliced else lambda tree: tree  # noqa: E731
    whole, slices = move(same), move(where)

    def gathered(parts: list[PyTree]) -> PyTree:
        return slices(
            jax.tree.map(
                lambda *leaves: jax.make_array_from_single_device_arrays(leaves[0].shape, same, leaves), *parts
            )
        )

    return lambda tree: _on_each(whole(tree), own), gathered


def on_one(mesh: Mesh, tree: PyTree) -> tuple[Mesh, PyTree]:
    """(a mesh of this process' first device, the arrays whole on it): there every process computes the same."""
    spread, _ = copies(mesh, jax.tree.map(lambda x: x.sharding, tree))
    return make_mesh("data=1", _local(mesh)[:1]), spread(tree)[0]


def _local(mesh: Mesh) -> list[jax.Device]:
    """The devices of this process, in the mesh's order."""
    return [device for device in mesh.devices.flat if device.process_index == jax.process_index()]


def _on_each(tree: PyTree, devices: Sequence[jax.Device]) -> list[PyTree]:
    """What of the arrays lies on each of the devices."""
    held = jax.tree.map(lambda x: {shard.device: shard.data for shard in x.addressable_shards}, tree)
    is_leaf = lambda x: isinstance(x, dict) and devices[0] in x  # noqa: E731
    return [jax.tree.map(lambda data, device=device: data[device], held, is_leaf=is_leaf) for device in devices]
