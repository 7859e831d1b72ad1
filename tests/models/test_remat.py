"""Layers that are computed again in the backward pass: the same model and the same gradients, in less memory."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn import catalog
from deeplearn.errors import ConfigError
from deeplearn.experiment import FREE
from deeplearn.models.conformer import Conformer
from deeplearn.models.mixer import Mixer
from deeplearn.models.resnet import ResNet
from deeplearn.models.tabular import FTTransformer, Independent
from deeplearn.models.transformer import Transformer
from deeplearn.models.vit import ViT
from deeplearn.models.zoo import Model, build
from deeplearn.parallel import kept_barriers
from deeplearn.record.fitfile import refuse_other_knobs

WORDS = jnp.arange(4, 28).reshape(2, 12) % 12 + 4
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 3)), jnp.float32)
COLUMNS = IMAGES[:, 0, :2, 0], jnp.array([[0, 1], [2, 8], [1, 1], [0, 3]])
TABLE = FTTransformer(((-1.0, 0.0, 2.0), (0.0, 1.0)), (3, 9), width=16, depth=2, heads=2)
MODELS = {
    "transformer": (Transformer(16, width=16, layers=2, heads=2, hidden=32), (WORDS, WORDS)),
    "vit": (ViT(5, width=16, depth=2, heads=2, patch=4, dropout=0.1), (IMAGES,)),
    "mixer": (Mixer(5, width=16, depth=2, token_width=8, channel_width=32, patch=4), (IMAGES,)),
    "resnet": (ResNet(5, stages=(2, 1), width=8, stem="cifar"), (IMAGES,)),
    "conformer": (Conformer(6, layers=2, width=16, heads=2, kernel=4), (IMAGES[..., 0], jnp.array([8, 8, 5, 3]))),
    "ft-transformer": (TABLE, COLUMNS),
    "several": (Independent(TABLE, 2), COLUMNS),
}


def again(model):
    """The same model with its layers computed again."""
    if isinstance(model, Independent):
        return model.clone(network=again(model.network))
    return model.clone(remat=True)


def loss(params, rest, model, inputs):
    """(a loss in training, new batch statistics)."""
    rngs = {"dropout": jax.random.key(2)}
    outputs, new = model.apply({"params": params, **rest}, *inputs, train=True, rngs=rngs, mutable=list(rest))
    return sum((jnp.sin(leaf.astype(jnp.float32)) ** 2).mean() for leaf in jax.tree.leaves(outputs)), new


def shapes(model, inputs):
    return jax.eval_shape(partial(model.init, train=False), jax.random.key(0), *inputs)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_masks_statistics_and_gradients_are_the_same(name):
    model, inputs = MODELS[name]
    tree = shapes(model, inputs)
    assert shapes(again(model), inputs) == tree
    random = np.random.default_rng(1)
    params, *rest = (
        jax.tree.map(lambda leaf: jnp.asarray(random.uniform(0.05, 0.4, leaf.shape), leaf.dtype), tree[part])
        for part in ("params", *(tree.keys() - {"params"}))
    )
    rest = dict(zip(tree.keys() - {"params"}, rest, strict=True))
    run = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=2)
    expected, found = run(params, rest, model, inputs), run(params, rest, again(model), inputs)
    # Rounding grows differently in every leaf (a bias before a norm has no gradient but rounding): the measure is how
    # far each one moves when every parameter's last bit does, times ten, as three nudges only sample it.
    ulp = np.finfo(np.float32).eps

    def moved():
        nudge = lambda leaf: leaf * (1 + ulp * random.integers(-1, 2, leaf.shape)).astype(np.float32)  # noqa: E731
        return jax.tree.leaves(run(jax.tree.map(nudge, params), rest, model, inputs))

    for a, b, *near in zip(*map(jax.tree.leaves, (found, expected)), moved(), moved(), moved(), strict=True):
        rounding = max(float(jnp.abs(c - b).max()) for c in near) + ulp * float(jnp.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=10 * rounding)


LONG = jnp.ones((8, 64), jnp.int32)
DEEP = {  # narrow, on many tokens: activations are nearly all of the memory
    "transformer": (Transformer(16, width=32, layers=4, heads=2, hidden=128), (LONG, LONG)),
    "vit": (ViT(5, width=32, depth=6, heads=2, patch=2), (jnp.ones((8, 16, 16, 3)),)),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_models_need_less_memory(name):
    """As training steps are compiled."""
    model, inputs = DEEP[name]
    tree = shapes(model, inputs)

    def needed(model):
        gradient = lambda params: jax.grad(loss, has_aux=True)(params, {}, model, inputs)[0]  # noqa: E731
        program = jax.jit(gradient, compiler_options=kept_barriers()).lower(tree["params"]).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert needed(again(model)) < 0.5 * needed(model)


def test_what_cannot_be_computed_again_says_so():
    with pytest.raises(ConfigError, match="remat"):
        build(Model(name="cnn", remat=True), 5)
    for name, model in (("translation", "gnmt"), ("recognition", "conv"), ("prices", "tabm")):
        recipe = catalog.load(name)
        module = recipe.task.__globals__["build"]
        with pytest.raises(ConfigError, match="remat"):
            module(recipe.Config(model=model, remat=True), TABLE)


def test_a_run_can_be_gone_on_with_in_less_memory(tmp_path):
    before = json.loads('{"model": {"remat": false, "width": 8}}')
    refuse_other_knobs(tmp_path, before, {"model": {"remat": True, "width": 8}}, FREE)
    with pytest.raises(ConfigError, match="width"):
        refuse_other_knobs(tmp_path, before, {"model": {"remat": True, "width": 9}}, FREE)
