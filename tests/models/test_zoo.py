"""The zoo has the published sizes, keeps its types, and looks at one example at a time."""

from functools import partial

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.errors import ConfigError
from deeplearn.models.conformer import Conformer
from deeplearn.models.layers import max_pool
from deeplearn.models.resnet import Block
from deeplearn.models.restorers import restorer
from deeplearn.models.transformer import Transformer
from deeplearn.models.vit import ViT, patches, waves
from deeplearn.models.zoo import Model, advise, architecture, build

PUBLISHED = {
    "lenet5": 61_706,
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg16": 138_357_544,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "vit-ti16": 5_717_416,
    "vit-s16": 22_050_664,
    "vit-b16": 86_567_656,
    "mixer-s16": 18_528_264,
    "mixer-b16": 59_880_472,
    "efficientnet-lite0": 4_652_008,
}
# Every architecture, small, and an awkward size of image that it takes.
SMALL = {
    "mlp": (build(Model(name="mlp"), 5), (7, 9, 2)),
    "cnn": (build(Model(name="cnn", width=8, dropout=0.1), 5), (11, 8, 2)),
    "cnn-signal": (build(Model(name="cnn", width=8), 5), (21, 2)),
    "cnn-group": (build(Model(name="cnn", width=8, norm="group"), 5), (9, 9, 1)),
    "lenet5": (build(Model(name="lenet5"), 5), (15, 13, 3)),
    "lenet": (build(Model(name="lenet"), 5), (12, 13, 1)),
    "resnet18": (build(Model(name="resnet18", width=8), 5).clone(stages=(1, 1)), (33, 35, 3)),
    "resnet50": (build(Model(name="resnet50", width=8, stem="cifar", norm="group"), 5).clone(stages=(1, 1)), (9, 7, 1)),
    "vit-s16": (build(Model(name="vit-s16", width=24, depth=1, patch=3), 5), (9, 6, 2)),
    "vit-plain": (
        build(Model(name="vit-s16", width=24, depth=1, patch=3, pool="mean", position="sincos2d", rep_size=5), 5),
        (9, 6, 2),
    ),
    "mixer-s16": (build(Model(name="mixer-s16", width=16, depth=1, patch=3), 5), (9, 6, 2)),
}


def images(shape, batch=4, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, *shape)), jnp.float32)


