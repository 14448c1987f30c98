"""Random crop and flip of a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from flowprune.core.errors import invalid
from flowprune.core.seeds import stream


@dataclass(frozen=True)
class Augment:
    """Shift by up to ``padding`` pixels, filled with black, and perhaps mirror left to right.

    Attributes:
        padding: Pixels added on each side before the crop back to the image's size.
        flip: Whether half of the images are mirrored. Not for digits.
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise invalid("Augment(padding=)", ">= 0", self.padding)


@dataclass(frozen=True, eq=False)
class Shifts:
    """What happens to each of n images: int64 offsets in [0, 2 padding], and whether it is mirrored."""

    down: Tensor
    right: Tensor
    mirrored: Tensor


def draw(augment: Augment, n: int, *, seed: int, epoch: int, device: torch.device) -> Shifts:
    """The shifts of one epoch, from the stream ``derive(seed, "augment", epoch)``.

    All are drawn at once, so the i-th image of an epoch gets the same shift whatever the batch size and wherever
    a resumed run begins. Drawn on the CPU: the same numbers on every device.

    Example:
        >>> shifts = draw(Augment(padding=0, flip=False), 3, seed=0, epoch=0, device=torch.device("cpu"))
        >>> shifts.down.tolist(), shifts.mirrored.tolist()
        ([0, 0, 0], [False, False, False])
    """
    generator = stream(seed, "augment", epoch)
    reach = 2 * augment.padding + 1
    down, right = torch.randint(reach, (2, n), generator=generator)
    mirrored = torch.rand(n, generator=generator) < 0.5 * augment.flip
    return Shifts(down.to(device), right.to(device), mirrored.to(device))


def padded(pixels: Tensor, padding: int) -> Tensor:
    """A black border of ``padding`` pixels: (n, h, w, c) -> (n, h + 2 padding, w + 2 padding, c).

    Example:
        >>> padded(torch.ones(1, 1, 1, 1), 1)[0, :, :, 0].tolist()
        [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return pad(pixels, (0, 0, padding, padding, padding, padding)).contiguous()


def crop(bordered: Tensor, chosen: Tensor, *, size: tuple[int, int], shifts: Shifts) -> Tensor:
    """Windows of padded images, one per chosen image, each at its own offset.

    All windows are seen at once through strides, so one gather copies every crop of the batch.

    Shapes: ``bordered`` (n, h + 2p, w + 2p, c); ``chosen`` int64 (b,); ``shifts`` of b entries -> (b, h, w, c).

    Example:
        >>> image = torch.arange(9.0).view(1, 3, 3, 1)
        >>> shifts = Shifts(torch.tensor([1]), torch.tensor([2]), torch.tensor([False]))
        >>> crop(image, torch.tensor([0]), size=(1, 1), shifts=shifts).item()
        5.0
    """
    (h, w), (n, height, width, c) = size, bordered.shape
    image, row, column, channel = bordered.stride()
    windows = bordered.as_strided(
        (n, height - h + 1, width - w + 1, h, w, c), (image, row, column, row, column, channel)
    )
    return mirror(windows[chosen, shifts.down, shifts.right], shifts.mirrored)


def mirror(batch: Tensor, mirrored: Tensor) -> Tensor:
    """The batch with some of its images mirrored left to right.

    Shapes: (b, h, w, c), bool (b,) -> (b, h, w, c).

    Example:
        >>> mirror(torch.tensor([1, 2]).view(1, 1, 2, 1), torch.tensor([True])).flatten().tolist()
        [2, 1]
    """
    if batch.is_cuda:  # a boolean index would make the host wait for the device
        return torch.where(mirrored.view(-1, 1, 1, 1), batch.flip(2), batch)
    batch[mirrored] = batch[mirrored].flip(2)
    return batch
