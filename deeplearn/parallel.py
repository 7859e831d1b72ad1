"""Where arrays live and how a step is spread: meshes, placements, and the three ways to compile the same pure step."""

import re
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Literal

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from deeplearn.errors import ConfigError, note

AXES = ("data", "fsdp", "tensor")
"""data: rows of the batch; fsdp: rows too, and parameters in slices; tensor: columns of the matrices."""
ROWS = ("data", "fsdp")
"""The axes that the rows of a batch are spread over."""
How = Literal["jit", "shard_map", "pmap"]
Rules = Sequence[tuple[str, tuple[str | None, ...]]]

DENSE_RULES: Rules = (
    # Attention by heads (Shoeybi et al., 2019): a slice of a head would sum its products over devices.
    (r"(^|/)(joint|query|key|value|qkv|position)/kernel$", (None, "tensor", None)),  # [D, ..., H, d]
    (r"(^|/)out/kernel$", ("tensor", None, None)),  # [H, d, D]
    (r"(kernel|embedding)$", (None, "tensor")),
)
"""Default for the tensor axis: whole heads of attention, else the output features of every kernel. An experiment's own
rules come before it."""

# Slicing a leaf over fsdp pays only where its all-gather is small against the memory saved (big_vision uses 4 MB, too).
FSDP_MIN_BYTES = 2**14


