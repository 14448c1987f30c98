"""Plain networks, built from widths; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.lazy import lazy
from flowprune.models.names import MODELS, build, build_for

if TYPE_CHECKING:
    from flowprune.models import initializers
    from flowprune.models.convnet import DigitsConvNet, digits_convnet
    from flowprune.models.hugging_face import from_transformers
    from flowprune.models.mobilenet import MobileNetV1, mobilenet_v1
    from flowprune.models.perceptron import MLP, mlp
    from flowprune.models.preactivation import PreActivationResNet, preact_resnet18
    from flowprune.models.reinitialize import reinitialize_
    from flowprune.models.residual import ResNet, resnet, resnet18, resnet20, resnet32, resnet34, resnet56, resnet110
    from flowprune.models.vgg import VGG, vgg11_plain, vgg13, vgg16, vgg19

__all__ = [
    "MLP",
    "MODELS",
    "VGG",
    "DigitsConvNet",
    "MobileNetV1",
    "PreActivationResNet",
    "ResNet",
    "build",
    "build_for",
    "digits_convnet",
    "from_transformers",
    "initializers",
    "mlp",
    "mobilenet_v1",
    "preact_resnet18",
    "reinitialize_",
    "resnet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet56",
    "resnet110",
    "vgg11_plain",
    "vgg13",
    "vgg16",
    "vgg19",
]

_FILES = {
    "convnet": ("DigitsConvNet", "digits_convnet"),
    "hugging_face": ("from_transformers",),
    "mobilenet": ("MobileNetV1", "mobilenet_v1"),
    "perceptron": ("MLP", "mlp"),
    "preactivation": ("PreActivationResNet", "preact_resnet18"),
    "reinitialize": ("reinitialize_",),
    "residual": ("ResNet", "resnet", "resnet18", "resnet20", "resnet32", "resnet34", "resnet56", "resnet110"),
    "vgg": ("VGG", "vgg11_plain", "vgg13", "vgg16", "vgg19"),
}
__getattr__ = lazy(
    __name__,
    {name: f"flowprune.models.{file}:{name}" for file, names in _FILES.items() for name in names}
    | {"initializers": "flowprune.models.initializers"},
)
