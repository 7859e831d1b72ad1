import functools
import itertools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplearn.models import autoencoder as ae
from deeplearn.models.gnmt import GNMT
from deeplearn.models.tabular import FTTransformer, Independent, TabM
from deeplearn.models.transformer import Transformer
from deeplearn.models.zoo import Model, build
from deeplearn.optimizer import Optimizer, averaged, decayed, make, matrices, rate_schedule

PARAMS = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}


def after(knobs, gradients, start=PARAMS):
    """The parameters after these gradients."""
    rule = make(knobs, len(gradients))

    @jax.jit
    def step(params, state, gradient):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, state = rule.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    params, state = start, rule.init(start)
    for gradient in gradients:
        params, state = step(params, state, gradient)
    return params


@pytest.mark.parametrize("name", typing.get_args(typing.get_type_hints(Optimizer)["name"]))
def test_every_rule_descends_a_bowl(name):
    transformation = make(Optimizer(name=name, rate=0.05, schedule="constant"), 100)

    @jax.jit
    def step(params, state):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(jax.tree.map(lambda p: 2 * p, params), state, params)
        return optax.apply_updates(params, updates), state

    params, state = PARAMS, transformation.init(PARAMS)
    for _ in range(100):
        params, state = step(params, state)
    size = lambda tree: sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert size(params) < 0.3 * size(PARAMS)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lion", "muon", "lamb", "adafactor"])
def test_decay_spares_biases(name):
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    params = after(Optimizer(name=name, rate=0.1, decay=0.5, schedule="constant"), [zero])
    assert float(params["kernel"].sum()) < float(PARAMS["kernel"].sum())
    np.testing.assert_array_equal(params["bias"], PARAMS["bias"])
    assert decayed(PARAMS) == {"kernel": True, "bias": False}


def test_decoupled_decay_is_multiplied_by_the_rate():
    """Ten gradients of zero leave (1 - rate * decay) ** 10 of a weight, as torch.optim.AdamW and Adafactor do."""
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    for name in ("adamw", "lion", "muon", "adafactor"):
        params = after(Optimizer(name=name, rate=0.01, decay=0.1, schedule="constant"), [zero] * 10)
        np.testing.assert_allclose(params["kernel"], 0.999**10, rtol=1e-6, err_msg=name)


IMAGE = jnp.zeros((2, 9, 6, 3))
ROWS = jnp.zeros((2, 2)), jnp.zeros((2, 2), jnp.int32)
TOKENS = jnp.ones((1, 4), jnp.int32), jnp.ones((1, 4), jnp.int32)
COLUMNS = dict(edges=((0.0, 1.0), (0.0, 1.0, 2.0)), cardinalities=(3, 9), width=8)
ENCODER = ae.Encoder((8,), 2, (4,), "batch")
NORMED, ATTENTION = {"bias", "scale"}, {"bias", "scale", "position", "token"}
TABM = {"bias", "input_scale", "output_scale"}
MODELS = {
    "mlp": (build(Model(name="mlp"), 5), (IMAGE,), {"kernel"}, {"bias"}),
    "cnn": (build(Model(name="cnn", width=8), 5), (IMAGE,), {"kernel"}, NORMED),
    "lenet5": (build(Model(name="lenet5"), 5), (jnp.zeros((2, 12, 12, 1)),), {"kernel"}, {"bias"}),
    "alexnet": (build(Model(name="alexnet"), 5), (jnp.zeros((2, 63, 63, 3)),), {"kernel"}, {"bias"}),
    "vgg11": (build(Model(name="vgg11", norm="batch"), 5), (IMAGE,), {"kernel"}, NORMED),
    "resnet50": (build(Model(name="resnet50", width=8, norm="group"), 5), (IMAGE,), {"kernel"}, NORMED),
    "vit-s16": (build(Model(name="vit-s16", width=12, depth=1, patch=3), 5), (IMAGE,), {"kernel"}, ATTENTION),
    "mixer-s16": (build(Model(name="mixer-s16", width=8, depth=1, patch=3), 5), (IMAGE,), {"kernel"}, NORMED),
    "tabm": (TabM(**COLUMNS, members=2, wide=True), ROWS, {"kernel", "embedding"}, TABM),
    "networks": (Independent(TabM(**COLUMNS, members=2), 2), ROWS, {"kernel", "embedding"}, TABM),
    "ft-transformer": (FTTransformer(**COLUMNS, depth=1), ROWS, {"kernel", "embedding"}, NORMED | {"token"}),
    "transformer": (Transformer(9, 8, 1, 2, 16), TOKENS, {"kernel", "embedding"}, NORMED),
    "gnmt": (GNMT(9, 8, 2, additive=True), TOKENS, {"kernel", "embedding", "recurrent"}, {"bias"}),
    "ensemble": (ae.Ensemble(ENCODER, 2), (IMAGE,), {"kernel"}, NORMED),
}
"""Name -> (model, inputs, names of the leaves that decay, names of those that do not)."""


@functools.cache
def leaves(name):
    """Path -> leaf of a model's parameters, shapes only."""
    model, inputs, *_ = MODELS[name]
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    params = jax.eval_shape(lambda: model.init(keys, *inputs, train=False))["params"]
    paths = jax.tree_util.tree_leaves_with_path
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths(params)}
    return params, named


@pytest.mark.parametrize("name", MODELS)
def test_exactly_kernels_and_embeddings_decay(name):
    params, named = leaves(name)
    chosen = dict(zip(named, jax.tree.leaves(decayed(params)), strict=True))
    last = lambda want: {path.split("/")[-1] for path, found in chosen.items() if found == want}  # noqa: E731
    assert last(True) == MODELS[name][2]
    assert last(False) == MODELS[name][3]


