"""Batches of a set of images that lies on one device as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.core.seeds import stream
from flowprune.data.augmentation import Augment, Shifts, crop, draw, padded
from flowprune.data.image_set import ImageSet

Batch = tuple[Tensor, Tensor]


def _as_they_are(images: Tensor) -> Tensor:
    return images if images.is_floating_point() else images.to(torch.float32)


@dataclass(frozen=True, eq=False)
class Batches:
    """(inputs, targets) batches of one epoch: iterate as often as you like, they are the same every time.

    Order comes from the stream ``derive(seed, "order", epoch)`` and augmentation from
    ``derive(seed, "augment", epoch)``: neither disturbs the other, and any epoch can be had without the ones
    before it. The last batch may be smaller; no example is left out.

    Attributes:
        pixels: (n, h, w, c), with a border of ``augment.padding`` around h and w where there is augmentation.
        labels: int64 (n,).
        size: Examples in a batch.
        seed: None keeps the stored order.
        augment: None for none.
        normalise: Pixels to network inputs.
        indices: int64 (n,), where each example stands in what they were taken from, in stored order.
        epoch: Which epoch's order and augmentation.

    Shapes: batches of (b, c, h, w), floating and channels-last in memory, and int64 (b,).
    """

    pixels: Tensor
    labels: Tensor
    size: int
    seed: int | None
    augment: Augment | None
    normalise: Callable[[Tensor], Tensor]
    indices: Tensor
    epoch: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise invalid("batches(batch=)", ">= 1", self.size)
        if self.augment is not None and self.seed is None:
            raise invalid("batches(seed=)", "a number where there is augmentation", self.seed)

    def at(self, epoch: int) -> Batches:
        """The batches of another epoch. Pass this method itself to :func:`flowprune.train.fit`.

        Example:
            >>> data = batches(torch.zeros(4, 1, 2, 2), torch.arange(4), batch=4, seed=0)
            >>> [labels.tolist() for _, labels in data.at(1)] == [labels.tolist() for _, labels in data.at(1)]
            True
        """
        return replace(self, epoch=epoch)

    def order(self) -> Tensor:
        """Positions in stored order, as they are served: int64 (n,) on the CPU."""
        n = len(self.labels)
        if self.seed is None:
            return torch.arange(n)
        return torch.randperm(n, generator=stream(self.seed, "order", self.epoch))

    def __len__(self) -> int:
        return (len(self.labels) + self.size - 1) // self.size

    def __iter__(self) -> Iterator[Batch]:
        return self.starting(0)

    def starting(self, first: int) -> Iterator[Batch]:
        """The batches from number ``first`` on: what a run that stopped inside an epoch still has to see."""
        n, device = len(self.labels), self.pixels.device
        order = self.order().to(device)
        shifts = self._shifts(n, device)
        for begin in range(first * self.size, n, self.size):
            chosen = order[begin : begin + self.size]
            pixels = self.pixels[chosen] if shifts is None else self._cropped(chosen, shifts, begin)
            yield self.normalise(pixels.permute(0, 3, 1, 2)), self.labels[chosen]

    def _shifts(self, n: int, device: torch.device) -> Shifts | None:
        if self.augment is None or self.seed is None:
            return None
        return draw(self.augment, n, seed=self.seed, epoch=self.epoch, device=device)

    def _cropped(self, chosen: Tensor, shifts: Shifts, begin: int) -> Tensor:
        border = 2 * self.augment.padding if self.augment is not None else 0
        size = (self.pixels.shape[1] - border, self.pixels.shape[2] - border)
        part = slice(begin, begin + len(chosen))
        own = Shifts(shifts.down[part], shifts.right[part], shifts.mirrored[part])
        return crop(self.pixels, chosen, size=size, shifts=own)


def batches(
    images: Tensor,
    labels: Tensor,
    *,
    batch: int,
    seed: int | None = None,
    augment: Augment | None = None,
    normalise: Callable[[Tensor], Tensor] | None = None,
) -> Batches:
    """Batches of any images, in an order of their own for each epoch, or as stored where ``seed`` is None.

    Shapes: images (n, c, h, w), bytes or floating; labels (n,).

    Raises:
        ValueError: a batch size below 1, no images, another number of labels, or augmentation without a seed.

    Example:
        >>> data = batches(torch.zeros(5, 1, 2, 2), torch.arange(5), batch=2)
        >>> [labels.tolist() for _, labels in data]
        [[0, 1], [2, 3], [4]]
    """
    if images.ndim != 4 or len(images) == 0 or len(images) != len(labels):
        shapes = (tuple(images.shape), tuple(labels.shape))
        raise invalid("batches(images=)", "(n, channels, h, w) with n > 0 labels", shapes)
    border = 0 if augment is None else augment.padding
    pixels = padded(images.permute(0, 2, 3, 1), border)
    indices = torch.arange(len(labels))
    return Batches(pixels, labels, batch, seed, augment, normalise or _as_they_are, indices)


def training_batches(dataset: ImageSet, *, batch: int = 128, seed: int = 0, augment: bool = True) -> Batches:
    """The training split, shuffled anew each epoch, with the dataset's own augmentation unless told otherwise.

    Example:
        >>> from flowprune.data.gaussian import gaussians
        >>> len(training_batches(gaussians(), batch=100))
        7
    """
    train = dataset.train
    own = dataset.augment if augment else None
    made = batches(train.images, train.labels, batch=batch, seed=seed, augment=own, normalise=dataset.normalise)
    return replace(made, indices=train.indices)
