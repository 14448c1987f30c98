"""The first convolution of a network for small images."""

from __future__ import annotations

from typing import Final

from flowprune.core.errors import unknown

STEMS: Final[dict[str, int]] = {"cifar": 1, "tiny_imagenet": 2}
"""The stride of a 3x3 first convolution: 32x32 images are read whole, and 64x64 images cost no more than those."""


def stem_stride(stem: str) -> int:
    """The stride that this stem has.

    Raises:
        UnknownNameError: an unknown stem; the message lists them.

    Example:
        >>> stem_stride("cifar"), stem_stride("tiny_imagenet")
        (1, 2)
    """
    if stem not in STEMS:
        raise unknown("STEMS", stem, STEMS)
    return STEMS[stem]
