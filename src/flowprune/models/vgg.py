"""VGG for small images, by default in the order of the gradient-flow paper: convolution, ReLU, batch norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Literal

import torch
from torch import Tensor, nn

from flowprune.core.errors import unknown
from flowprune.models.initial import initial_weights
from flowprune.models.kaiming import drawn
from flowprune.models.stems import stem_stride
from flowprune.models.widths import scale_by

Stages = Sequence[Sequence[int]]
"""For each stage, the widths of its convolutions."""

WIDTHS = (64, 128, 256, 512, 512)


def _repeated(*depths: int) -> Stages:
    """Stages of the usual widths, each with this many convolutions."""
    return tuple((width,) * depth for width, depth in zip(WIDTHS, depths, strict=True))


VGG11_STAGES = _repeated(1, 1, 2, 2, 2)
VGG13_STAGES = _repeated(2, 2, 2, 2, 2)
VGG16_STAGES = _repeated(2, 2, 3, 3, 3)
VGG19_STAGES = _repeated(2, 2, 4, 4, 4)


def _convolution(before: int, width: int, stride: int, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=bias)


ORDERS: Final[dict[str, Callable[[int, int, int], list[nn.Module]]]] = {
    "conv_bn_relu": lambda a, b, stride: [_convolution(a, b, stride), nn.BatchNorm2d(b), nn.ReLU()],
    "conv_relu": lambda a, b, stride: [_convolution(a, b, stride, bias=True), nn.ReLU()],
    "conv_relu_bn": lambda a, b, stride: [_convolution(a, b, stride), nn.ReLU(), nn.BatchNorm2d(b)],
}
"""What a convolution stands with. It has a bias where there is no batch norm to shift its channels."""


class VGG(nn.Module):
    """3x3 convolutions in stages, each stage followed by a max pool; average pool; linear layers.

    An average pool of what is left makes it fit images larger than 32x32; at 32x32 there is one position left and
    it does nothing.

    Shapes: (n, in_channels, height, width), both at least 2^stages after the stem -> (n, num_classes).

    Args:
        stages: For each stage, the widths of its convolutions.
        num_classes: One logit for each.
        in_channels: Of the images.
        order: What a convolution stands with; a name of ``ORDERS``.
        hidden: Widths of linear layers with ReLU before the last one.
        stem: The stride of the first convolution; a name of ``STEMS``.

    Raises:
        UnknownNameError: an unknown order or stem; the message lists them.
    """

    def __init__(
        self,
        stages: Stages,
        num_classes: int,
        in_channels: int,
        *,
        order: str = "conv_relu_bn",
        hidden: Sequence[int] = (),
        stem: str = "cifar",
    ) -> None:
        super().__init__()
        if order not in ORDERS:
            raise unknown("ORDERS", order, ORDERS)
        before, stride = in_channels, stem_stride(stem)
        self.features = nn.Sequential()
        for stage in stages:
            for width in stage:
                self.features.extend(ORDERS[order](before, width, stride))
                before, stride = width, 1
            self.features.append(nn.MaxPool2d(2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.hidden = nn.Sequential()
        for width, after in pairwise((before, *hidden)):
            self.hidden.extend([nn.Linear(width, after), nn.ReLU()])
        self.classifier = nn.Linear((before, *hidden)[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.features(x)  # (n, 3, 32, 32) -> (n, 512, 1, 1)
        x = torch.flatten(self.pool(x), 1)  # (n, 512)
        return self.classifier(self.hidden(x))  # (n, num_classes)


def _scaled(stages: Stages, width: float) -> Stages:
    scaled = scale_by(width)
    return [[scaled(channels) for channels in stage] for stage in stages]


def vgg11_plain(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    hidden: Sequence[int] = (512, 512),
    width: float = 1.0,
    stem: str = "cifar",
    stages: Stages = VGG11_STAGES,
    initial: Literal["pytorch", "kaiming"] = "pytorch",
    seed: int = 0,
) -> VGG:
    """The VGG-11 of the loss-modelling paper: no batch norm, biases, and three linear layers.

    The weights are drawn as PyTorch draws them, or with ``initial="kaiming"`` as the paper does: as Kaiming et al. do,
    with biases of zero. ``width`` multiplies all hidden widths, also those of the linear layers. See :class:`VGG`.

    Source: Laurent et al. 2020, arXiv 2006.12279.

    Example:
        >>> sum(p.numel() for p in vgg11_plain().parameters() if p.dim() > 1)
        9747136
    """
    scaled = scale_by(width)
    with initial_weights(seed):
        model = VGG(
            _scaled(stages, width),
            num_classes,
            in_channels,
            order="conv_relu",
            hidden=[scaled(channels) for channels in hidden],
            stem=stem,
        )
        return drawn("vgg11_plain", model, initial)


def vgg13(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    order: str = "conv_relu_bn",
    width: float = 1.0,
    stem: str = "cifar",
    stages: Stages = VGG13_STAGES,
    seed: int = 0,
) -> VGG:
    """The VGG-13 of the gradient-flow paper: ten convolutions without bias, and one linear layer.

    ``width`` multiplies all hidden widths. See :class:`VGG` for the other arguments.

    Source: Lubana & Dick 2021, arXiv 2009.11839; Simonyan & Zisserman 2015, arXiv 1409.1556.

    Example:
        >>> sum(p.numel() for p in vgg13(num_classes=100).parameters())
        9459236
    """
    with initial_weights(seed):
        return VGG(_scaled(stages, width), num_classes, in_channels, order=order, stem=stem)


def vgg16(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    order: str = "conv_relu_bn",
    width: float = 1.0,
    stem: str = "cifar",
    stages: Stages = VGG16_STAGES,
    seed: int = 0,
) -> VGG:
    """VGG-16 for small images: thirteen convolutions without bias, and one linear layer.

    Papers on pruning at initialisation put the batch norm before the ReLU: ``order="conv_bn_relu"``.
    See :func:`vgg13` for the other arguments.

    Source: Simonyan & Zisserman 2015, arXiv 1409.1556; one linear layer as in Tanaka et al. 2020, arXiv 2006.05467.

    Example:
        >>> sum(p.numel() for p in vgg16(num_classes=100).parameters() if p.dim() > 1)
        14761664
    """
    with initial_weights(seed):
        return VGG(_scaled(stages, width), num_classes, in_channels, order=order, stem=stem)


def vgg19(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    order: str = "conv_relu_bn",
    width: float = 1.0,
    stem: str = "cifar",
    stages: Stages = VGG19_STAGES,
    seed: int = 0,
) -> VGG:
    """VGG-19 for small images: sixteen convolutions without bias, and one linear layer.

    The arguments are those of :func:`vgg16`.

    Source: Simonyan & Zisserman 2015, arXiv 1409.1556; one linear layer as in Wang et al. 2020, arXiv 2002.07376.

    Example:
        >>> sum(p.numel() for p in vgg19(num_classes=100).parameters() if p.dim() > 1)
        20070080
    """
    with initial_weights(seed):
        return VGG(_scaled(stages, width), num_classes, in_channels, order=order, stem=stem)
