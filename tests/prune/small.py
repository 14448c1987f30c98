"""A small network, a few examples, and whether masks are these."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

import flowprune as fp


def mlp(*widths: int, seed: int = 0, bias: bool = False) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def examples(n: int = 24, features: int = 6, classes: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(n, features, generator=torch.Generator().manual_seed(seed))
    return inputs, torch.arange(n) % classes


def same(masks: object, expected: dict[str, Tensor]) -> bool:
    assert isinstance(masks, fp.Masks)
    return masks.keys() == expected.keys() and all(torch.equal(masks[n], m) for n, m in expected.items())
