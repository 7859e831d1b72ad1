"""Greedy search in PyTorch with our Transformer's weights, keys and values kept from step to step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from deeplearn.data.text import BEGIN, END, PAD
from deeplearn.models.transformer import sinusoids

from ..searches import Searcher, limit, model, repeated
from .translation import Attention, Layer, Transformer
from .twin import translated


def greedy(job: Mapping[str, Any]) -> Searcher:
    """Translates all sentences of a job."""
    torch.set_num_threads(job["threads"])
    own = model(Path(job["run"]), job["beams"])
    config, params = own.config, own.variables["params"]
    module = Transformer(len(params["embedding"]), config.width, config.layers, config.heads, config.hidden)
    with torch.no_grad():
        parameters = dict(module.named_parameters())
        for name, value in translated(params, module).items():
            parameters[name].copy_(torch.tensor(value))

    def translate() -> list[list[int]]:
        batches = range(0, len(job["sources"]), job["batch"])
        return [
            row for n in batches for row in _translated(module, job["sources"][n : n + job["batch"]], config.length)
        ]

    return repeated(translate)


@torch.inference_mode()
def _translated(module: Transformer, sources: Sequence[Sequence[int]], length: int) -> list[list[int]]:
    """The likeliest token at every place, up to END or so many as our search allows."""
    source = pad_sequence([torch.tensor(tokens) for tokens in sources], batch_first=True, padding_value=PAD)
    real = (source != PAD)[:, None, None]  # [B, 1, 1, S]
    x = module.embed(source)
    for number in range(module.layers):
        layer = module.get_submodule(f"encoder_{number}")
        x = _layer(layer, x, *_split(layer.self_attention, layer.norms_0(x)), real)
    x = module.encoder_norm(x)
    layers = [module.get_submodule(f"decoder_{number}") for number in range(module.layers)]
    memory = [_split(layer.cross_attention, x) for layer in layers]
    past: list[Any] = [None] * module.layers
    limits = torch.tensor([limit(len(tokens), length) for tokens in sources])
    places = torch.from_numpy(sinusoids(length, module.width))
    token, found = torch.full((len(sources),), BEGIN), []
    done = torch.zeros(len(sources), dtype=torch.bool)
    for place in range(int(limits.max())):
        y = F.embedding(token, module.embedding)[:, None] * module.width**0.5 + places[place]
        for number, layer in enumerate(layers):
            query, key, value = _split(layer.self_attention, layer.norms_0(y))
            if past[number] is not None:
                key, value = (torch.cat(pair, dim=2) for pair in zip(past[number], (key, value), strict=True))
            past[number] = key, value
            y = _layer(layer, y, query, key, value, None, memory[number], real)
        token = F.linear(module.decoder_norm(y)[:, 0], module.embedding).argmax(-1)
        token = torch.where(place >= limits - 1, END, token)
        found.append(token.masked_fill(done, END))
        done |= token == END
        if done.all():
            break
    rows = torch.stack(found, dim=1).tolist()
    return [row[: row.index(END)] for row in rows]


def _split(attention: Attention, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Query (of self-attention alone), key and value [B, H, T, d]."""
    parts = attention.joint(x).chunk(2 if attention.cross else 3, dim=-1)
    return tuple(part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in parts)


def _layer(
    layer: Layer,
    x: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    visible: torch.Tensor | None,
    memory: tuple[torch.Tensor, ...] | None = None,
    real: torch.Tensor | None = None,
) -> torch.Tensor:
    """The layer with the products of its self-attention given."""
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
    x = x + layer.self_attention.out(attended.transpose(1, 2).flatten(2))
    if memory is not None:
        own = layer.cross_attention
        query = own.query(layer.norms_1(x)).unflatten(-1, (own.heads, -1)).transpose(1, 2)
        attended = F.scaled_dot_product_attention(query, *memory, attn_mask=real)
        x = x + own.out(attended.transpose(1, 2).flatten(2))
    last = layer.norms_2 if memory is not None else layer.norms_1
    return x + layer.narrow(F.relu(layer.wide(last(x))))
