"""The training and the evaluation step: pure functions, written once, the same under jit, shard_map and pmap."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, ArrayLike, Bool, Int, PyTree

from deeplearn.metrics import Mean, Metric
from deeplearn.optimizer import averaged
from deeplearn.task import Batch, Output, Task, Variables

PATIENCE = 3
"""Non-finite updates in a row after which training stands still: two may be bad luck, three are a divergence."""


class State(struct.PyTreeNode):
    """Everything training changes; arrays only."""

    step: Int[Array, ""]
    """Batches seen, which is also where the data goes on."""
    params: PyTree
    extra: PyTree
    """Collections that are not trained, such as batch statistics."""
    opt: PyTree
    skipped: Int[Array, ""]
    """Updates in a row that were skipped because they, the loss or the gradient were not finite."""


def init(task: Task, optimizer: optax.GradientTransformation, seed: ArrayLike, batch: Batch) -> State:
    """The state before the first step; `batch` gives shapes only."""
    extra, params = _pop_params(task.init(jax.random.key(seed), batch))
    zero = jnp.zeros((), jnp.int32)
    return State(step=zero, params=params, extra=extra, opt=optimizer.init(params), skipped=zero)


def variables(state: State) -> Variables:
    """What evaluation and prediction use: the averaged parameters where the optimizer keeps an average."""
    return {"params": averaged(state.opt, state.params), **state.extra}


def train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    state: State,
    batch: Batch,
    seed: ArrayLike,
    *,
    axis: str | tuple[str, ...] | None = None,
    microbatches: int = 1,
) -> tuple[State, dict[str, Metric]]:
    """One update on one global batch.

    Args:
        batch: columns [B, ...]; under shard_map and pmap this device's rows of it.
        seed: the run's seed; the step's key is `fold_in(key(seed), step)`.
        axis: the mapped axis to sum over under shard_map and pmap; None under jit, where the compiler sums.
        microbatches: parts of the batch whose gradients are added before the one update, to save memory.

    Returns:
        The next state and the batch's metrics. A non-finite loss, gradient or update never enters the parameters: it is
        skipped and counted, its metrics are left out, and after `PATIENCE` in a row the state no longer moves.
    """
    gradient, out = gradient_sums(task, state, batch, seed, microbatches)
    gradient, loss, metrics = _sum_over(axis, (gradient, out.loss, dict(out.metrics)))
    extra = out.extra if axis is None else jax.lax.pmean(out.extra, axis)
    return updated(optimizer, state, gradient, Output(loss, metrics, extra))


def gradient_sums(
    task: Task, state: State, batch: Batch, seed: ArrayLike, microbatches: int = 1
) -> tuple[PyTree, Output]:
    """The first half of a step: gradient of the SUM of the loss, and the outputs; shards and microbatches just add."""
    key = jax.random.fold_in(jax.random.key(seed), state.step)

    def objective(params: PyTree, extra: PyTree, rows: Batch) -> tuple[Array, Output]:
        out = task.loss({"params": params, **extra}, rows, key, True)
        return out.loss.total, out

    grad = jax.grad(objective, has_aux=True)
    if microbatches == 1:
        return grad(state.params, state.extra, batch)

    # Rows m, m + M, ...: every device then keeps the rows it has when the batch is sharded over its first axis.
    parts = jax.tree.map(lambda x: x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1), batch)

    def add(carry: tuple[Any, PyTree], rows: Batch) -> tuple[tuple[Any, PyTree], None]:
        sums, extra = carry
        gradient, out = grad(state.params, extra, rows)
        sums = jax.tree.map(jnp.add, sums, (gradient, out.loss, dict(out.metrics)))
        return (sums, out.extra), None

    shapes = jax.eval_shape(grad, state.params, state.extra, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (shapes[0], shapes[1].loss, dict(shapes[1].metrics)))
    # On a CPU a loop would make convolutions three times slower (jax-ml/jax#12868), so there is none.
    unroll = microbatches if jax.default_backend() == "cpu" else 1
    ((gradient, loss, metrics), extra), _ = jax.lax.scan(add, (zeros, state.extra), parts, unroll=unroll)
    return gradient, Output(loss, metrics, extra)


def updated(
    optimizer: optax.GradientTransformation, state: State, gradient: PyTree, out: Output
) -> tuple[State, dict[str, Metric]]:
    """The second half of a step: (gradient of the SUM of the loss, outputs) of the whole batch -> (state, metrics)."""
    loss, metrics, extra = out
    gradient = _mean(gradient, loss)
    with jax.numpy_dtype_promotion("standard"):  # optax itself multiplies floats by step counts.
        updates, opt = optimizer.update(gradient, state.opt, state.params)
    # Of the gradient the norm, which clipping computes anyway; of the updates each number, in the pass that makes them.
    sound = [jnp.isfinite(loss.total), jnp.isfinite(optax.tree.norm(gradient))]
    finite = jnp.stack([*sound, *(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(updates))]).all()
    halted = state.skipped >= PATIENCE
    params, opt, extra = _choose(
        finite & ~halted,
        (optax.apply_updates(state.params, updates), opt, extra),
        (state.params, state.opt, state.extra),
    )
    moved = State(
        step=jnp.where(halted, state.step, state.step + 1),
        params=params,
        extra=extra,
        opt=opt,
        skipped=jnp.where(halted, state.skipped, jnp.where(finite, 0, state.skipped + 1)),
    )
    sums = {"loss": loss, **metrics}
    sums = _choose(finite & ~halted, sums, jax.tree.map(jnp.zeros_like, sums))
    return moved, {**sums, "skipped": Mean.of(~finite)}


def eval_step(
    task: Task, variables: Variables, batch: Batch, *, axis: str | tuple[str, ...] | None = None
) -> dict[str, Metric]:
    """The metrics of one batch, dropout off and statistics fixed."""
    out = task.loss(variables, batch, jax.random.key(0), False)
    return _sum_over(axis, {"loss": out.loss, **out.metrics})


def nonfinite_leaves(
    task: Task, optimizer: optax.GradientTransformation, state: State, batch: Batch, seed: ArrayLike
) -> list[str]:
    """Names of the gradient's leaves with a NaN or an infinity at this state and batch, to say what diverged.

    Where the gradient has none it was the optimizer, and the names are those of the updates.
    """

    @jax.jit  # One answer a leaf: the state stays where it lies, sliced over however many devices.
    def finite(state: State, batch: Batch, seed: ArrayLike) -> tuple[PyTree, PyTree, PyTree]:
        gradient, out = gradient_sums(task, state, batch, seed)
        with jax.numpy_dtype_promotion("standard"):
            updates = optimizer.update(_mean(gradient, out.loss), state.opt, state.params)[0]
        return jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), ({"loss": out.loss.total}, gradient, updates))

    def odd(tree: PyTree, said: str = "") -> list[str]:
        leaves = jax.tree.leaves_with_path(tree)
        return [said + jax.tree_util.keystr(path, simple=True, separator="/") for path, fine in leaves if not fine]

    loss, gradient, updates = jax.device_get(finite(state, batch, seed))
    return odd(loss) + odd(gradient) or odd(updates, "the update of ")


def _pop_params(variables: Variables) -> tuple[dict[str, PyTree], PyTree]:
    return {name: value for name, value in variables.items() if name != "params"}, variables["params"]


def _mean(gradient: PyTree, loss: Mean) -> PyTree:
    """The gradient of the mean loss from that of the sum."""
    return jax.tree.map(lambda g: (g / jnp.maximum(loss.count, 1e-9)).astype(g.dtype), gradient)


def _sum_over(axis: str | tuple[str, ...] | None, tree: PyTree) -> PyTree:
    return tree if axis is None else jax.lax.psum(tree, axis)


def _choose(condition: Bool[Array, ""], yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def accumulated(sums: Mapping[str, Metric] | None, more: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics of two bags of examples together."""
    return dict(more) if sums is None else jax.tree.map(jnp.add, dict(sums), dict(more))
