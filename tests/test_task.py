"""A task is a record of pure functions; `linen` makes one of a Flax model and an objective."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from toy import columns, objective

from deeplearn.task import linen, warm


class Dropping(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(2, name="head")(nn.Dropout(0.5, deterministic=not train)(nn.Dense(16, name="body")(x)))


BATCH = {name: jnp.asarray(column[:16]) for name, column in columns().items()} | {"mask": jnp.ones(16)}
TASK = linen(Dropping(), objective, inputs=lambda batch: (batch["x"],))
START = TASK.init(jax.random.key(0), BATCH)


def test_the_same_arguments_give_the_same_loss_and_another_key_other_dropout():
    losses = [float(TASK.loss(START, BATCH, jax.random.key(seed), True).loss.total) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_evaluation_does_not_depend_on_the_key():
    losses = [float(TASK.loss(START, BATCH, jax.random.key(seed), False).loss.total) for seed in (1, 2)]
    assert losses[0] == losses[1]


def test_augmentation_acts_in_training_only():
    def nothing(key, batch):
        return batch | {"x": jnp.zeros_like(batch["x"])}

    plain, varied = (linen(Dropping(), objective, inputs=lambda b: (b["x"],), augment=a) for a in (None, nothing))
    key = jax.random.key(0)
    blank = float(varied.loss(START, BATCH, key, True).loss.total)
    assert blank != float(plain.loss(START, BATCH, key, True).loss.total)
    assert float(varied.loss(START, BATCH, key, False).loss.total) == float(
        plain.loss(START, BATCH, key, False).loss.total
    )


def test_a_warm_start_takes_one_part_and_leaves_the_rest():
    learnt = jax.tree.map(lambda leaf: leaf + 1, START["params"]["body"])
    begun = warm(TASK, "body", {"params": learnt}).init(jax.random.key(0), BATCH)["params"]
    np.testing.assert_array_equal(begun["body"]["kernel"], learnt["kernel"])
    np.testing.assert_array_equal(begun["head"]["kernel"], START["params"]["head"]["kernel"])


def test_predictions_are_the_outputs_unless_told_otherwise():
    likely = linen(Dropping(), objective, inputs=lambda b: (b["x"],), predict=lambda out, batch: out.argmax(-1))
    np.testing.assert_array_equal(likely.predict(START, BATCH), TASK.predict(START, BATCH).argmax(-1))
