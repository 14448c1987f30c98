"""Small models to export, each with something that exporters trip over."""

from __future__ import annotations

from collections import namedtuple

import torch
from torch import nn

Pair = namedtuple("Pair", ["logits", "cache"])


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def convolutional():
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(36, 3)
    return nn.Sequential(*layers).train()


class Records(nn.Module):
    """Two inputs by name, one that is not used, and a record of outputs with something that is no tensor."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 2)

    def forward(self, ids, scale=None, unused=None):
        hidden = self.embed(ids) * scale
        return {"pair": Pair(self.head(hidden), object()), "hidden": [hidden, None]}


class FixedBatch(nn.Module):
    """Works for two examples and no other number."""

    def forward(self, x):
        return x.view(2, -1).sum(1)


class Branch(nn.Module):
    """Computes one thing or another by the values it is given."""

    def forward(self, x):
        return x * 2 if x.sum() > 0 else x


RECORDS = {"scale": drawn(3, 5, 1), "ids": torch.arange(15).reshape(3, 5) % 7, "unused": drawn(3)}
