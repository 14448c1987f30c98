"""Residual networks of basic blocks, for small images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flowprune.models.initial import initial_weights
from flowprune.models.stems import stem_stride
from flowprune.models.widths import scale_by

Stage = tuple[int, int]
"""Width and number of blocks."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: the input itself, or a 1x1 convolution where the shape changes.

    Shapes: (n, in_channels, h, w) -> (n, width, ceil(h / stride), ceil(w / stride)).

    Attributes:
        factor: What the convolutions' side is multiplied with before the sum.
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.factor = 1.0
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
        return torch.relu(scaled(residual, self.factor) + self.shortcut(x))


def scaled(residual: Tensor, factor: float) -> Tensor:
    """The branch times its factor; itself where that is one."""
    return residual if factor == 1.0 else factor * residual


def stabilize_(stages: nn.Sequential) -> None:
    """Multiply the branch of each block by 1 / √L, L the number of all blocks: a Stable ResNet.

    Formula: y_l = y_{l-1} + L^(-1/2) F(W_l, y_{l-1}). The variance of the signal then grows by (1 + 1 / L)^L < e over
    the network, not by 2^L. The factor is part of the model, in training, evaluation and what is exported.

    Source: S. Hayou et al., 2021, arXiv:2010.12859 and arXiv:2002.08797.

    Example:
        >>> stages = residual_stages(BasicBlock, [(4, 2), (8, 2)])
        >>> stabilize_(stages)
        >>> stages[1][0].factor
        0.5
    """
    blocks = [block for stage in stages for block in cast(nn.Sequential, stage)]
    for block in blocks:
        block.factor = len(blocks) ** -0.5


def is_stable(model: nn.Module) -> bool:
    """Whether a network has residual branches and all of them are scaled as :func:`stabilize_` does.

    Example:
        >>> is_stable(nn.Linear(1, 1))
        False
    """
    factors = [module.factor for module in model.modules() if isinstance(getattr(module, "factor", None), float)]
    return bool(factors) and all(factor == len(factors) ** -0.5 for factor in factors)


def residual_stages(block: Callable[[int, int, int], nn.Module], stages: Sequence[Stage]) -> nn.Sequential:
    """Stages of blocks ``block(in_channels, width, stride)``; each stage but the first halves the image.

    Shapes: (n, width of the first stage, h, w) -> (n, width of the last stage, ceil(h / 2^(stages - 1)), ...).

    Example:
        >>> residual_stages(BasicBlock, [(4, 1), (8, 2)])(torch.zeros(1, 4, 8, 8)).shape
        torch.Size([1, 8, 4, 4])
    """
    before = stages[0][0]
    made = nn.Sequential()
    for i, (width, blocks) in enumerate(stages):
        stage = nn.Sequential()
        for j in range(blocks):
            stage.append(block(before, width, 2 if i > 0 and j == 0 else 1))
            before = width
        made.append(stage)
    return made


