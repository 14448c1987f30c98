"""Residual networks of pre-activation blocks, for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from flowprune.models.initial import initial_weights
from flowprune.models.kaiming import drawn
from flowprune.models.residual import Stage, residual_stages, scaled, stabilize_, widened
from flowprune.models.stems import stem_stride


class PreActivationBlock(nn.Module):
    """Norm, ReLU and a 3x3 convolution, twice, beside a shortcut that nothing is done to after the sum.

    The shortcut is the input itself or, where the shape changes, a 1x1 convolution without batch norm, which reads
    what the first convolution reads.

    Shapes: (n, in_channels, h, w) -> (n, width, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.factor = 1.0  # of the convolutions' side, see stabilize_
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or in_channels != width:
            self.shortcut = nn.Conv2d(in_channels, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Residual and shortcut added."""
        active = torch.relu(self.norm1(x))
        residual = self.conv2(torch.relu(self.norm2(self.conv1(active))))
        return scaled(residual, self.factor) + (x if self.shortcut is None else self.shortcut(active))


class PreActivationResNet(nn.Module):
    """A 3x3 stem, stages of pre-activation blocks, norm, ReLU, average pool, a 1x1 convolution and its batch norm.

    The last batch norm is over the logits, so it takes at least two examples at a time in training.

    Shapes: (n, in_channels, height, width) -> (n, num_classes).

    Args:
        stages: Width and number of blocks of each stage; each but the first halves the image.
        num_classes: One logit for each.
        in_channels: Of the images.
        stem: The stride of the first convolution; a name of ``STEMS``.
        stable: Whether the branches are scaled, see :func:`~flowprune.models.residual.stabilize_`.

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
        self.stages = residual_stages(PreActivationBlock, stages)
        if stable:
            stabilize_(self.stages)
        self.norm = nn.BatchNorm2d(last)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Conv2d(last, num_classes, 1, bias=False)
        self.logit_norm = nn.BatchNorm2d(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.stages(self.stem(x))  # (n, 3, 32, 32) -> (n, 64, 32, 32) -> (n, 512, 4, 4)
        x = self.pool(torch.relu(self.norm(x)))  # (n, 512, 1, 1)
        x = self.logit_norm(self.classifier(x))  # (n, num_classes, 1, 1)
        return torch.flatten(x, 1)  # (n, num_classes)


def preact_resnet18(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    width: float = 1.0,
    stem: str = "cifar",
    stable: bool = False,
    initial: Literal["pytorch", "kaiming"] = "pytorch",
    seed: int = 0,
) -> PreActivationResNet:
    """The pre-activation ResNet-18 of the loss-modelling paper: four stages of two blocks, 64 to 512 wide.

    ``width`` multiplies all hidden widths. The weights are drawn as PyTorch draws them, or with ``initial="kaiming"``
    as the paper does, as Kaiming et al. do. See :class:`PreActivationResNet`.

    Source: Laurent et al. 2020, arXiv 2006.12279; the block, He et al. 2016, arXiv 1603.05027.

    Example:
        >>> sum(p.numel() for p in preact_resnet18().parameters() if p.dim() > 1)
        11164352
    """
    stages = widened(((64, 2), (128, 2), (256, 2), (512, 2)), width)
    with initial_weights(seed):
        model = PreActivationResNet(stages, num_classes, in_channels, stem=stem, stable=stable)
        return drawn("preact_resnet18", model, initial)
