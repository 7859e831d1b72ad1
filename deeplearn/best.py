"""The best step of a training, by a metric of the validation: `--best valid/loss --eval-every 100 --patience 5`."""

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, PyTree

from deeplearn.errors import ConfigError
from deeplearn.experiment import Experiment, Run
from deeplearn.metrics import Results, computed, numbers
from deeplearn.record.table import lower_is_better
from deeplearn.step import State, eval_step, variables
from deeplearn.task import Variables


class Best(struct.PyTreeNode):
    """What was learnt up to the best step so far; leaves [S, ...] where several seeds train together."""

    step: Int[Array, ""]
    """0 before the first evaluation."""
    value: Float[Array, ""]
    """Of the metric, its sign turned where more is better."""
    params: PyTree
    """The averaged ones where the optimizer keeps an average."""
    extra: PyTree


def of_validation(metric: str) -> bool:
    """Whether one may choose by a metric: the test set must not be looked at while choices are made."""
    return metric.startswith("valid")


def refuse_undirected(metric: str, flag: str) -> None:
    """Raises ConfigError where neither small nor large values of a metric are better."""
    if lower_is_better(metric) is None:
        raise ConfigError(f"{flag} {metric}: neither small nor large values are better, so there is nothing to choose.")


def refuse_metric(experiment: Experiment, run: Run) -> None:
    """Whether the run can choose a step as `run.best` says.

    Raises:
        ConfigError: it names no metric of the validation, or one of which neither small nor large values are better;
            or no evaluation would come before the last step.
    """
    split, _, _ = run.best.partition("/")
    known = [name for name, own in experiment.evaluations.items() if of_validation(name) and not own.final]
    if not of_validation(run.best) or split not in known:
        choices = ", ".join(f"{name}/loss" for name in known) or "there is none here"
        raise ConfigError(
            f"--best {run.best} is no metric of the validation, by which alone one may choose: {choices}."
        )
    measured = _measured(experiment, split)
    if measured and run.best not in measured:
        raise ConfigError(_unmeasured(run.best, measured))
    refuse_undirected(run.best, "--best")
    if run.eval_every is None or run.eval_every >= run.steps:
        raise ConfigError("--best chooses among evaluations, and the only one comes after the last step: --eval-every.")


def _measured(experiment: Experiment, split: str) -> list[str]:
    """Names of an evaluation's metrics, as far as they are known before one is made: none where it has a score."""
    evaluation, task = experiment.evaluations[split], experiment.task
    if evaluation.score is not None:
        return []
    batch = jax.tree.map(jnp.asarray, next(iter(evaluation.source.once())))
    learnt = jax.eval_shape(task.init, jax.random.key(0), batch)
    sums = jax.eval_shape(partial(eval_step, task), learnt, batch)
    nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), sums)
    return [f"{split}/{name}" for name in numbers(computed(nothing))]


def _unmeasured(metric: str, measured: Iterable[str]) -> str:
    return f"--best {metric} is not measured; choose by one of: {', '.join(sorted(measured))}."


def first(state: State) -> Best:
    """Before anything was measured; works under jit and vmap."""
    learnt = variables(state)
    # Copies: the first training step takes the memory of the state.
    copy = partial(jax.tree.map, jnp.array)
    return Best(
        step=jnp.zeros_like(state.step),
        value=jnp.full(state.step.shape, jnp.inf, jnp.float32),
        params=copy(learnt["params"]),
        extra=copy(state.extra),
    )


def better(best: Best, state: State, results: Results, run: Run) -> Best:
    """The better of the best so far and the state that these are the results of; of equal ones the earlier.

    A seed that trains beside others ends by its own patience: what it learns after that is never chosen.

    Raises:
        ConfigError: there is no such metric.
    """
    measured, metric = numbers(results), run.best
    if metric not in measured:
        raise ConfigError(_unmeasured(metric, measured))
    sign = 1 if lower_is_better(metric) else -1
    # On the host: what each of several processes has is then the same array to all of them.
    value = sign * np.asarray(measured[metric], np.float32).reshape(best.value.shape)
    return _better(best, state, value, np.int32(_waiting(run)))


@jax.jit
def _better(best: Best, state: State, value: Array, waiting: Array) -> Best:
    now = Best(step=state.step, value=value, params=variables(state)["params"], extra=state.extra)
    wins = (value < best.value) & (state.step - best.step <= waiting)  # never where the value is NaN

    def pick(new: Array, old: Array) -> Array:
        return jnp.where(wins.reshape(wins.shape + (1,) * (new.ndim - wins.ndim)), new, old)

    return jax.tree.map(pick, now, best)


def _waiting(run: Run) -> int:
    """Steps in which something better has to be found."""
    return run.steps if run.patience is None else run.patience * (run.eval_every or run.steps)


def over(best: Best | None, step: int, run: Run) -> bool:
    """Whether training ends here: it is the last step, or no seed has found a better one for too long."""
    return step >= run.steps or (best is not None and step - int(np.max(best.step)) >= _waiting(run))


def chosen(best: Best) -> Variables:
    """What evaluation and prediction use."""
    return {"params": best.params, **best.extra}


def final(state: State, best: Best | None) -> State:
    """The last state, or what was chosen and after which step, with which no training goes on."""
    return state if best is None else state.replace(step=best.step, params=best.params, extra=best.extra, opt=())


def steps(best: Best) -> str:
    """The chosen step, of several seeds each one's."""
    return ", ".join(str(step) for step in np.ravel(best.step))