def orthogonalised(matrix):
    """Five Newton-Schulz steps of Jordan (2024) act on the singular values of a matrix alone."""
    left, values, right = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left * values @ right


MATRIX = {
    ("cnn", "stage1_conv1/kernel"): (27, 8),
    ("vit-s16", "block1/qkv/kernel"): (12, 36),
    ("vit-s16", "block1/out/kernel"): (12, 12),
    ("transformer", "decoder_0/cross_attention/joint/kernel"): (8, 16),
    ("transformer", "decoder_0/cross_attention/out/kernel"): (8, 8),
    ("gnmt", "forward/recurrent"): (8, 32),
    ("networks", "network/layer1/shared/kernel"): (8, 8),
    ("ensemble", "member/conv1/kernel"): (27, 4),
}
"""(model, leaf) -> rows and columns of the matrix that Muon sees; the last two have one for each of two members."""


@pytest.mark.parametrize(("name", "path"), MATRIX)
def test_muon_orthogonalises_kernels_as_matrices_and_sizes_them_as_adam(name, path):
    shape, leaf = MATRIX[name, path], leaves(name)[1][path]
    tree = {"/".join(path.split("/")[:-1]): {path.split("/")[-1]: jax.random.normal(jax.random.key(0), leaf.shape)}}
    knobs = Optimizer(name="muon", rate=0.1, schedule="constant", clip=None)
    moved = after(knobs, [tree], jax.tree.map(jnp.zeros_like, tree))
    (given,), (found,) = jax.tree.leaves(tree), jax.tree.leaves(moved)
    wanted = [-0.1 * 0.2 * max(shape) ** 0.5 * orthogonalised(part) for part in given.reshape(-1, *shape)]
    np.testing.assert_allclose(found.reshape(-1, *shape), wanted, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_muon_leaves_ends_and_vectors_to_adam(name):
    params, named = leaves(name)
    with_none = jax.tree.leaves(matrices(params), is_leaf=lambda x: x is None or isinstance(x, tuple))
    ends = {"embedding", "embed", "numbers", "head", "wide_head"}
    for path, axes in zip(named, with_none, strict=True):
        kernel = path.split("/")[-1] in ("kernel", "recurrent")
        assert (axes is not None) == (kernel and not ends & set(path.split("/"))), path


def test_muon_hands_its_second_moment_decay_to_adam():
    gradients = [{"bias": jnp.full(3, value)} for value in (1.0, 0.1)]
    knobs = [Optimizer(name="muon", beta2=beta2, schedule="constant", clip=None) for beta2 in (0.5, 0.999)]
    first, second = (after(k, gradients, gradients[0])["bias"][0] for k in knobs)
    assert abs(first - second) > 1e-5


def test_lion_follows_its_paper_by_default():
    """Chen et al. (2023): beta 1 is 0.9 inside the sign, and beta 2 is 0.99 in the momentum, not Adam's 0.999."""
    gradients = [{"kernel": jnp.full((1, 1), value)} for value in (1.0, -0.05, -0.3)]
    knobs, zero = Optimizer(name="lion", rate=1.0, schedule="constant"), {"kernel": jnp.zeros((1, 1))}
    places = [float(after(knobs, gradients[:n], zero)["kernel"][0, 0]) for n in (1, 2, 3)]
    # The momentum is 0, .01 and .0094; what is mixed of it and the gradient has the signs +, + and -.
    assert places == [-1.0, -2.0, -1.0]


def test_drops_divide_the_rate_by_ten_where_the_paper_does():
    """Goyal et al. (2017): of 90 epochs five are warm-up, and the rate falls after 30, 60 and 80; here of ten steps."""
    with jax.numpy_dtype_promotion("standard"):
        rates = rate_schedule(Optimizer(rate=0.4, schedule="drops", warmup=50), 900)(jnp.arange(900))
    for first, last, rate in ((50, 300, 0.4), (300, 600, 0.04), (600, 800, 0.004), (800, 900, 0.0004)):
        np.testing.assert_allclose(rates[first:last], rate, rtol=1e-5)


def test_clipping_bounds_the_step_of_sgd():
    huge = jax.tree.map(lambda p: 1e6 * p, PARAMS)
    params = after(Optimizer(name="sgd", rate=1.0, clip=0.5, momentum=0.0, schedule="constant"), [huge])
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, params, PARAMS))) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "rsqrt", "constant", "drops"])
@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_the_rate_rises_to_its_peak_and_never_above(schedule, warmup):
    knobs = Optimizer(rate=0.3, schedule=schedule, warmup=warmup)
    with jax.numpy_dtype_promotion("standard"):
        rates = [float(rate_schedule(knobs, 100)(jnp.int32(step))) for step in range(101)]
    assert max(rates) == pytest.approx(0.3, rel=1e-5)
    assert rates[warmup] == pytest.approx(0.3, rel=1e-5)
    assert all(a <= b + 1e-6 for a, b in itertools.pairwise(rates[: warmup + 1]))
    assert rates[0] > 0
    if schedule in ("cosine", "linear"):
        assert rates[99] == pytest.approx(0, abs=1e-6)  # the last of a hundred steps


def test_the_average_follows_the_parameters():
    transformation = make(
        Optimizer(name="sgd", rate=0.1, momentum=0.0, clip=None, average=0.5, schedule="constant"), 10
    )
    params, state = PARAMS, transformation.init(PARAMS)
    expected = PARAMS
    for t in range(1, 6):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(params, state, params)
        params = optax.apply_updates(params, updates)
        share = 1 - min(0.5, (1 + t) / (10 + t))
        expected = jax.tree.map(lambda a, p, s=share: a + s * (p - a), expected, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), averaged(state, params), expected)
    assert averaged(transformation.init(PARAMS)[:2], params) is params
