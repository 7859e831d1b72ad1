"""A trained model without this code: StableHLO for any batch size, safetensors, and ONNX where it can."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jax.extend.core import Var
from jaxtyping import PyTree

from deeplearn.config import to_json
from deeplearn.errors import UsageError
from deeplearn.record import fitfile
from deeplearn.trained import opened, recipe_of

Columns = dict[str, jax.ShapeDtypeStruct]


def export(folder: Path, out: Path, platforms: Sequence[str], *, onnx: bool = False, trust: bool = False) -> list[Path]:
    """Write model.stablehlo (`jax.export.deserialize` reads it), model.safetensors and model.json; returns their paths.

    The program maps a batch of the model's inputs, with a symbolic first axis `b`, to predictions; the weights are
    constants inside it. Needs the run folder only.

    Raises:
        UsageError: the run has nothing that predicts, the export extra is not installed, or ONNX cannot say it.
    """
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise UsageError(
            f"export needs the packages {error.name} and flatbuffers; install deeplearn[export]."
        ) from error
    recipe, config = recipe_of(folder, trust=trust)
    trained = opened(recipe, config)
    if trained.task is None or trained.task.predict is None:
        raise UsageError(f"{recipe.name} has no task(config, fitted) that predicts, so there is no program to export.")
    task = trained.task

    def program(batch: Mapping[str, Any]) -> PyTree:
        return _plain(task.predict(trained.variables, batch))

    (size,) = jax_export.symbolic_shape("b")
    stored = fitfile.read(trained.folder)["inputs"]
    columns = {
        name: jax.ShapeDtypeStruct((size, *column["shape"]), np.dtype(column["dtype"]))
        for name, column in stored.items()
    }
    inputs = {name: columns[name] for name in used(program, columns)}

    def alone(batch: Mapping[str, Any]) -> PyTree:
        """The program of its inputs alone; a model that names other columns, as its training does, gets zeros."""
        rows = next(iter(batch.values())).shape[0]  # may be symbolic
        rest = {
            name: jnp.zeros((rows, *columns[name].shape[1:]), columns[name].dtype)
            for name in columns
            if name not in batch
        }
        return program({**batch, **rest})

    exported = jax_export.export(jax.jit(alone), platforms=platforms)(inputs)

    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"model.{ending}" for ending in ("stablehlo", "safetensors", "json")]
    paths[0].write_bytes(exported.serialize())
    flat = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(trained.variables)
    }
    save_file({name: np.ascontiguousarray(leaf) for name, leaf in flat.items()}, paths[1])
    card = {
        "experiment": recipe.name,
        "platforms": list(platforms),
        "inputs": {name: _described(leaf) for name, leaf in inputs.items()},
        "outputs": [_described(leaf) for leaf in exported.out_avals],
        "fitted": None if trained.fitted is None else to_json(trained.fitted),  # classes, units, scales
    }
    paths[2].write_text(json.dumps(card, indent=1))
    return [*paths, _onnx(alone, inputs, out / "model.onnx")] if onnx else paths


def _plain(outputs: PyTree) -> PyTree:
    """A named tuple as a dict of its fields: a reader without this code does not know its class."""
    return outputs._asdict() if isinstance(outputs, tuple) and hasattr(outputs, "_asdict") else outputs


def used(program: Callable[[Any], PyTree], columns: Columns) -> list[str]:
    """Names of the columns that the program's outputs depend on: labels and masks are no inputs of a model."""
    names = sorted(columns)
    jaxpr = jax.make_jaxpr(program)({name: columns[name] for name in names}).jaxpr
    live = {id(var) for var in jaxpr.outvars}
    for equation in reversed(jaxpr.eqns):
        if any(id(var) in live for var in equation.outvars):
            live |= {id(var) for var in equation.invars if isinstance(var, Var)}
    return [name for name, var in zip(names, jaxpr.invars, strict=True) if id(var) in live]


def _described(leaf: Any) -> dict[str, Any]:
    return {"shape": [str(n) if not isinstance(n, int) else n for n in leaf.shape], "dtype": str(leaf.dtype)}


def _onnx(program: Callable[[Any], PyTree], inputs: Columns, path: Path) -> Path:
    try:
        from jax2onnx import to_onnx
    except ImportError as error:
        raise UsageError(
            f"--onnx needs {error.name}: pip install 'deeplearn[onnx]', and pip install --no-deps jax2onnx, "
            "which asks for an older Orbax than ours and does not need it."
        ) from error
    names = list(inputs)
    shapes = [jax.ShapeDtypeStruct(("B", *leaf.shape[1:]), leaf.dtype) for leaf in inputs.values()]
    try:
        model = to_onnx(lambda *values: program(dict(zip(names, values, strict=True))), shapes, return_mode="proto")
    except Exception as error:  # whatever operator it does not know
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"this model cannot be written as ONNX ({reason}); the other files are in {path.parent}."
        ) from error
    own = dict(zip((value.name for value in model.graph.input), names, strict=False))
    for value in model.graph.input:  # It calls them in_0, in_1, ...
        value.name = own[value.name]
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = own.get(name, name)
    path.write_bytes(model.SerializeToString())
    return path
