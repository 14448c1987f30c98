"""Tiny networks with something in them that must be refused, or handled by other means."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Between(nn.Module):
    """conv - something - conv - head; only the first convolution meets the something."""

    def __init__(self, something):
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.something = something
        self.b = nn.Conv2d(6, 5, 3, padding=1)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        return self.head(functional.relu(self.b(self.something(self.a(x)))).mean((2, 3)))


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Stateful(nn.Module):
    """Something with a tensor of its own."""

    def __init__(self, kind, function):
        super().__init__()
        tensor = torch.linspace(0.5, 1.5, 6).view(1, 6, 1, 1)
        if kind == "buffer":
            self.register_buffer("tensor", tensor)
        else:
            self.tensor = tensor if kind == "constant" else nn.Parameter(tensor)
        self.function = function

    def forward(self, x):
        return self.function(x, self.tensor)


class WrittenSize(nn.Module):
    """A size that is a number in the code, computed there, or an attribute."""

    def __init__(self, size):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.hidden = nn.Linear(6 * 16, 5)
        self.head = nn.Linear(5, 4)
        self.how = size
        self.size = 96 if size == "attribute" else 0

    def forward(self, x):
        x = functional.relu(self.conv(x))
        size = x.shape[1] * x.shape[2] * x.shape[3] if self.how == "computed" else self.size or 96
        x = x.view(x.shape[0], size)
        return self.head(functional.relu(self.hidden(x)))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(192, 6), nn.Linear(6, 4)

    def forward(self, x):
        x = self.a(x.flatten(1))
        if x.sum() > 0:
            x = x + 1
        return self.b(x)


class Endless(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(192, 4)

    def forward(self, x):
        x = self.a(x.flatten(1))
        while True:
            x = x + 1
