"""What a dry run says of memory and traffic, against what it must be."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from toy import RUN, Net, toy

from deeplearn import catalog, parallel
from deeplearn.plan import collectives, held, plan
from deeplearn.step import init, train_step

EXPERIMENT = toy(RUN, model=Net(width=4096))
EXAMPLE = jax.tree.map(jnp.asarray, EXPERIMENT.train.at(0))
STATE = jax.eval_shape(lambda: init(EXPERIMENT.task, EXPERIMENT.optimizer, 0, EXAMPLE))
PARAMETERS = sum(4 * leaf.size for leaf in jax.tree.leaves(STATE.params))


def sent(spec):
    """(bytes by kind of one step, bytes of the state on a device)."""
    mesh = parallel.make_mesh(spec)
    where = parallel.placements(STATE, mesh)

    def step(state, whole, rows, seed, count, *, axis):
        return train_step(EXPERIMENT.task, EXPERIMENT.optimizer, state, rows, seed, axis=axis)

    lowered = parallel.compiled(step, mesh, "jit", where, row_axis=0).lower(
        STATE, {}, EXAMPLE, jnp.uint32(0), jnp.int32(1)
    )
    return collectives(lowered.compile().as_text()), held(STATE, where)


def test_one_device_sends_nothing():
    found, state = sent("data=1")
    assert found == {}
    assert state == pytest.approx(4 * PARAMETERS, rel=1e-3)  # parameters, their average, and Adam's two moments


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_data_parallel_steps_add_up_each_gradient_once(devices):
    found, state = sent(f"data={devices}")
    assert set(found) == {"all-reduce"}
    assert found["all-reduce"] == pytest.approx(PARAMETERS, rel=1e-3)  # whatever the number of devices; metrics besides
    assert state == pytest.approx(4 * PARAMETERS, rel=1e-3)


def test_parameters_in_slices_take_the_optimizer_with_them():
    """ZeRO's third stage (Rajbhandari et al., 2020): of the state a device holds its part."""
    found, state = sent("fsdp=8")
    assert state < 4 * PARAMETERS / 8 * 1.6  # Biases and LayerNorms under 16 KiB stay whole.
    assert sum(found.values()) <= 3 * PARAMETERS  # Parameters gathered twice at most, gradients added once.


def test_results_are_read_from_a_program_as_it_is_printed():
    text = """
      %a = f32[2,3]{1,0} all-reduce(%x), channel_id=1
      ROOT %b = (bf16[1]{0}, bf16[8]{0}) all-gather-start(%y)
      %c = f32[9]{0} add(%a, %a)
    """
    assert collectives(text) == {"all-reduce": 24, "all-gather": 16}


def test_a_plan_says_each_thing_once_and_that_batch_normalisation_sees_parts():
    recipe = catalog.load("classification")
    said = plan(recipe, dataclasses.replace(recipe.Config(), batch=8, mesh="data=2", exact=2))
    assert said.count("all-reduce") == 1
    assert said.count("batch normalisation sees parts of the batch (--exact 2)") == 1


def test_a_plan_counts_the_best_step_that_is_kept():
    recipe = catalog.load("classification")
    config = dataclasses.replace(recipe.Config(), batch=8, mesh="data=1", choose=True, eval_every=100)
    assert "best step" not in plan(recipe, config)
    assert "best step            1.0 MiB more" in plan(recipe, dataclasses.replace(config, best="validation/loss"))


def test_a_plan_refuses_what_a_run_would_refuse(tmp_path):
    from deeplearn.beginning import refuse
    from deeplearn.errors import ConfigError

    run = dataclasses.replace(RUN, exact=6)
    with pytest.raises(ConfigError, match="power of two"):
        refuse(EXPERIMENT, run, parallel.make_mesh("data=1"))