class ResNet(nn.Module):
    """A 3x3 stem, stages of basic blocks, average pool, one linear layer.

    Each stage but the first halves the image. The convolution before them is as wide as the first stage.

    Shapes: (n, in_channels, height, width) -> (n, num_classes).

    Args:
        stages: Width and number of blocks of each stage.
        num_classes: One logit for each.
        in_channels: Of the images.
        stem: The stride of the first convolution; a name of ``STEMS``.
        stable: Whether the branches are scaled, see :func:`stabilize_`.

    Raises:
        UnknownNameError: an unknown stem; the message lists them.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        num_classes: int,
        in_channels: int,
        *,
        stem: str = "cifar",
        stable: bool = False,
    ) -> None:
        super().__init__()
        first, last = stages[0][0], stages[-1][0]
        self.stem = nn.Conv2d(in_channels, first, 3, stride=stem_stride(stem), padding=1, bias=False)
        self.norm = nn.BatchNorm2d(first)
        self.stages = residual_stages(BasicBlock, stages)
        if stable:
            stabilize_(self.stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.norm(self.stem(x)))  # (n, 3, 32, 32) -> (n, first width, 32, 32)
        x = self.stages(x)  # (n, last width, 8, 8) after three stages, 4x4 after four
        x = torch.flatten(self.pool(x), 1)  # (n, last width)
        return self.classifier(x)  # (n, num_classes)


def widened(stages: Sequence[Stage], width: float) -> list[Stage]:
    """The stages with all widths multiplied.

    Example:
        >>> widened([(16, 3), (32, 3)], 2.0)
        [(32, 3), (64, 3)]
    """
    times = scale_by(width)
    return [(times(channels), blocks) for channels, blocks in stages]


def resnet(
    stages: Sequence[Stage],
    num_classes: int = 10,
    *,
    in_channels: int = 3,
    width: float = 1.0,
    stem: str = "cifar",
    stable: bool = False,
    seed: int = 0,
) -> ResNet:
    """A residual network with these stages, each a width and a number of blocks.

    ``width`` multiplies all hidden widths. See :class:`ResNet` for the other arguments.

    Source: He et al. 2016, arXiv 1512.03385; 1x1 shortcuts as in Lubana & Dick 2021, arXiv 2009.11839.

    Example:
        >>> model = resnet([(8, 1), (16, 2)], num_classes=2)
        >>> model(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2])
    """
    with initial_weights(seed):
        return ResNet(widened(stages, width), num_classes, in_channels, stem=stem, stable=stable)


def _thin(blocks: int) -> tuple[Stage, ...]:
    return (16, blocks), (32, blocks), (64, blocks)


def resnet20(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    width: float = 1.0,
    stem: str = "cifar",
    stable: bool = False,
    seed: int = 0,
) -> ResNet:
    """Three stages of three blocks, 16, 32 and 64 wide. See :func:`resnet`.

    Example:
        >>> sum(p.numel() for p in resnet20().parameters())
        272474
    """
    return resnet(_thin(3), num_classes, in_channels=in_channels, width=width, stem=stem, stable=stable, seed=seed)


def resnet32(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    width: float = 1.0,
    stem: str = "cifar",
    stable: bool = False,
    seed: int = 0,
) -> ResNet:
    """Three stages of five blocks, 16, 32 and 64 wide. See :func:`resnet`.

    With ``width=2`` it is the ResNet-32 of Wang et al. 2020, arXiv 2002.07376.

    Example:
        >>> sum(p.numel() for p in resnet32(width=2).parameters() if p.dim() > 1)
        1855584
    """
    return resnet(_thin(5), num_classes, in_channels=in_channels, width=width, stem=stem, stable=stable, seed=seed)


def resnet56(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    width: float = 1.0,
    stem: str = "cifar",
    stable: bool = False,
    seed: int = 0,
) -> ResNet:
    """The ResNet-56 of the gradient-flow paper: three stages of nine blocks. See :func:`resnet`.

    Example:
        >>> sum(p.numel() for p in resnet56(num_classes=100).parameters())
        861620
    """
    return resnet(_thin(9), num_classes, in_channels=in_channels, width=width, stem=stem, stable=stable, seed=seed)


def resnet110(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    width: float = 1.0,
    stem: str = "cifar",
    stable: bool = False,
    seed: int = 0,
) -> ResNet:
    """Three stages of eighteen blocks, 16, 32 and 64 wide. See :func:`resnet`.

    Example:
        >>> sum(p.numel() for p in resnet110().parameters())
        1730714
    """
    return resnet(_thin(18), num_classes, in_channels=in_channels, width=width, stem=stem, stable=stable, seed=seed)


def resnet18(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    width: float = 1.0,
    stem: str = "cifar",
    stable: bool = False,
    seed: int = 0,
) -> ResNet:
    """Four stages of two blocks, 64 to 512 wide, with a 3x3 stem and no first pool. See :func:`resnet`.

    Example:
        >>> sum(p.numel() for p in resnet18(num_classes=100).parameters())
        11220132
    """
    return resnet(
        ((64, 2), (128, 2), (256, 2), (512, 2)),
        num_classes,
        in_channels=in_channels,
        width=width,
        stem=stem,
        stable=stable,
        seed=seed,
    )


def resnet34(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    width: float = 1.0,
    stem: str = "cifar",
    stable: bool = False,
    seed: int = 0,
) -> ResNet:
    """Stages of 3, 4, 6 and 3 blocks, 64 to 512 wide, with a 3x3 stem and no first pool. See :func:`resnet`.

    Example:
        >>> sum(p.numel() for p in resnet34(num_classes=100).parameters())
        21328292
    """
    return resnet(
        ((64, 3), (128, 4), (256, 6), (512, 3)),
        num_classes,
        in_channels=in_channels,
        width=width,
        stem=stem,
        stable=stable,
        seed=seed,
    )
