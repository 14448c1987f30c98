"""Images as tensors, and batches of them; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.lazy import lazy
from flowprune.data.names import DATASETS, build

if TYPE_CHECKING:
    from flowprune.data.augmentation import Augment
    from flowprune.data.batching import Batches, batches, training_batches
    from flowprune.data.cifar import cifar10, cifar100
    from flowprune.data.downloading import download
    from flowprune.data.folders import image_folder
    from flowprune.data.gaussian import gaussians
    from flowprune.data.handwritten import digits
    from flowprune.data.idx import fashion_mnist, mnist
    from flowprune.data.image_set import ImageSet, Normalise, Split
    from flowprune.data.scoring import scoring_batches
    from flowprune.data.tiny import tiny_imagenet
    from flowprune.data.transfer import Download

__all__ = [
    "DATASETS",
    "Augment",
    "Batches",
    "Download",
    "ImageSet",
    "Normalise",
    "Split",
    "batches",
    "build",
    "cifar10",
    "cifar100",
    "digits",
    "download",
    "fashion_mnist",
    "gaussians",
    "image_folder",
    "mnist",
    "scoring_batches",
    "tiny_imagenet",
    "training_batches",
]

_FILES = {
    "augmentation": ("Augment",),
    "batching": ("Batches", "batches", "training_batches"),
    "cifar": ("cifar10", "cifar100"),
    "downloading": ("download",),
    "folders": ("image_folder",),
    "gaussian": ("gaussians",),
    "handwritten": ("digits",),
    "idx": ("fashion_mnist", "mnist"),
    "image_set": ("ImageSet", "Normalise", "Split"),
    "scoring": ("scoring_batches",),
    "tiny": ("tiny_imagenet",),
    "transfer": ("Download",),
}
__getattr__ = lazy(
    __name__, {name: f"flowprune.data.{file}:{name}" for file, names in _FILES.items() for name in names}
)