def make_mesh(spec: str = "", devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with axes data, fsdp and tensor from a text such as `data=4,fsdp=2`.

    Axes that are not named have size 1; an empty text puts all devices on `data`. The mesh uses the first devices if it
    needs fewer than there are.

    Raises:
        ConfigError: for an unknown axis, a malformed text, or more devices than there are.
    """
    if devices is None:  # Those of one process side by side, so that its rows of a batch are one slice.
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    sizes = dict.fromkeys(AXES, 1)
    if not spec:
        sizes["data"] = len(devices)
    for part in filter(None, spec.split(",")):
        name, _, size = part.strip().partition("=")
        if name not in sizes or not size.isdigit() or int(size) < 1:
            raise ConfigError(
                f"mesh {spec!r}: {part!r} is not AXIS=SIZE with an axis of {', '.join(AXES)}; write e.g. data=4,fsdp=2."
            )
        sizes[name] = int(size)
    need = int(np.prod(list(sizes.values())))
    if need > len(devices):
        raise ConfigError(
            f"mesh {spec!r} needs {need} devices, but there are {len(devices)}; ask for a smaller mesh, or simulate "
            f"devices on a CPU with XLA_FLAGS=--xla_force_host_platform_device_count={need}."
        )
    grid = np.asarray(devices[:need]).reshape(*sizes.values())
    # Explicit axis types (the default of jax.make_mesh) break nn.Embed: the compiler is to infer shardings.
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def mesh_here(spec: str) -> Mesh:
    """The mesh that a run was trained on, or all devices on `data` where there are too few: what reads is the same."""
    try:
        return make_mesh(spec)
    except ConfigError:  # of a text that a training has accepted
        note(f"this machine has fewer devices than --mesh {spec} of the run: all {len(jax.devices())} share the rows")
        return make_mesh()


def placements(tree: PyTree, mesh: Mesh, rules: Rules = ()) -> PyTree:
    """A NamedSharding for every leaf of a tree of arrays or shapes.

    The first rule whose regex is found in the leaf's path (`params/Dense_0/kernel`), and that names no more axes than
    the leaf has, names the mesh axis of each trailing array axis; axes that do not divide evenly stay whole. Then, on a
    mesh with fsdp > 1, the largest axis that is still whole is sliced over `fsdp` (Rajbhandari et al., 2020). All else
    is replicated. The optimizer's moments carry the paths of their parameters, so they follow the same rules.
    """
    rules = (*rules, *DENSE_RULES)

    def place(path: jax.tree_util.KeyPath, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        axes: list[str | None] = [None] * leaf.ndim
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        found = next((names for pattern, names in rules if len(names) <= leaf.ndim and re.search(pattern, name)), ())
        for i, axis in zip(range(leaf.ndim - len(found), leaf.ndim), found, strict=True):
            if axis is not None and mesh.shape[axis] > 1 and leaf.shape[i] % mesh.shape[axis] == 0:
                axes[i] = axis
        whole = [i for i in range(leaf.ndim) if axes[i] is None and leaf.shape[i] % mesh.shape["fsdp"] == 0]
        if (
            mesh.shape["fsdp"] > 1
            and "fsdp" not in axes
            and whole
            and leaf.size * leaf.dtype.itemsize >= FSDP_MIN_BYTES
        ):
            axes[max(whole, key=lambda i: leaf.shape[i])] = "fsdp"
        return NamedSharding(mesh, P(*axes))

    return jax.tree_util.tree_map_with_path(place, tree)


def check(mesh: Mesh, how: How, batch: int, microbatches: int) -> None:
    """Refuse combinations that cannot work, before anything is compiled.

    Raises:
        ConfigError: naming the knobs to change.
    """
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    if how != "jit" and mesh.size != mesh.shape["data"]:
        raise ConfigError(
            f"--parallel {how} spreads data only; use --parallel jit for fsdp and tensor, or --mesh data={mesh.size}."
        )
    if batch % (rows * microbatches):
        raise ConfigError(
            f"a batch of {batch} does not divide into {rows} device(s) x {microbatches} microbatch(es); "
            f"choose a multiple of {rows * microbatches}."
        )
    if jax.process_count() > 1 and (how == "pmap" or mesh.size != len(jax.devices())):
        raise ConfigError(
            f"{jax.process_count()} processes need --parallel jit or shard_map, "
            f"and a --mesh of all {len(jax.devices())} devices."
        )
    if how == "pmap" and mesh.size != len(jax.devices()):
        raise ConfigError(
            f"--parallel pmap uses every device; leave --mesh empty or set it to data={len(jax.devices())}."
        )


def refuse_parts(
    couples: bool, collections: Collection[str], mesh: Mesh, how: How, microbatches: int, shards: int = 0
) -> str | None:
    """Whether it matters that a device or a microbatch sees a part of the batch only; returns what to tell the user.

    Args:
        couples: the loss ties the rows of a batch together.
        collections: names of the model's collections; batch normalisation keeps `batch_stats`.
        shards: of exact mode; each is a part.

    Raises:
        ConfigError: the loss would be another one.
    """
    if shards <= 1 and microbatches == 1 and (how == "jit" or mesh.size == 1):
        return None
    if couples:
        raise ConfigError(
            "this loss compares the rows of a batch with each other, so parts of a batch have another loss; "
            "use --parallel jit and --microbatches 1, without --exact."
        )
    if "batch_stats" in collections:
        knobs = f"--exact {shards}" if shards else f"--parallel {how}, --microbatches {microbatches}"
        return (
            f"batch normalisation sees parts of the batch ({knobs}): "
            "the numbers differ from those of the whole batch on --parallel jit."
        )
    return None


def on_rows(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The sharding of a column whose batch axis is `axis`."""
    return NamedSharding(mesh, P(*[None] * axis, ROWS))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def mesh_of(tree: PyTree) -> Mesh | None:
    """The devices that a training has put arrays on; None where they lie on one alone, or on the host."""
    places = [leaf.sharding for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return next((place.mesh for place in places if isinstance(place, NamedSharding) and place.mesh.size > 1), None)


def put(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """NumPy arrays that every process holds whole onto the devices."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, sharding, lambda part: x[part]), tree)


def put_share(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Rows of which every process holds its `share` alone onto the devices."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def share(mesh: Mesh) -> tuple[int, int]:
    """(index, count): this process' devices hold slice `index` of `count` of a batch's rows.

    Where tensor > 1 spreads one slice over several processes, they have the same index.
    """
    rows = mesh.devices.reshape(-1, mesh.shape["tensor"])  # [data * fsdp, tensor]
    own = [i for i, devices in enumerate(rows) if any(d.process_index == jax.process_index() for d in devices)]
    return own[0] // len(own), len(rows) // len(own)


def fetched(tree: PyTree) -> PyTree:
    """Whole arrays on the host, also of leaves that are sliced over several processes; all of them have to call it."""
    return jax.device_get(tree) if jax.process_count() == 1 else process_allgather(tree, tiled=True)


def compiled(
    step: Callable[..., PyTree], mesh: Mesh, how: How, state: PyTree, *, row_axis: int, donate: bool = True
) -> Callable:
    """Compile `step(state, whole, rows, seed, count, axis) -> (state, metrics)` over the mesh.

    Args:
        step: pure; `axis` is None under jit, and the name of the axis to sum over under shard_map and pmap.
        state: tree of NamedShardings of the first argument (from `placements`).
        row_axis: which axis of every leaf of `rows` is the batch; `whole` and the scalars are the same everywhere.
        donate: reuse the state's memory for the new state.

    Under shard_map and pmap, batch statistics and in-batch contrasts are those of one device's rows; under jit of all.
    """
    same, rows = replicated(mesh), on_rows(mesh, row_axis)
    if how == "jit":
        return jax.jit(
            partial(step, axis=None),
            in_shardings=(state, same, rows, same, same),
            out_shardings=(state, same),
            donate_argnums=(0,) if donate else (),
            compiler_options=kept_barriers(),
        )
    if how == "shard_map":
        # check_vma=False: with it, an explicit psum of gradients of replicated parameters would be counted twice.
        mapped = jax.shard_map(
            partial(step, axis="data"),
            mesh=mesh,
            in_specs=(P(), P(), rows.spec, P(), P()),
            out_specs=P(),
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=(0,) if donate else (), compiler_options=kept_barriers())
    return _pmapped(step, mesh, row_axis)


def kept_barriers() -> dict[str, str] | None:
    """Options of the compiler with which layers that are computed again save memory on a CPU too.

    Barriers keep the second computation apart from the first. XLA's CPU backend drops them before it looks for what is
    computed twice, and would then compute nothing again and save nothing.
    """
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if jax.default_backend() == "cpu" else None


def _pmapped(step: Callable[..., PyTree], mesh: Mesh, row_axis: int) -> Callable:
    """The classical third way: the batch reshaped to [devices, B / devices, ...], everything else broadcast."""
    mapped = jax.pmap(
        partial(step, axis="data"), axis_name="data", in_axes=(None, None, row_axis, None, None), out_axes=None
    )
    devices = mesh.size

    def call(state: PyTree, whole: PyTree, rows: PyTree, *scalars: jax.Array) -> PyTree:
        split = jax.tree.map(lambda x: x.reshape(*x.shape[:row_axis], devices, -1, *x.shape[row_axis + 1 :]), rows)
        return mapped(state, whole, split, *scalars)

    return call
