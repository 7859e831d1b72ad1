"""Layers that are computed again in the backward pass."""

import flax.linen as nn
from jaxtyping import PyTree


def through(layer: nn.Module, *inputs: PyTree, train: bool, remat: bool) -> PyTree:
    """`layer(*inputs, train=train)`; with `remat` only its inputs are kept for the backward pass, which calls it again.

    Chen et al. (2016), arXiv:1604.06174: a network of many layers needs the memory of one, and of what lies between
    them, for one more forward pass. Parameters, dropout and batch statistics are the same; without `train` there is no
    backward pass to save for, so that predictions are the same program.
    """
    call = lambda layer, *inputs: layer(*inputs, train=train)  # noqa: E731
    return (nn.remat(call) if remat and train else call)(layer, *inputs)
