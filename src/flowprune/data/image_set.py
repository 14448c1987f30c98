"""The record of a dataset: three splits of images as tensors on one device."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowprune.core.errors import invalid, unknown
from flowprune.data.augmentation import Augment


@dataclass(frozen=True)
class Normalise:
    """Pixels to network inputs: (pixel / scale - mean) / std, per channel.

    Attributes:
        mean: Per channel, of pixel / scale.
        std: Per channel, of pixel / scale.
        scale: The pixel value that counts as 1: 255 for ordinary bytes.

    Shapes: (n, channels, h, w) -> the same, floating.

    Example:
        >>> Normalise((0.5,), (0.5,), scale=255.0)(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)).item()
        1.0
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or min(self.std, default=0.0) <= 0 or self.scale <= 0:
            raise invalid("Normalise(std=)", "> 0 and as long as mean", (self.mean, self.std, self.scale))

    def __call__(self, images: Tensor) -> Tensor:
        """The normalised images, in their own floating type or, from bytes, in float32."""
        values = images.clone() if images.is_floating_point() else images.to(torch.float32)
        shift, spread = (values.new_tensor(each).mul_(self.scale) for each in (self.mean, self.std))
        pixels = values.permute(0, 2, 3, 1)
        if pixels.is_contiguous():  # a whole row of pixels at a time: arithmetic over an axis of three is slow
            _, _, width, channels = pixels.shape
            rows = pixels.view(-1, width * channels)
            rows.sub_(shift.repeat(width)).div_(spread.repeat(width))
            return values
        return values.sub_(shift.view(-1, 1, 1)).div_(spread.view(-1, 1, 1))


@dataclass(frozen=True, eq=False)
class Split:
    """Images, their labels, and where each stood in the source.

    Attributes:
        images: (n, channels, height, width), bytes or floating, not normalised.
        labels: int64 (n,).
        indices: int64 (n,), the position in the published file or source; increasing, so never sorted by class.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.labels) == len(self.indices):
            sizes = (len(self.images), len(self.labels), len(self.indices))
            raise invalid("Split()", "given as many labels and indices as images", sizes)

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, positions: Tensor) -> Split:
        """The examples at these positions.

        Example:
            >>> whole = Split(torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 0]), torch.tensor([4, 5, 6]))
            >>> whole.pick(torch.tensor([0, 2])).indices
            tensor([4, 6])
        """
        return Split(self.images[positions], self.labels[positions], self.indices[positions])

    def to(self, device: torch.device | str) -> Split:
        """The same on another device."""
        return Split(self.images.to(device), self.labels.to(device), self.indices.to(device))


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Train, validation and test images with all that is needed to feed them to a network.

    The validation split is carved from the training images: choosing a model never looks at the test split.

    Attributes:
        name: The name in :data:`~flowprune.data.DATASETS`.
        num_classes: Labels are 0 to num_classes - 1.
        train: Indices count in the published training images (in all images, where none are published apart).
        valid: As train.
        test: Indices count in the published test images.
        normalise: Pixels to network inputs.
        augment: The customary augmentation of training batches; None for none.
        fingerprint: SHA-256 of the pixels, labels and indices of all splits.
    """

    name: str
    num_classes: int
    train: Split
    valid: Split
    test: Split
    normalise: Normalise
    augment: Augment | None
    fingerprint: str

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, as used by ``normalise``."""
        return self.normalise.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, as used by ``normalise``."""
        return self.normalise.std

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return tuple(self.train.images.shape[1:])

    def split(self, name: str) -> Split:
        """``train``, ``valid`` or ``test``, by name.

        Raises:
            UnknownNameError: another name.
        """
        splits = {"train": self.train, "valid": self.valid, "test": self.test}
        if name not in splits:
            raise unknown(f"the dataset {self.name}", name, splits)
        return splits[name]

    def inputs(self, name: str) -> Tensor:
        """All images of a split, normalised, without augmentation: (n, channels, height, width), floating."""
        return self.normalise(self.split(name).images)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same on another device; the fingerprint stays."""
        splits = {name: self.split(name).to(device) for name in ("train", "valid", "test")}
        return replace(self, **splits)

    def __repr__(self) -> str:
        sizes = f"train={len(self.train)}, valid={len(self.valid)}, test={len(self.test)}"
        return f"ImageSet({self.name}, {sizes}, shape={self.shape}, fingerprint={self.fingerprint[:12]})"


def content_fingerprint(*splits: Split) -> str:
    """SHA-256, in hexadecimal, over type, shape and bytes of all pixels, labels and indices in order.

    Example:
        >>> a = Split(torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]), torch.arange(2))
        >>> content_fingerprint(a) == content_fingerprint(a.pick(torch.tensor([1, 0])))
        False
    """
    digest = hashlib.sha256()
    for split in splits:
        for tensor in (split.images, split.labels, split.indices):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().cpu().numpy().data)
    return digest.hexdigest()
