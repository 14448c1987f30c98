"""MobileNet-V1 for small images: depthwise and pointwise convolutions in turn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowprune.models.initial import initial_weights
from flowprune.models.stems import stem_stride
from flowprune.models.widths import scale_by

Block = tuple[int, int]
"""Width and stride."""

BLOCKS: tuple[Block, ...] = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
"""Width and stride of the thirteen blocks."""


class Separable(nn.Module):
    """A depthwise 3x3 convolution, which mixes no channels, and a pointwise one, which mixes nothing else.

    Shapes: (n, in_channels, h, w) -> (n, width, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False
        )
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.pointwise = nn.Conv2d(in_channels, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Both convolutions, each with batch norm and ReLU."""
        x = torch.relu(self.norm1(self.depthwise(x)))
        return torch.relu(self.norm2(self.pointwise(x)))


class MobileNetV1(nn.Module):
    """A 3x3 stem, separable blocks, average pool, one linear layer.

    Shapes: (n, in_channels, height, width) -> (n, num_classes).

    Args:
        stem_width: The channels of the stem.
        blocks: Width and stride of each block.
        num_classes: One logit for each.
        in_channels: Of the images.
        stem: The stride of the stem; a name of ``STEMS``.

    Raises:
        UnknownNameError: an unknown stem; the message lists them.
    """

    def __init__(
        self, stem_width: int, blocks: Sequence[Block], *, num_classes: int, in_channels: int, stem: str = "cifar"
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, stem_width, 3, stride=stem_stride(stem), padding=1, bias=False)
        self.norm = nn.BatchNorm2d(stem_width)
        inputs = (stem_width, *(width for width, _ in blocks))
        self.blocks = nn.Sequential(
            *(Separable(before, width, stride) for before, (width, stride) in zip(inputs, blocks, strict=False))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.norm(self.stem(x)))  # (n, 3, 32, 32) -> (n, 32, 32, 32)
        x = self.blocks(x)  # (n, 1024, 2, 2)
        x = torch.flatten(self.pool(x), 1)  # (n, 1024)
        return self.classifier(x)  # (n, num_classes)


def mobilenet_v1(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    width: float = 1.0,
    stem: str = "cifar",
    stem_width: int = 32,
    blocks: Sequence[Block] = BLOCKS,
    seed: int = 0,
) -> MobileNetV1:
    """The MobileNet-V1 of the gradient-flow paper, for 32x32 images.

    ``width`` multiplies the widths of the stem and of all blocks. See :class:`MobileNetV1`.

    Source: Lubana & Dick 2021, arXiv 2009.11839; Howard et al. 2017, arXiv 1704.04861.

    Example:
        >>> sum(p.numel() for p in mobilenet_v1(num_classes=100).parameters())
        3309476
    """
    scaled = scale_by(width)
    wide = [(scaled(channels), stride) for channels, stride in blocks]
    with initial_weights(seed):
        return MobileNetV1(scaled(stem_width), wide, num_classes=num_classes, in_channels=in_channels, stem=stem)
