"""Exact mode: one state, to the bit, however a run is spread."""

import dataclasses
import hashlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from points import Streamed
from toy import RUN, Net, toy

from deeplearn.dispatch import convolves
from deeplearn.errors import ConfigError
from deeplearn.exact import programs
from deeplearn.loop import fit
from deeplearn.metrics import Mean
from deeplearn.step import State
from deeplearn.task import Output, Task

# A constant rate, so that a run of three steps is the first half of one of six.
CONSTANT = dataclasses.replace(RUN.optimizer, schedule="constant")
EXACT = dataclasses.replace(RUN, exact=8, steps=6, optimizer=CONSTANT)
SPREAD = ("data=1", "data=4", "data=2,fsdp=2")


class Dropping(nn.Module):
    """Wide enough to be sliced over fsdp."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.LayerNorm()(nn.relu(nn.Dense(1024)(x)))
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=not train)(x))


class Convolving(nn.Module):
    """With batch normalisation, whose statistics are estimated again at the end, since the parameters are averaged."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Conv(16, (3,), use_bias=False)(x[..., None])
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(2)(x.mean(1))


def made(kind, run):
    found = toy(run, model=Convolving() if kind == "convolving" else Dropping())
    return dataclasses.replace(found, train=Streamed(arrays=found.train, wait=0.0)) if kind == "streamed" else found


def sha(tree):
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(tree))).hexdigest()


def trained(kind, folder, **knobs):
    """(hash of everything the state holds, results)."""
    run = dataclasses.replace(EXACT, **knobs)
    state, results = fit(made(kind, run), run, folder)
    return sha(state), results["test/loss"]


@pytest.mark.parametrize("kind", ["resident", "streamed", "convolving"])
def test_one_state_on_any_number_of_devices_also_after_a_resume_on_another(kind, tmp_path):
    assert convolves(made(kind, EXACT)) == (kind == "convolving")
    found = {mesh: trained(kind, tmp_path / mesh, mesh=mesh) for mesh in SPREAD}
    found["microbatches"] = trained(kind, tmp_path / "microbatches", mesh="data=2", microbatches=2)
    trained(kind, tmp_path / "resumed", mesh="data=2,fsdp=2", steps=3)
    found["resumed"] = trained(kind, tmp_path / "resumed", mesh="data=2")
    assert len(set(found.values())) == 1, found


def test_it_learns_what_a_plain_run_learns(tmp_path):
    net = lambda run: toy(run, model=Net())  # noqa: E731
    plain = dataclasses.replace(EXACT, exact=0, mesh="data=1")
    state, results = fit(net(plain), plain, tmp_path / "plain")
    exact, other = fit(net(EXACT), dataclasses.replace(EXACT, mesh="data=4"), tmp_path / "exact")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5), state, exact)
    assert other["test/loss"] == pytest.approx(results["test/loss"], rel=1e-5)


def test_a_loop_adds_along_the_tree_that_the_host_adds_along():
    """Large and small numbers, so that another order of the additions has another sum."""
    random = np.random.default_rng(0)
    held = {"x": (random.normal(size=64) * 10.0 ** random.integers(-4, 4, 64)).astype(np.float32)}

    def loss(variables, batch, key, train):
        return Output(Mean(total=variables["params"] * batch["x"].sum(), count=batch["mask"].sum()), {}, {})

    one, many, add, _ = programs(Task(init=lambda key, batch: {}, loss=loss), optax.sgd(0.1), 8)
    zero = jnp.int32(0)
    state = State(step=zero, params=jnp.float32(1), extra={}, opt=(), skipped=zero)
    rows = np.arange(64, dtype=np.int32).reshape(8, 8)
    parts = [one(state, held, {"index": row}, jnp.uint32(0)) for row in rows]
    while len(parts) > 1:
        parts = [add(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    looped = many(state, held, rows, jnp.uint32(0), np.int32(0), np.int32(8))
    assert sha(looped) == sha(parts[0])
    quarter = many(state, held, rows, jnp.uint32(0), np.int32(2), np.int32(2))
    pair = [one(state, held, {"index": row}, jnp.uint32(0)) for row in rows[2:4]]
    assert sha(quarter) == sha(add(*pair))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"exact": 6}, "no power of two"),
        ({"exact": 8, "mesh": "data=2,tensor=2"}, "tensor out of --mesh"),
        ({"exact": 8, "parallel": "shard_map", "mesh": "data=2"}, "leave --parallel out"),
        ({"exact": 2, "mesh": "data=4"}, "devices that divide it"),
        ({"exact": 64, "mesh": "data=4"}, "a batch that it divides"),
    ],
)
def test_what_cannot_be_exact_is_refused(knobs, message, tmp_path):
    run = dataclasses.replace(RUN, **knobs)
    with pytest.raises(ConfigError, match=message):
        fit(toy(run), run, tmp_path)


def test_several_seeds_in_one_program_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--together False"):
        fit(toy(EXACT), EXACT, tmp_path, seeds=(0, 1))


def test_a_run_is_not_resumed_with_another_number_of_shards(tmp_path):
    half = dataclasses.replace(EXACT, steps=3)
    fit(toy(half), half, tmp_path)
    with pytest.raises(ConfigError, match="exact"):
        fit(toy(EXACT), dataclasses.replace(EXACT, exact=4), tmp_path)
