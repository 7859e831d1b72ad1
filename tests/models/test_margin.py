"""Margins are those of the papers, and warm up; an embedder looks at one picture at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.models.margin import Embedder, Margin, Verifier

CODE = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), jnp.float32)
LABEL = jnp.array([0, 1, 2, 0, 1, 2])


def logits(kind, seen):
    head = Margin(3, kind, margin=0.4, scale=32.0, warmup=100)
    variables = head.init(jax.random.key(0), CODE, LABEL, train=False)
    variables = {**variables, "warmup": {**variables["warmup"], "seen": jnp.float32(seen)}}
    if kind == "adaface":  # the first look makes the running statistics
        state = head.apply(variables, CODE, LABEL, train=True, mutable=["warmup"])[1]
        variables = {**variables, "warmup": {**state["warmup"], "seen": jnp.float32(seen)}}
    plain = head.apply(variables, CODE, LABEL, train=False)
    found, state = head.apply(variables, CODE, LABEL, train=True, mutable=["warmup"])
    return plain.logits / 32, found.logits, state["warmup"]


def test_margins_are_those_of_the_papers():
    own = np.eye(3, dtype=bool)[np.asarray(LABEL)]
    expected = {
        "softmax": lambda c: c,
        "cosface": lambda c: c - 0.4,
        "arcface": lambda c: np.where(np.arccos(c) + 0.4 < np.pi, np.cos(np.arccos(c) + 0.4), c - 0.4 * np.sin(0.4)),
    }
    for kind, harder in expected.items():
        cosine, found, _ = logits(kind, 100)
        np.testing.assert_allclose(found[own] / 32, harder(np.asarray(cosine)[own]), atol=1e-5)
        np.testing.assert_allclose(found[~own] / 32, np.asarray(cosine)[~own], atol=1e-6)


def test_adaface_asks_more_of_long_codes_and_less_of_short_ones():
    cosine, found, state = logits("adaface", 100)
    own = np.eye(3, dtype=bool)[np.asarray(LABEL)]
    norm = np.linalg.norm(np.asarray(CODE), axis=1)
    quality = np.clip((norm - float(state["mean"])) / (float(state["deviation"]) + 1e-3) * 0.333, -1, 1)
    angle = np.arccos(np.asarray(cosine)[own])
    expected = np.cos(np.clip(angle - 0.4 * quality, 0, np.pi)) - (0.4 * quality + 0.4)
    np.testing.assert_allclose(found[own] / 32, expected, atol=1e-4)


@pytest.mark.parametrize(("seen", "scale", "margin"), [(0, 8, 0.0), (20, 12.8, 0.0), (60, 22.4, 0.2), (500, 32, 0.4)])
def test_scale_and_margin_grow_with_the_examples_seen(seen, scale, margin):
    cosine, found, state = logits("cosface", seen)
    own = np.eye(3, dtype=bool)[np.asarray(LABEL)]
    np.testing.assert_allclose(found, scale * (np.asarray(cosine) - margin * own), rtol=1e-4, atol=1e-4)
    assert state["seen"] == seen + len(CODE)


@pytest.mark.parametrize("kind", ["arcface", "adaface"])
def test_gradients_are_finite_at_both_ends_of_the_angle(kind):
    head = Margin(2, kind, margin=0.4, scale=32.0, warmup=0)
    code = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    variables = head.init(jax.random.key(0), code, jnp.zeros(2, jnp.int32), train=False)
    variables = {**variables, "params": {"centres": jnp.array([[1.0, 0.0], [0.0, 1.0]])}}

    def loss(code):
        found, _ = head.apply(variables, code, jnp.zeros(2, jnp.int32), train=True, mutable=["warmup"])
        return found.logits.sum()

    assert np.isfinite(jax.grad(loss)(code)).all()


def test_codes_have_length_one_and_depend_on_their_own_picture():
    model = Verifier(Embedder(width=4, code=8), Margin(3, "cosface", 0.3, 32.0, 100))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 24, 20, 1)), jnp.float32)
    variables = model.init(jax.random.key(0), x, LABEL[:3], train=False)
    code = model.apply(variables, x, LABEL[:3], train=False).code
    np.testing.assert_allclose(jnp.linalg.norm(code, axis=1), 1, atol=1e-5)
    other = model.apply(variables, x.at[1:].set(0), LABEL[:3], train=False).code
    np.testing.assert_allclose(other[0], code[0], atol=1e-5)
