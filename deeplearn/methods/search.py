"""The nearest vectors of a gallery by inner product: exact, spread over devices, approximate, and by inverted lists.

Give codes of length 1 (`ranking.unit`) and products are cosines. Equal products are answered by index.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from deeplearn.errors import UsageError

QUERIES = 256
"""Searched at a time: their products with 100,000 vectors take 100 MB."""
CHUNK = 128
"""Vectors whose best product is looked at first: of N products, N / 128 are sorted."""


class Found(NamedTuple):
    """The answers of Q queries, the best first."""

    value: Float[np.ndarray, "Q K"]
    index: Int[np.ndarray, "Q K"]


def exact(queries: Float[np.ndarray, "Q D"], gallery: Float[np.ndarray, "N D"], k: int) -> Found:
    """The k largest products of each query.

    The k best lie in the k chunks of the gallery with the best maxima: so only maxima, and then k chunks, are sorted.

    Raises:
        UsageError: the gallery holds less than k vectors.
    """
    _enough(len(gallery), k)
    padded = jnp.pad(jnp.asarray(gallery, jnp.float32), ((0, -len(gallery) % CHUNK), (0, 0)))
    return _batched(lambda rows: _best(rows, padded, len(gallery), k), queries)


def sharded(queries: Float[np.ndarray, "Q D"], gallery: Float[np.ndarray, "N D"], k: int, mesh: Mesh) -> Found:
    """The same with the gallery spread over the devices of the mesh's first axis, which send k answers each.

    Raises:
        UsageError: the gallery holds less than k vectors.
    """
    _enough(len(gallery), k)
    axis, devices = mesh.axis_names[0], mesh.shape[mesh.axis_names[0]]
    share = max(-(-len(gallery) // devices), k)  # Every device has k answers to send, if only padding.
    share += -share % CHUNK
    padded = jnp.pad(jnp.asarray(gallery, jnp.float32), ((0, devices * share - len(gallery)), (0, 0)))

    def search(rows: Array, part: Array) -> tuple[Array, Array]:
        first = jax.lax.axis_index(axis) * share
        value, index = _best(rows, part, jnp.clip(len(gallery) - first, 0, share), k)
        # In the order of the devices, so that of equal products the lower index comes first.
        value, index = (jax.lax.all_gather(x, axis, axis=1, tiled=True) for x in (value, index + first))
        value, place = jax.lax.top_k(value, k)
        return value, jnp.take_along_axis(index, place, axis=1)

    specs = {"in_specs": (PartitionSpec(), PartitionSpec(axis)), "out_specs": PartitionSpec()}
    program = jax.jit(jax.shard_map(search, mesh=mesh, check_vma=False, **specs))
    placed = jax.device_put(padded, jax.sharding.NamedSharding(mesh, PartitionSpec(axis)))
    return _batched(lambda rows: program(rows, placed), queries)


def approximate(
    queries: Float[np.ndarray, "Q D"], gallery: Float[np.ndarray, "N D"], k: int, recall: float = 0.95
) -> Found:
    """By `jax.lax.approx_max_k` (Chern et al., 2022), which accelerators have in hardware; `recall` is expected."""
    _enough(len(gallery), k)
    program = jax.jit(lambda rows, gallery: jax.lax.approx_max_k(rows @ gallery.T, k, recall_target=recall))
    placed = jnp.asarray(gallery, jnp.float32)
    return _batched(lambda rows: program(rows, placed), queries)


class Lists(NamedTuple):
    """An inverted file (Jegou et al., 2011): every vector of the gallery in the list of its nearest centre."""

    centres: Float[np.ndarray, "C D"]
    members: list[Int[np.ndarray, "M"]]
    """Rows of the gallery in each list, rising."""


def inverted(gallery: Float[np.ndarray, "N D"], lists: int, seed: int = 0, rounds: int = 10) -> Lists:
    """Lists of k-means on the sphere, learnt from at most 64 vectors a list, which is enough to place a centre."""
    rng = np.random.default_rng(seed)
    sample = gallery[rng.permutation(len(gallery))[: 64 * lists]]
    centres = sample[:lists].copy()
    for _ in range(rounds):
        owner = _nearest(sample, centres)
        sums = np.stack([np.bincount(owner, column, minlength=lists) for column in sample.T], axis=1)
        moved = np.linalg.norm(sums, axis=1) > 0  # An empty list keeps its centre.
        centres[moved] = sums[moved] / np.linalg.norm(sums[moved], axis=1, keepdims=True)
    owner = _nearest(gallery, centres)
    order = np.argsort(owner, kind="stable")
    return Lists(centres, np.split(order, np.cumsum(np.bincount(owner, minlength=lists))[:-1]))


def probe(
    queries: Float[np.ndarray, "Q D"], gallery: Float[np.ndarray, "N D"], lists: Lists, k: int, probes: int
) -> tuple[Found, float]:
    """The best of the `probes` lists with the nearest centres, and the mean number of products a query took.

    An answer that the lists could not give has the index -1.
    """
    near = np.asarray(queries, np.float32) @ lists.centres.T
    wanted = np.argpartition(-near, probes - 1, axis=1)[:, :probes]
    value = np.full((len(queries), k), -np.inf, np.float32)
    index = np.full((len(queries), k), -1)
    products = len(lists.centres) * len(queries)
    for number, members in enumerate(lists.members):
        rows = np.flatnonzero((wanted == number).any(1))
        if not len(rows) or not len(members):
            continue
        products += len(rows) * len(members)
        both = np.concatenate([value[rows], queries[rows] @ gallery[members].T], axis=1)
        names = np.concatenate([index[rows], np.broadcast_to(members, (len(rows), len(members)))], axis=1)
        if both.shape[1] > 4 * k:
            kept = np.argpartition(-both, k, axis=1)[:, : k + 1]
            both, names = np.take_along_axis(both, kept, 1), np.take_along_axis(names, kept, 1)
        order = np.lexsort((names, -both), axis=1)[:, :k]
        value[rows], index[rows] = np.take_along_axis(both, order, 1), np.take_along_axis(names, order, 1)
    return Found(value, index), products / len(queries)


def recall(found: Found, true: Found) -> float:
    """Share of the true answers that were found."""
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found.index, true.index, strict=True)]))


def _enough(size: int, k: int) -> None:
    if not 1 <= k <= size:
        raise UsageError(f"{k} answers were asked for from a gallery of {size}; ask for 1 to {size}")


def _nearest(points: np.ndarray, centres: np.ndarray) -> Int[np.ndarray, "N"]:
    chunks = (points[start : start + 20_000] for start in range(0, len(points), 20_000))
    return np.concatenate([(chunk @ centres.T).argmax(1) for chunk in chunks])


@functools.partial(jax.jit, static_argnums=3)
def _best(queries: Array, gallery: Array, size: Array, k: int) -> tuple[Array, Array]:
    """(values, indices) [Q, k] among the first `size` rows of a gallery of whole chunks."""
    chunks, count = len(gallery) // CHUNK, min(k, len(gallery) // CHUNK)
    # Products as [chunk, place, query], whose maximum over places runs along vectors of queries.
    near = (gallery @ queries.T).reshape(chunks, CHUNK, -1)
    there = (jnp.arange(chunks * CHUNK) < size).reshape(chunks, CHUNK, 1)
    near = jnp.where(there, near, -jnp.inf)
    _, best = jax.lax.top_k(near.max(1).T, count)  # [Q, count]
    best = jnp.sort(best, axis=1)  # Of equal products the lower index must come first.
    inside = near[best, :, jnp.arange(len(queries))[:, None]].reshape(len(queries), -1)
    value, place = jax.lax.top_k(inside, k)
    return value, jnp.take_along_axis(best, place // CHUNK, axis=1) * CHUNK + place % CHUNK


def _batched(search, queries: Float[np.ndarray, "Q D"]) -> Found:
    """One shape, one program: the last queries are padded."""
    parts = []
    for start in range(0, len(queries), QUERIES):
        rows = np.asarray(queries[start : start + QUERIES], np.float32)
        found = search(jnp.asarray(np.pad(rows, ((0, QUERIES - len(rows)), (0, 0)))))
        parts.append([np.asarray(x)[: len(rows)] for x in found])
    return Found(*map(np.concatenate, zip(*parts, strict=True)))
