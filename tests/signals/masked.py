"""Random masks, and what is compared of them."""

from __future__ import annotations

import torch


def drawn(model, density, seed=0):
    """Random masks of all weights."""
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(p.shape, generator=generator) < density for n, p in model.named_parameters() if p.dim() > 1}


def count(tensors):
    return {name: int(tensor.sum()) for name, tensor in tensors.items()}


def assert_equal(found, expected):
    for name, mask in expected.items():
        assert torch.equal(found[name], mask), name
