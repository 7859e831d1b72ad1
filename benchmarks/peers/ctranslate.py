"""CTranslate2 with the weights of our Transformer, its scores and limits set as near to ours as it can."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import TransformerSpec

from deeplearn.data.text import BEGIN, END
from deeplearn.models.transformer import sinusoids

from ..searches import Searcher, limit, model, repeated


def search(job: Mapping[str, Any]) -> Searcher:
    """Translates all sentences of a job; `type` says what it computes with."""
    own = model(Path(job["run"]), job["beams"])
    config = own.config
    with tempfile.TemporaryDirectory() as folder:
        save(folder, own.variables["params"], layers=config.layers, heads=config.heads, length=config.length)
        engine = ctranslate2.Translator(
            folder, compute_type=job["type"], inter_threads=1, intra_threads=job["threads"], device="cpu"
        )
    sources = [[str(token) for token in tokens] for tokens in job["sources"]]
    penalties = dict(length_penalty=config.alpha, coverage_penalty=config.beta) if job["beams"] > 1 else {}
    options = dict(beam_size=job["beams"], **penalties)
    limits = [limit(len(tokens), config.length) for tokens in sources]

    def translate() -> list[list[int]]:
        found = []
        for start in range(0, len(sources), job["batch"]):
            part = slice(start, start + job["batch"])
            found += engine.translate_batch(sources[part], max_decoding_length=max(limits[part]), **options)
        # Theirs has one limit for all.
        return [[int(x) for x in own.hypotheses[0][: most - 1]] for own, most in zip(found, limits, strict=True)]

    return repeated(translate)


def save(folder: str, params: Mapping[str, Any], *, layers: int, heads: int, length: int) -> None:
    """Write our parameters as a model of theirs, whose tokens are our numbers in digits."""
    spec = TransformerSpec.from_config(layers, heads, pre_norm=True)
    table = np.asarray(params["embedding"])
    words = [str(number) for number in range(len(table))]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.config.bos_token = spec.config.decoder_start_token = words[BEGIN]
    spec.config.eos_token, spec.config.unk_token = words[END], words[1]
    spec.config.layer_norm_epsilon = 1e-6
    sides = (spec.encoder, spec.encoder.embeddings[0], "encoder"), (spec.decoder, spec.decoder.embeddings, "decoder")
    for side, embedding, name in sides:
        embedding.weight = table
        side.position_encodings.encodings = sinusoids(length + 1, table.shape[1])
        _norm(side.layer_norm, params[f"{name}_norm"])
        for number, layer in enumerate(side.layer):
            _layer(layer, params[f"{name}_{number}"], table.shape[1])
    spec.decoder.projection.weight, spec.decoder.projection.bias = table, np.zeros(len(table), np.float32)
    spec.validate()
    spec.optimize()
    spec.save(folder)


def _layer(layer: Any, own: Mapping[str, Any], width: int) -> None:
    attended = [(layer.self_attention, own["self_attention"], ("joint", "out"), "norms_0")]
    if "cross_attention" in own:
        attended += [(layer.attention, own["cross_attention"], ("query", "joint", "out"), "norms_1")]
    for theirs, ours, names, norm in attended:
        _norm(theirs.layer_norm, own[norm])
        for linear, name in zip(theirs.linear, names, strict=True):
            _linear(linear, ours[name], into=width if name == "out" else None, out_of=width)
    _norm(layer.ffn.layer_norm, own[f"norms_{len(attended)}"])
    _linear(layer.ffn.linear_0, own["wide"], out_of=width)
    _linear(layer.ffn.linear_1, own["narrow"], into=width, out_of=own["narrow"]["kernel"].shape[0])


def _norm(theirs: Any, ours: Mapping[str, Any]) -> None:
    theirs.gamma, theirs.beta = (np.asarray(ours[name]) for name in ("scale", "bias"))


def _linear(theirs: Any, ours: Mapping[str, Any], *, out_of: int, into: int | None = None) -> None:
    """Kernels [in..., out...] as [out, in]."""
    kernel = np.asarray(ours["kernel"])
    theirs.weight = np.ascontiguousarray(kernel.reshape(out_of, into or -1).T)
    theirs.bias = np.asarray(ours["bias"]).reshape(-1)
