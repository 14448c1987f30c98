"""A network of two layers, pictures for it, and its curvature, for the tests of curvature."""

from __future__ import annotations

import torch
from torch import nn

from flowprune.objectives import Objective, cross_entropy
from flowprune.signals import gather
from flowprune.signals.batches import Counted, size_of

C = 4


def two_layers():
    """Two layers and four classes, as in LM-5: a convolution before a batch norm in eval mode, and a linear one."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(27, C)
    ).double()


def pictures(sizes=(5, 3)):
    torch.manual_seed(1)
    return [(torch.randn(n, 2, 6, 6).double(), torch.randint(C, (n,))) for n in sizes]


def flat(named):
    return torch.cat([value.flatten() for value in named.values()])


def gathered(model, batches, objective=None, curvature="ggn", **how):
    how = {"needs": ("curvature",), "curvature": curvature, **how}
    return gather(model, objective or cross_entropy(), batches, **how)


class Summed(Objective):
    """A sum where a mean is wanted."""

    def __call__(self, forward, batch):
        return self.per_example(forward, batch).sum()


def leading(batches):
    return Counted(0, batches[0], size_of(batches[0]))
