"""PyTorch twins of the translation models, for rows that hold one whole sentence each.

Children carry the names of the Flax modules. Both return features [B, T, D] and the embedding table [V, D].
"""

import torch
from torch import nn
from torch.nn import functional as F

from deeplearn.data.text import BEGIN
from deeplearn.models.transformer import sinusoids


def shifted(target: torch.Tensor) -> torch.Tensor:
    """[B, T] -> [B, T]: BEGIN, then all but the last token."""
    return F.pad(target[:, :-1], (1, 0), value=BEGIN)


class Attention(nn.Module):
    """From x to itself, or (`cross`) to a memory."""

    def __init__(self, width: int, heads: int, cross: bool):
        super().__init__()
        self.heads, self.cross = heads, cross
        if cross:
            self.query = nn.Linear(width, width)
        self.joint = nn.Linear(width, (2 if cross else 3) * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, memory: torch.Tensor | None = None, causal: bool = False) -> torch.Tensor:
        parts = self.joint(memory if self.cross else x).chunk(2 if self.cross else 3, dim=-1)
        parts = (self.query(x), *parts) if self.cross else parts
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, cross: bool):
        super().__init__()
        self.cross = cross
        self.self_attention = Attention(width, heads, cross=False)
        if cross:
            self.cross_attention = Attention(width, heads, cross=True)
        # Flax's LayerNorm adds 1e-6 to the variance.
        for number in range(3 if cross else 2):
            self.add_module(f"norms_{number}", nn.LayerNorm(width, eps=1e-6))
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        x = x + self.self_attention(self.norms_0(x), causal=self.cross)
        if self.cross:
            x = x + self.cross_attention(self.norms_1(x), memory)
        last = self.norms_2 if self.cross else self.norms_1
        return x + self.narrow(F.relu(self.wide(last(x))))


class Transformer(nn.Module):
    """Normalises before each sublayer."""

    def __init__(self, vocabulary: int, width: int = 256, layers: int = 2, heads: int = 4, hidden: int = 1024):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocabulary, width))
        for number in range(layers):
            self.add_module(f"encoder_{number}", Layer(width, heads, hidden, cross=False))
            self.add_module(f"decoder_{number}", Layer(width, heads, hidden, cross=True))
        self.layers, self.width = layers, width
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        places = torch.from_numpy(sinusoids(tokens.shape[1], self.width))
        return F.embedding(tokens, self.embedding) * self.width**0.5 + places

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.embed(source)
        for number in range(self.layers):
            x = self.get_submodule(f"encoder_{number}")(x)
        memory = self.encoder_norm(x)
        y = self.embed(shifted(target))
        for number in range(self.layers):
            y = self.get_submodule(f"decoder_{number}")(y, memory)
        return self.decoder_norm(y), self.embedding


class LSTM(nn.Module):
    """PyTorch's own layer, with the parameters named as in ours; its second bias stays zero."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.inner = nn.LSTM(inputs, width, batch_first=True)
        self.inner.bias_hh_l0.requires_grad_(False).zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)[0]


class GNMT(nn.Module):
    def __init__(self, vocabulary: int, width: int = 256, layers: int = 3):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocabulary, width))
        self.forward_lstm, self.backward_lstm = LSTM(width, width), LSTM(width, width)
        for number in range(layers - 1):
            self.add_module(f"encoder_{number}", LSTM(2 * width if number == 0 else width, width))
        for number in range(layers):
            self.add_module(f"decoder_{number}", LSTM(width if number == 0 else 2 * width, width))
        self.layers, self.width = layers, width
        self.query, self.key = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.final = nn.Linear(2 * width, width)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        return F.embedding(tokens, self.embedding) * self.width**0.5

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.embed(source)
        x = torch.cat([self.forward_lstm(x), self.backward_lstm(x.flip(1)).flip(1)], dim=-1)
        for number in range(self.layers - 1):
            y = self.get_submodule(f"encoder_{number}")(x)
            x = x + y if number else y
        keys, values = self.key(x), x
        x = self.decoder_0(self.embed(shifted(target)))
        weights = torch.softmax(self.query(x) * self.width**-0.5 @ keys.transpose(1, 2), dim=-1)
        context = weights @ values
        for number in range(1, self.layers):
            y = self.get_submodule(f"decoder_{number}")(torch.cat([x, context], dim=-1))
            x = x + y if number > 1 else y
        return torch.tanh(self.final(torch.cat([x, context], dim=-1))), self.embedding