def some_variables(model, image):
    """Positive noise in every leaf: compiling the real initialisation takes longer than all the rest."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(0.01, 0.1, s.shape), jnp.float32), shapes(model, image))


def shapes(model, image):
    return jax.eval_shape(
        lambda key: model.init(key, jnp.zeros((1, *image), jnp.float32), train=False), jax.random.key(0)
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name):
    model, image = (
        (architecture(name, 10), (28, 28, 1)) if name == "lenet5" else (architecture(name, 1000), (224, 224, 3))
    )
    params = jax.tree.leaves(shapes(model, image)["params"])
    assert sum(p.size for p in params) == PUBLISHED[name]
    assert {p.dtype for p in params} == {jnp.dtype("float32")}


def test_batch_normalised_vgg_has_the_published_size():
    params = shapes(architecture("vgg11", 1000).clone(norm="batch"), (224, 224, 3))["params"]
    assert sum(p.size for p in jax.tree.leaves(params)) == 132_868_840


@pytest.mark.parametrize("name", SMALL)
def test_any_size_of_image_and_each_example_on_its_own(name):
    model, image = SMALL[name]
    variables, x = some_variables(model, image), images(image)
    logits = jax.jit(lambda x: model.apply(variables, x, train=False))
    other = x.at[1:].set(images(image, seed=9)[1:])
    y = logits(x)
    assert y.shape == (4, 5)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(logits(other)[0], y[0], atol=1e-5)
    np.testing.assert_allclose(logits(x[::-1])[::-1], y, atol=1e-5)


@pytest.mark.parametrize("name", [*SMALL, "efficientnet-lite0"])
def test_one_program_takes_any_number_of_images(name):
    """As `deeplearn export` asks for it: its size of a batch has no number yet."""
    model, image = SMALL.get(name) or (architecture(name, 5), (33, 35, 3))
    (size,) = jax.export.symbolic_shape("b")
    x = jax.ShapeDtypeStruct((size, *image), jnp.float32)
    assert jax.eval_shape(partial(model.apply, train=False), shapes(model, image), x).shape == (size, 5)


@pytest.mark.parametrize("name", SMALL)
def test_computes_in_bfloat16_and_trains_float32_parameters(name):
    model, image = SMALL[name]
    model, x = model.clone(dtype=jnp.bfloat16), images(image)
    keys = {"params": jax.random.key(1), "dropout": jax.random.key(2)}
    mutable = ["batch_stats", "intermediates"]
    variables = jax.eval_shape(lambda: model.init(keys, x, train=False))

    def apply(params, rest):
        variables = {**rest, "params": params}
        logits, state = model.apply(variables, x, train=True, rngs=keys, mutable=mutable, capture_intermediates=True)
        return (logits**2).mean(), state

    rest = {key: value for key, value in variables.items() if key != "params"}
    grads, state = jax.eval_shape(jax.grad(apply, has_aux=True), variables["params"], rest)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, grads))} == {jnp.dtype("float32")}
    types = {jax.tree_util.keystr(path): x.dtype for path, x in jax.tree.leaves_with_path(state["intermediates"])}
    wide = {path for path, dtype in types.items() if dtype == jnp.float32}
    inside = ("['batch']", "['group']", "['layer']")  # statistics are float32
    assert {path for path in wide if not any(name in path for name in inside)} == {
        "['__call__'][0]",
        "['head']['__call__'][0]",
    }


@pytest.mark.parametrize(("name", "image"), [("alexnet", (63, 64, 3)), ("vgg11", (7, 33, 1))])
def test_the_large_old_ones_take_odd_sizes_too(name, image):
    model = architecture(name, 5)
    x = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    assert jax.eval_shape(lambda v, x: model.apply(v, x, train=False), shapes(model, image), x).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "image"), [("alexnet", (62, 64, 3)), ("lenet", (11, 28, 1)), ("vit-s16", (32, 40, 3))]
)
def test_an_image_that_does_not_fit_says_so(name, image):
    with pytest.raises(ConfigError, match=str(image[1])):
        shapes(architecture(name, 5), image)


def test_levels_that_leave_no_pixel_say_so():
    assert shapes(build(Model(levels=4), 5), (8, 8, 1))
    with pytest.raises(ConfigError, match=r"8x8.*--model\.levels"):
        shapes(build(Model(levels=5), 5), (8, 8, 1))


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (ViT(5, width=16, heads=3, patch=4), [jnp.zeros((1, 8, 8, 3))]),
        (Transformer(8, width=16, heads=3, hidden=8), [jnp.ones((1, 4), jnp.int32)] * 2),
        (Conformer(8, width=16, heads=3), [jnp.zeros((1, 16, 8)), jnp.array([16])]),
        (restorer("restormer", 10), [jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 16, 16, 1))]),
    ],
    ids=lambda x: "",
)
def test_heads_that_do_not_divide_the_width_are_refused_by_all_who_attend(model, inputs):
    with pytest.raises(ConfigError, match="attention heads"):
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), *inputs)


def test_a_knob_that_the_architecture_lacks_is_an_error():
    with pytest.raises(ConfigError, match="patch"):
        build(Model(name="resnet18", patch=8), 10)


def test_batch_statistics_move_only_in_training():
    model, image = SMALL["cnn"]
    x = images(image) + 3
    keys = {"params": jax.random.key(1), "dropout": jax.random.key(2)}
    variables = some_variables(model, image)

    @jax.jit
    def statistics(variables):
        _, still = model.apply(variables, x, train=False, mutable="batch_stats")
        _, moved = model.apply(variables, x, train=True, mutable="batch_stats", rngs=keys)
        return variables["batch_stats"], still["batch_stats"], moved["batch_stats"]

    before, still, moved = (jax.tree.leaves(tree) for tree in statistics(variables))
    assert all(bool((a == b).all()) for a, b in zip(before, still, strict=True))
    assert not any(bool((a == b).all()) for a, b in zip(before, moved, strict=True))


@pytest.mark.parametrize("bottleneck", [False, True])
def test_residual_blocks_start_as_the_identity(bottleneck):
    x = nn.relu(images((5, 6, 8)))
    block = Block(8 // (4 if bottleneck else 1), 1, bottleneck, "batch", jnp.float32)
    y, _ = jax.jit(lambda: block.init_with_output(jax.random.key(0), x, train=False))()
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_max_pool_is_flax_max_pool_with_its_gradient(window, stride, padding):
    x = images((11, 8, 3))

    def ours(x):
        return max_pool(x, window, stride, padding)

    def flax(x):
        return nn.max_pool(x, (window,) * 2, (stride,) * 2, [(padding, padding)] * 2)

    np.testing.assert_array_equal(ours(x), flax(x))
    grads = [jax.jit(jax.grad(lambda x, pool=pool: (pool(x) ** 2).sum()))(x) for pool in (ours, flax)]
    np.testing.assert_allclose(*grads, rtol=1e-6)


def test_patches_are_cut_row_by_row():
    x = images((4, 6, 2))
    cut = patches(x, 2)
    np.testing.assert_array_equal(cut[:, 4], x[:, 2:4, 2:4].reshape(4, 8))  # second row, second column


def test_waves_of_row_and_column_are_those_of_the_reference():
    """big_vision's posemb_sincos_2d(2, 3, 12): the patch in row 1 and column 2, and that in row 0 and column 1."""
    found = waves(2, 3, 12)
    assert found.shape == (6, 12)
    second = [0.90929741, 0.01999867, 0.0002, -0.41614684, 0.99980003, 0.99999998]
    first = [0.84147098, 0.00999983, 0.0001, 0.54030228, 0.99995, 0.99999999]
    np.testing.assert_allclose(found[5], [*second, *first], atol=1e-7)
    np.testing.assert_allclose(found[1], [*first, 0, 0, 0, 1, 1, 1], atol=1e-7)
    with pytest.raises(ConfigError, match="multiple of 4"):
        waves(2, 3, 10)


def test_a_mean_of_patches_needs_no_table_and_takes_any_size():
    model, image = SMALL["vit-plain"]
    params = shapes(model, image)["params"]
    assert set(params) == {"embed", "block1", "norm", "representation", "head"}
    assert jax.tree.map(jnp.shape, shapes(model, (12, 12, 2))["params"]) == jax.tree.map(jnp.shape, params)


def test_dense_kernels_have_names_that_rules_can_match():
    paths = jax.tree_util.tree_leaves_with_path(shapes(architecture("vit-s16", 10), (32, 32, 3))["params"])
    names = {"/".join(key.key for key in path) for path, _ in paths}
    assert {"embed/kernel", "block12/qkv/kernel", "block1/mlp_up/kernel", "head/bias", "position", "token"} <= names


def test_bfloat16_on_a_cpu_is_advised_against(capsys):
    advise(Model(name="cnn"))
    assert not capsys.readouterr().err
    advise(Model(name="cnn", dtype="bfloat16"))
    assert "slower than float32 on CPUs" in capsys.readouterr().err
