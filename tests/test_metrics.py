import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from deeplearn.metrics import R2, Calibration, Contingency, Correlation, Mean, Root, computed, top_k_hits

CLASSES = 5


def example(seed, size=60):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size, CLASSES)).astype(np.float32)
    return logits, rng.integers(0, CLASSES, size).astype(np.int32), rng.normal(size=size).astype(np.float32)


@jax.jit  # Operation by operation, each would be compiled for each size.
def all_metrics(logits, labels, target, weight):
    probabilities = jax.nn.softmax(jnp.asarray(logits))
    prediction = jnp.asarray(logits[:, 0])
    return {
        "accuracy": Mean.of(logits.argmax(-1) == labels, weight),
        "top3": Mean.of(top_k_hits(jnp.asarray(logits), jnp.asarray(labels), 3), weight),
        "rmse": Root.of((prediction - target) ** 2, weight),
        "r2": R2.of(prediction, jnp.asarray(target), weight),
        "correlation": Correlation.of(prediction, jnp.asarray(target), weight),
        "ece": Calibration.of(probabilities, jnp.asarray(labels), weight),
        "confusion": Contingency.of(labels, logits.argmax(-1), weight, shape=(CLASSES, CLASSES)),
    }


@pytest.mark.parametrize("seed", range(3))
def test_equals_sklearn_and_numpy(seed):
    logits, labels, target = example(seed)
    values = computed(all_metrics(logits, labels, target, None if seed else np.ones(60, np.float32)) | {})
    assert values["accuracy"] == pytest.approx(reference.accuracy_score(labels, logits.argmax(-1)), abs=1e-6)
    assert values["top3"] == pytest.approx(reference.top_k_accuracy_score(labels, logits, k=3), abs=1e-6)
    assert values["rmse"] == pytest.approx(reference.root_mean_squared_error(target, logits[:, 0]), abs=1e-6)
    assert values["r2"] == pytest.approx(reference.r2_score(target, logits[:, 0]), abs=1e-5)
    assert values["correlation"] == pytest.approx(np.corrcoef(logits[:, 0], target)[0, 1], abs=1e-5)
    np.testing.assert_array_equal(
        values["confusion"], reference.confusion_matrix(labels, logits.argmax(-1), labels=range(CLASSES))
    )


def test_calibration_equals_its_definition():
    logits, labels, _ = example(0, 500)
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(3 * logits)))
    confidence, hit = probabilities.max(-1), probabilities.argmax(-1) == labels
    edges = np.linspace(0, 1, 16)
    inside = [(confidence > low) & (confidence <= high) for low, high in itertools.pairwise(edges)]
    expected = sum(abs(hit[i].mean() - confidence[i].mean()) * i.mean() for i in inside if i.any())
    got = Calibration.of(jnp.asarray(probabilities), jnp.asarray(labels), np.ones(500, np.float32)).compute()
    assert got == pytest.approx(expected, abs=1e-6)


@settings(max_examples=4, deadline=None)
@given(cut=st.integers(1, 59), padding=st.integers(0, 5))
def test_parts_add_up_and_padding_does_not_count(cut, padding):
    logits, labels, target = example(1)
    whole = computed(all_metrics(logits, labels, target, np.ones(60, np.float32)))

    def part(rows):
        fill = [(0, padding)]
        weight = np.pad(np.ones(len(labels[rows]), np.float32), fill)
        # Padded rows hold NaN on purpose: weight 0 has to keep them out of every sum.
        padded = np.pad(target[rows], fill, constant_values=np.nan)
        return all_metrics(np.pad(logits[rows], [*fill, (0, 0)]), np.pad(labels[rows], fill), padded, weight)

    parts = jax.tree.map(jnp.add, part(slice(0, cut)), part(slice(cut, None)))
    for name, value in computed(parts).items():
        np.testing.assert_allclose(value, whole[name], atol=1e-5, err_msg=name)


def test_weights_spread_over_trailing_axes():
    values = jnp.arange(6.0).reshape(2, 3)
    assert Mean.of(values, jnp.asarray([1.0, 0.0])).compute() == pytest.approx(1.0)
    assert np.isnan(Mean.of(values, jnp.zeros(2)).compute())


@pytest.mark.parametrize("k", [1, 3])
def test_of_equal_logits_the_first_counts_as_the_larger(k):
    """So that the best one is argmax's; constant logits then hit k of C balanced classes, as scikit-learn's do."""
    logits = jnp.asarray(np.random.default_rng(0).integers(0, 3, (200, 8)), jnp.float32)
    labels = jnp.asarray(np.random.default_rng(1).integers(0, 8, 200))
    order = np.argsort(-np.asarray(logits), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(top_k_hits(logits, labels, k), (order == np.asarray(labels)[:, None]).any(1))
    np.testing.assert_array_equal(top_k_hits(logits, labels, 1), logits.argmax(-1) == labels)
    assert top_k_hits(jnp.zeros((80, 20)), jnp.arange(80) % 20, 5).mean() == 0.25


def test_logits_that_are_not_numbers_are_no_hits():
    logits = jnp.asarray([[jnp.nan] * 3, [jnp.nan, 1.0, 0.0], [3.0, jnp.nan, 0.0], [jnp.inf, 0.0, -jnp.inf]])
    assert top_k_hits(logits, jnp.asarray([0, 1, 0, 0]), 2).tolist() == [0, 0, 0, 1]
