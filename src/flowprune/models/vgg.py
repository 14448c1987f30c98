"""VGG for small images, in the order of the gradient-flow paper: convolution, ReLU, batch norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowprune.models.initial import initial_weights

VGG13_STAGES = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))


class VGG(nn.Module):
    """3x3 convolutions in stages, each stage followed by a max pool; average pool; one linear layer.

    The batch norm stands after the ReLU. An average pool of what is left makes it fit images larger than 32x32;
    at 32x32 there is one position left and it does nothing.

    Shapes: (n, in_channels, height, width), both at least 2^stages -> (n, num_classes).
    """

    def __init__(self, stages: Sequence[Sequence[int]], num_classes: int, in_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage in stages:
            for width in stage:
                convolution = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
                layers += [convolution, nn.ReLU(), nn.BatchNorm2d(width)]
                in_channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


def vgg13(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    stages: Sequence[Sequence[int]] = VGG13_STAGES,
    seed: int = 0,
) -> VGG:
    """The VGG-13 of the gradient-flow paper: ten convolutions without bias, and one linear layer.

    Source: Lubana & Dick 2021, arXiv 2009.11839; Simonyan & Zisserman 2015, arXiv 1409.1556.

    Example:
        >>> sum(p.numel() for p in vgg13(num_classes=100).parameters())
        9459236
    """
    with initial_weights(seed):
        return VGG(tuple(stages), num_classes, in_channels)
