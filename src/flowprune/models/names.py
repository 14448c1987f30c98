"""The index of models."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from math import prod
from typing import TYPE_CHECKING, Final

from flowprune.core.arguments import call
from flowprune.core.index import Index

if TYPE_CHECKING:
    from torch import nn

MODELS: Final[Index[Callable[..., nn.Module]]] = Index(
    "MODELS",
    {
        "digits_convnet": "flowprune.models.convnet:digits_convnet",
        "mlp": "flowprune.models.perceptron:mlp",
        "mobilenet_v1": "flowprune.models.mobilenet:mobilenet_v1",
        "preact_resnet18": "flowprune.models.preactivation:preact_resnet18",
        "resnet110": "flowprune.models.residual:resnet110",
        "resnet18": "flowprune.models.residual:resnet18",
        "resnet20": "flowprune.models.residual:resnet20",
        "resnet32": "flowprune.models.residual:resnet32",
        "resnet34": "flowprune.models.residual:resnet34",
        "resnet56": "flowprune.models.residual:resnet56",
        "vgg11_plain": "flowprune.models.vgg:vgg11_plain",
        "vgg13": "flowprune.models.vgg:vgg13",
        "vgg16": "flowprune.models.vgg:vgg16",
        "vgg19": "flowprune.models.vgg:vgg19",
    },
)


def build_for(name: str, shape: tuple[int, ...], *, num_classes: int, seed: int = 0, **arguments: object) -> nn.Module:
    """A model by name that takes images of this shape: channels, height and width, as ``ImageSet.shape``.

    The builder's ``in_channels`` or ``in_features``, whichever it has, is filled in; the rest is :func:`build`.

    Raises:
        UnknownNameError: no such model; the message lists them.
        ValueError: an argument that the builder does not take.

    Example:
        >>> build_for("mlp", (1, 8, 8), num_classes=2, widths=(3,)).layers[0]
        Linear(in_features=64, out_features=3, bias=True)
        >>> build_for("vgg13", (1, 32, 32), num_classes=2).features[0].in_channels
        1
    """
    known = {"in_channels": shape[0], "in_features": prod(shape)}
    fitted = {key: value for key, value in known.items() if key in signature(MODELS[name]).parameters}
    return build(name, **{**fitted, "num_classes": num_classes, "seed": seed, **arguments})


def build(name: str, **arguments: object) -> nn.Module:
    """A model by name; the arguments are the builder's own, among them ``num_classes`` and ``seed``.

    The same seed gives the same weights on every device, and the global random state is left as it was.

    Raises:
        UnknownNameError: no such model; the message lists them.
        ValueError: an argument that the builder does not take.

    Example:
        >>> sum(p.numel() for p in build("vgg13", num_classes=10).parameters())
        9413066
    """
    return call(f"models.build({name!r})", MODELS[name], arguments)
