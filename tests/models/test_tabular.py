"""Networks for tables: encodings by brute force, members that do not mix, columns that may be absent."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.models.tabular import FTTransformer, Independent, SharedDense, TabM, piecewise_linear

EDGES = ((-1.0, 0.0, 2.0, 3.0), (0.0, 1.0))
CARDINALITIES = (3, 9)


def columns(size=5, seed=0):
    rng = np.random.default_rng(seed)
    number = rng.normal(0, 2, (size, len(EDGES))).astype(np.float32)
    category = np.stack([rng.integers(0, n, size) for n in CARDINALITIES], 1).astype(np.int32)
    return jnp.asarray(number), jnp.asarray(category)


def start(model, number, category):
    """(outputs, variables) of a fresh model."""
    return jax.jit(partial(model.init_with_output, train=False))(jax.random.key(0), number, category)


def test_piecewise_linear_encoding_against_the_definition():
    x, _ = columns(50)
    found = np.asarray(piecewise_linear(x, EDGES))
    for b in range(50):
        for f, edges in enumerate(EDGES):
            for t in range(3):
                if t >= len(edges) - 1:
                    assert found[b, f, t] == 0
                    continue
                value = (float(x[b, f]) - edges[t]) / (edges[t + 1] - edges[t])
                assert found[b, f, t] == pytest.approx(min(max(value, 0), 1), abs=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        TabM(EDGES, CARDINALITIES, outputs=3, members=4),
        TabM(EDGES, CARDINALITIES, outputs=3, members=4, wide=True),
        FTTransformer(EDGES, CARDINALITIES, outputs=3, depth=1),
        Independent(TabM(EDGES, CARDINALITIES, outputs=3, members=2), 2),
    ],
)
def test_rows_do_not_see_each_other(model):
    number, category = columns()
    whole, variables = start(model, number, category)
    assert whole.shape == (5, 1 if isinstance(model, FTTransformer) else 4, 3)
    others = jax.jit(partial(model.apply, train=False))(variables, number.at[1:].set(7.0), category.at[1:].set(0))
    np.testing.assert_allclose(whole[0], others[0], atol=1e-5)


def test_members_differ_at_the_start_and_keep_to_themselves():
    number, category = columns()
    model = TabM(EDGES, CARDINALITIES, members=4)
    whole, variables = start(model, number, category)
    assert np.asarray(whole).std(1).min() > 0.01
    grads = jax.jit(jax.grad(lambda v: model.apply(v, number, category, train=False)[:, 1].sum()))(variables)["params"]
    touched = np.abs(grads["layer1"]["bias"]).sum(1) > 0
    assert touched.tolist() == [False, True, False, False]


def test_independent_networks_share_nothing():
    number, category = columns()
    one = TabM(EDGES, CARDINALITIES, members=2)
    model = Independent(one, 3)
    whole, variables = start(model, number, category)
    for e in range(3):
        own = jax.tree.map(lambda leaf, e=e: leaf[e], variables["params"]["network"])
        alone = one.apply({"params": own}, number, category, train=False)
        np.testing.assert_allclose(whole[:, 2 * e : 2 * e + 2], alone, atol=1e-5)
    assert np.asarray(whole).std(1).min() > 0.01


def test_the_wide_part_adds_a_linear_model():
    number, category = columns()
    model = TabM(EDGES, CARDINALITIES, members=2, wide=True)
    whole, variables = start(model, number, category)
    kernel = jax.random.normal(jax.random.key(1), variables["params"]["wide_head"]["kernel"].shape)
    changed = {"params": variables["params"] | {"wide_head": {"kernel": kernel}}}
    one_hot = [jax.nn.one_hot(category[:, i], size) for i, size in enumerate(CARDINALITIES)]
    plain = jnp.concatenate([*one_hot, piecewise_linear(number, EDGES).reshape(5, -1)], 1)
    found = model.apply(changed, number, category, train=False)
    np.testing.assert_allclose(found - whole, jnp.repeat((plain @ kernel)[:, None], 2, 1), atol=1e-4)


def test_a_shared_layer_is_k_dense_layers():
    x = jax.random.normal(jax.random.key(0), (6, 3, 4))
    layer = SharedDense(5, scatter=True)
    found, variables = jax.jit(layer.init_with_output)(jax.random.key(1), x)
    p = variables["params"]
    for k in range(3):
        matrix = jnp.diag(p["input_scale"][k]) @ p["shared"]["kernel"] @ jnp.diag(p["output_scale"][k])
        np.testing.assert_allclose(found[:, k], x[:, k] @ matrix + p["bias"][k][None], atol=1e-5)


@pytest.mark.parametrize("model", [TabM, FTTransformer])
def test_only_numbers_or_only_categories(model):
    number, category = columns()
    for net in (model(EDGES, (), depth=0), model((), CARDINALITIES, depth=0)):
        assert np.isfinite(start(net, number, category)[0]).all()
