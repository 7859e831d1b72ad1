"""A trained model without this code: StableHLO for any batch size, and the weights as safetensors."""

import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax import export as jax_export

from deeplearn import trained
from deeplearn.errors import UsageError


def export(folder: Path, out: Path, platforms: Sequence[str]) -> list[Path]:
    """Write model.stablehlo (`jax.export.deserialize` reads it), model.safetensors and model.json; returns their paths.

    The program maps a batch, with a symbolic first axis `b`, to predictions; the weights are constants inside it.

    Raises:
        UsageError: the task has no `predict`, or the export extra is not installed.
    """
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise UsageError(
            f"export needs the packages {error.name} and flatbuffers; install deeplearn[export]."
        ) from error
    module, config, name = trained.load_module(folder)
    experiment = module.experiment(config)
    if experiment.task.predict is None:
        raise UsageError(f"{name} has no predict, so there is no program to export.")
    variables = trained.load(folder).variables
    batch = experiment.train.at(0)
    (symbol,) = jax_export.symbolic_shape("b")
    shapes = {
        key: jax.ShapeDtypeStruct((symbol, *np.shape(column)[1:]), np.asarray(column).dtype)
        for key, column in batch.items()
    }
    program = jax_export.export(jax.jit(lambda b: experiment.task.predict(variables, b)), platforms=platforms)(shapes)

    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"model.{ending}" for ending in ("stablehlo", "safetensors", "json")]
    paths[0].write_bytes(program.serialize())
    flat = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(variables)
    }
    save_file({key: np.ascontiguousarray(leaf) for key, leaf in flat.items()}, paths[1])
    inputs = {key: {"shape": ["b", *leaf.shape[1:]], "dtype": str(leaf.dtype)} for key, leaf in shapes.items()}
    outputs = [{"shape": [str(n) for n in leaf.shape], "dtype": str(leaf.dtype)} for leaf in program.out_avals]
    paths[2].write_text(
        json.dumps({"experiment": name, "platforms": list(platforms), "inputs": inputs, "outputs": outputs}, indent=1)
    )
    return paths
