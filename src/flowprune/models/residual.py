"""Residual networks of basic blocks, for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowprune.models.initial import initial_weights

Stage = tuple[int, int]
"""Width and number of blocks."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: the input itself, or a 1x1 convolution where the shape changes.

    Shapes: (n, in_channels, h, w) -> (n, width, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != width:
            projection = nn.Conv2d(in_channels, width, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Residual and shortcut added, then ReLU."""
        residual = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(residual + self.shortcut(x))


class ResNet(nn.Module):
    """A 3x3 stem, stages of basic blocks, average pool, one linear layer.

    Each stage but the first halves the image. The stem is as wide as the first stage.

    Shapes: (n, in_channels, height, width) -> (n, num_classes).
    """

    def __init__(self, stages: Sequence[Stage], num_classes: int, in_channels: int) -> None:
        super().__init__()
        width = stages[0][0]
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.stages = nn.Sequential()
        for i, (stage_width, blocks) in enumerate(stages):
            stage = nn.Sequential()
            for j in range(blocks):
                stage.append(BasicBlock(width, stage_width, stride=2 if i > 0 and j == 0 else 1))
                width = stage_width
            self.stages.append(stage)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.stages(torch.relu(self.norm(self.stem(x))))
        return self.classifier(torch.flatten(self.pool(x), 1))


def resnet(stages: Sequence[Stage], num_classes: int = 10, *, in_channels: int = 3, seed: int = 0) -> ResNet:
    """A residual network with these stages, each a width and a number of blocks.

    Source: He et al. 2016, arXiv 1512.03385; 1x1 shortcuts as in Lubana & Dick 2021, arXiv 2009.11839.

    Example:
        >>> model = resnet([(8, 1), (16, 2)], num_classes=2)
        >>> model(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2])
    """
    with initial_weights(seed):
        return ResNet(tuple(stages), num_classes, in_channels)


def _thin(blocks: int) -> tuple[Stage, ...]:
    return (16, blocks), (32, blocks), (64, blocks)


def resnet20(num_classes: int = 10, in_channels: int = 3, *, seed: int = 0) -> ResNet:
    """Three stages of three blocks, 16, 32 and 64 wide. See :func:`resnet`.

    Example:
        >>> sum(p.numel() for p in resnet20().parameters())
        272474
    """
    return resnet(_thin(3), num_classes, in_channels=in_channels, seed=seed)


def resnet32(num_classes: int = 10, in_channels: int = 3, *, seed: int = 0) -> ResNet:
    """Three stages of five blocks, 16, 32 and 64 wide. See :func:`resnet`."""
    return resnet(_thin(5), num_classes, in_channels=in_channels, seed=seed)


def resnet56(num_classes: int = 10, in_channels: int = 3, *, seed: int = 0) -> ResNet:
    """The ResNet-56 of the gradient-flow paper: three stages of nine blocks. See :func:`resnet`.

    Example:
        >>> sum(p.numel() for p in resnet56(num_classes=100).parameters())
        861620
    """
    return resnet(_thin(9), num_classes, in_channels=in_channels, seed=seed)


def resnet110(num_classes: int = 10, in_channels: int = 3, *, seed: int = 0) -> ResNet:
    """Three stages of eighteen blocks, 16, 32 and 64 wide. See :func:`resnet`."""
    return resnet(_thin(18), num_classes, in_channels=in_channels, seed=seed)


def resnet18(num_classes: int = 10, in_channels: int = 3, *, seed: int = 0) -> ResNet:
    """Four stages of two blocks, 64 to 512 wide, with a 3x3 stem and no first pool. See :func:`resnet`.

    Example:
        >>> sum(p.numel() for p in resnet18(num_classes=100).parameters())
        11220132
    """
    return resnet(((64, 2), (128, 2), (256, 2), (512, 2)), num_classes, in_channels=in_channels, seed=seed)


def resnet34(num_classes: int = 10, in_channels: int = 3, *, seed: int = 0) -> ResNet:
    """Stages of 3, 4, 6 and 3 blocks, 64 to 512 wide, with a 3x3 stem and no first pool. See :func:`resnet`."""
    return resnet(((64, 3), (128, 4), (256, 6), (512, 3)), num_classes, in_channels=in_channels, seed=seed)
