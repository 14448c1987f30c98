"""The index of datasets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from flowprune.core.arguments import call
from flowprune.core.index import Index

if TYPE_CHECKING:
    from flowprune.data.image_set import ImageSet

DATASETS: Final[Index[Callable[..., ImageSet]]] = Index(
    "DATASETS",
    {
        "cifar10": "flowprune.data.cifar:cifar10",
        "cifar100": "flowprune.data.cifar:cifar100",
        "digits": "flowprune.data.handwritten:digits",
        "fashion_mnist": "flowprune.data.idx:fashion_mnist",
        "gaussians": "flowprune.data.gaussian:gaussians",
        "image_folder": "flowprune.data.folders:image_folder",
        "mnist": "flowprune.data.idx:mnist",
        "tiny_imagenet": "flowprune.data.tiny:tiny_imagenet",
    },
)


def build(name: str, **arguments: object) -> ImageSet:
    """A dataset by name; the arguments are the builder's own.

    Raises:
        UnknownNameError: no such dataset; the message lists them.
        ValueError: an argument that the builder does not take.
        FileNotFoundError: the files of a dataset that is read from disk are not there.

    Example:
        >>> dataset = build("digits")
        >>> dataset.num_classes, len(dataset.train) + len(dataset.valid) + len(dataset.test)
        (10, 1797)
    """
    return call(f"data.build({name!r})", DATASETS[name], arguments)
