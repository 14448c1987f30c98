"""A small convolutional network for 8x8 digits: the one to try things with on a single core."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from flowprune.models.initial import initial_weights
from flowprune.models.widths import scale_by


def _convolution(in_channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


class DigitsConvNet(nn.Module):
    """3x3 convolutions with batch norm and ReLU, one max pool in the middle, average pool, one linear layer.

    Shapes: (n, in_channels, height, width) -> (n, num_classes).
    """

    def __init__(self, widths: Sequence[int], num_classes: int, in_channels: int) -> None:
        super().__init__()
        blocks = [_convolution(a, b) for a, b in pairwise((in_channels, *widths))]
        half = len(blocks) // 2
        self.features = nn.Sequential(*blocks[:half], nn.MaxPool2d(2), *blocks[half:])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


def digits_convnet(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    widths: Sequence[int] = (32, 64, 64, 128),
    width: float = 1.0,
    seed: int = 0,
) -> DigitsConvNet:
    """Four convolutions for small images: 288 channels, and an epoch of 1,250 digits in a fraction of a second.

    ``width`` multiplies all of ``widths``.

    Example:
        >>> sum(p.numel() for p in digits_convnet().parameters())
        131178
    """
    scaled = scale_by(width)
    with initial_weights(seed):
        return DigitsConvNet([scaled(channels) for channels in widths], num_classes, in_channels)
