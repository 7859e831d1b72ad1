"""What every translation model promises: packed rows, padding, and one cached step at a time change nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.data.text import BEGIN, END, PAD
from deeplearn.data.tokens import rows
from deeplearn.methods.decode import Model, beam_search, greedy
from deeplearn.models.gnmt import GNMT
from deeplearn.models.transformer import Transformer

MODELS = {
    "prenorm": Transformer(vocabulary=13, width=8, layers=2, heads=2, hidden=16),
    "postnorm": Transformer(vocabulary=13, width=8, layers=2, heads=2, hidden=16, prenorm=False),
    "gnmt": GNMT(vocabulary=13, width=8, layers=3),
    "additive": GNMT(vocabulary=13, width=8, layers=3, additive=True),
}
SOURCES = [[4, 5, 6, 7], [8, 9], [10, 11, 12]]
TARGETS = [[5, 4], [7, 6, 9, 8, 11], [12]]


@pytest.fixture(params=["prenorm", "gnmt"])
def model(request):
    return MODELS[request.param]


@functools.cache
def variables(model):
    """Parameters far from symmetry, so that every part of the model matters."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), rows(SOURCES, 6), rows(TARGETS, 6))
    random = np.random.default_rng(0)
    return jax.device_put(jax.tree.map(lambda x: random.normal(scale=0.5, size=x.shape).astype(np.float32), shapes))


@functools.cache
def applied(model, method="__call__"):
    """One compiled function a model and method, for all tests."""
    parameters = variables(model)
    return jax.jit(lambda *args: model.apply(parameters, *args, method=method))


def start(model, memory, beams, length):
    return model.apply(variables(model), memory, beams, length, method="start")


def features(model, sources, targets, length):
    """Features of the real tokens, one array [tokens, D] a sentence."""
    hidden, _ = applied(model)(rows(sources, length), rows(targets, length))
    return [row[: len(target) + 1] for row, target in zip(np.asarray(hidden), targets, strict=True)]


def test_padding_changes_nothing(model):
    for short, long in zip(features(model, SOURCES, TARGETS, 6), features(model, SOURCES, TARGETS, 9), strict=True):
        np.testing.assert_allclose(short, long, atol=2e-5)


def test_packed_sentences_do_not_see_each_other(model):
    joined = (
        [token for side in SOURCES for token in [*side, END]],
        [token for side in TARGETS for token in [*side, END]],
    )
    packed = [np.array([side + [PAD] * (16 - len(side))], np.int32) for side in joined]
    hidden, _ = applied(model)(*packed)
    alone = np.concatenate(features(model, SOURCES, TARGETS, 6))
    np.testing.assert_allclose(np.asarray(hidden)[0, : len(alone)], alone, atol=2e-5)


def test_the_future_is_hidden(model):
    before, _ = applied(model)(rows(SOURCES, 6), rows(TARGETS, 6))
    after, _ = applied(model)(rows(SOURCES, 6), rows([[5, 4], [7, 6, 9, 5, 5], [12]], 6))
    np.testing.assert_allclose(np.asarray(before)[1, :4], np.asarray(after)[1, :4], atol=1e-6)
    assert not np.allclose(np.asarray(before)[1, 4:], np.asarray(after)[1, 4:], atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_one_cached_step_at_a_time_equals_the_whole_row(name):
    model = MODELS[name]
    target = rows(TARGETS, 6)
    hidden, table = applied(model)(rows(SOURCES, 6), target)
    memory = applied(model, "encode")(rows(SOURCES, 6))
    cache = start(model, memory, 1, 6)
    token, alone = np.full((3, 1), BEGIN, np.int32), np.zeros((3, 1, 6), np.int32)
    expected = np.asarray(hidden) @ np.asarray(table).T
    for position in range(6):
        logits, attention, cache = applied(model, "step")(memory, cache, token, alone, jnp.int32(position))
        real = np.array([position <= len(t) for t in TARGETS])
        np.testing.assert_allclose(np.asarray(logits)[real, 0], expected[real, position], atol=5e-5)
        np.testing.assert_allclose(np.asarray(attention).sum(-1), 1, atol=1e-5)
        assert not np.asarray(attention)[:, 0][np.asarray(memory.segment) == 0].any()
        token = target[:, position, None]


@pytest.mark.parametrize("name, beams", [("prenorm", 1), ("prenorm", 3), ("gnmt", 3)])
def test_cached_search_equals_search_that_repeats_the_whole_prefix(name, beams):
    model = MODELS[name]
    source, length = rows(SOURCES, 6), 5
    options = dict(begin=BEGIN, end=END, length=length)

    def cached(memory):
        return Model(
            start=lambda room: start(model, memory, beams, room),
            step=lambda *where: model.apply(variables(model), memory, *where, method="step"),
        )

    def uncached(source):
        """The cache holds tokens [B, K, L]; an END after each hypothesis closes its row and is not seen before."""
        source = jnp.repeat(source, beams, axis=0)

        def step(cache, tokens, ancestors, position):
            cache = jax.lax.dynamic_update_slice(cache, tokens[..., None], (0, 0, position))
            prefix = jnp.take_along_axis(cache, ancestors, axis=1).reshape(-1, length)
            prefix = jnp.pad(jnp.roll(prefix, -1, axis=1), ((0, 0), (0, 1)))  # without BEGIN
            row = jnp.where(jnp.arange(length + 1)[None] >= position, END, prefix)
            memory = model.apply(variables(model), source, method="encode")
            hidden, attention = model.apply(variables(model), memory, row, method="decode")
            take = lambda x: jax.lax.dynamic_index_in_dim(x, position, axis=1, keepdims=False)  # noqa: E731
            logits, attention = take(hidden) @ variables(model)["params"]["embedding"].T, take(attention)
            return *(x.reshape(3, beams, -1) for x in (logits, attention)), cache

        return Model(start=lambda room: jnp.zeros((3, beams, room), jnp.int32), step=step)

    def search(asked):
        if beams == 1:
            return greedy(asked, source != PAD, **options)
        return beam_search(asked, source != PAD, beams=beams, beta=0.2, **options)

    fast = jax.jit(lambda memory: search(cached(memory)))(applied(model, "encode")(source))
    slow = jax.jit(lambda source: search(uncached(source)))(jnp.asarray(source))
    np.testing.assert_array_equal(fast.tokens, slow.tokens)
    np.testing.assert_allclose(fast.score, slow.score, atol=1e-4)


def test_dropout_follows_its_key():
    model = MODELS["prenorm"]
    inputs = rows(SOURCES, 6), rows(TARGETS, 6)
    train = jax.jit(lambda key: model.apply(variables(model), *inputs, train=True, rngs={"dropout": key})[0])
    assert not np.allclose(train(jax.random.key(0)), train(jax.random.key(1)))
