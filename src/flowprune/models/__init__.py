"""Plain networks, built from widths; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.lazy import lazy
from flowprune.models.names import MODELS, build, build_for

if TYPE_CHECKING:
    from flowprune.models.convnet import DigitsConvNet, digits_convnet
    from flowprune.models.mobilenet import MobileNetV1, mobilenet_v1
    from flowprune.models.perceptron import MLP, mlp
    from flowprune.models.residual import ResNet, resnet, resnet18, resnet20, resnet32, resnet34, resnet56, resnet110
    from flowprune.models.vgg import VGG, vgg13

__all__ = [
    "MLP",
    "MODELS",
    "VGG",
    "DigitsConvNet",
    "MobileNetV1",
    "ResNet",
    "build",
    "build_for",
    "digits_convnet",
    "mlp",
    "mobilenet_v1",
    "resnet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet56",
    "resnet110",
    "vgg13",
]

_FILES = {
    "convnet": ("DigitsConvNet", "digits_convnet"),
    "mobilenet": ("MobileNetV1", "mobilenet_v1"),
    "perceptron": ("MLP", "mlp"),
    "residual": ("ResNet", "resnet", "resnet18", "resnet20", "resnet32", "resnet34", "resnet56", "resnet110"),
    "vgg": ("VGG", "vgg13"),
}
__getattr__ = lazy(
    __name__, {name: f"flowprune.models.{file}:{name}" for file, names in _FILES.items() for name in names}
)
