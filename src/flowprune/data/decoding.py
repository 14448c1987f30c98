"""Image files, decoded by Pillow into one array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from PIL import Image

from flowprune.core.errors import invalid
from flowprune.data.damage import damaged

T = TypeVar("T")

GREY: Final = frozenset({"1", "L", "LA"})
DEEP: Final = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
"""More than eight bits a channel; Pillow would cut the greater values off."""


@dataclass(frozen=True)
class Form:
    """What the images shall be.

    Attributes:
        size: The side of the square they are made into, the shorter side scaled and the middle cut out; None keeps
            them as they are, and then all must be of one size.
        channels: 3 for red, green and blue; None for 1 where all images are grey and 3 otherwise.
        remedy: What to do about a file that is no such image.
        expected: Width and height that all must have; None for those of the commonest.
    """

    size: int | None
    channels: int | None
    remedy: str
    expected: tuple[int, int] | None = None


def suffixes() -> frozenset[str]:
    """The endings, in small letters, of files that Pillow reads.

    Example:
        >>> ".png" in suffixes(), ".txt" in suffixes()
        (True, False)
    """
    return frozenset(end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def decode(files: Sequence[Path], form: Form) -> np.ndarray:
    """All images, in order; transparency is dropped, and rotation marks of cameras are not followed.

    Shapes: n files -> uint8 (n, channels, h, w).

    Raises:
        ValueError: a file is no image of eight bits a channel, is damaged, or the images have several sizes and
            ``form.size`` is None.
    """
    grey, sizes = _survey(files, form.remedy)
    channels = form.channels or (1 if grey else 3)
    width, height = (form.size, form.size) if form.size is not None else _one(sizes, form)

    def made(image: Image.Image) -> np.ndarray:
        coloured = image.convert("L" if channels == 1 else "RGB")
        whole = coloured if form.size is None else square(coloured, form.size)
        return np.asarray(whole).reshape(height, width, channels).transpose(2, 0, 1)

    pixels = np.empty((len(files), channels, height, width), np.uint8)
    for number, path in enumerate(files):
        pixels[number] = _read(path, form.remedy, made)
    return pixels


def square(image: Image.Image, size: int) -> Image.Image:
    """The image with its shorter side scaled to ``size``, and the middle of it.

    Example:
        >>> square(Image.new("L", (40, 20)), 5).size
        (5, 5)
    """
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    return scaled.crop((left, top, left + size, top + size))


def _survey(files: Sequence[Path], remedy: str) -> tuple[bool, dict[tuple[int, int], Path]]:
    """Whether all images are grey, and every size with the first image that has it, the commonest first."""
    grey, counts, first = True, Counter[tuple[int, int]](), dict[tuple[int, int], Path]()
    for path in files:
        mode, size = _read(path, remedy, lambda image: (image.mode, image.size))
        if mode in DEEP:
            raise damaged(path, "an image of eight bits a channel", f"one of Pillow's mode {mode}", remedy)
        grey = grey and mode in GREY
        counts[size] += 1
        first.setdefault(size, path)
    return grey, {size: first[size] for size, _ in counts.most_common()}


def _one(sizes: dict[tuple[int, int], Path], form: Form) -> tuple[int, int]:
    """The size that all have."""
    wanted = form.expected or next(iter(sizes))
    others = [f"{width}x{height} ({path})" for (width, height), path in sizes.items() if (width, height) != wanted]
    if others:
        got = ", ".join(others[:3]) + (f" and {len(others) - 3} more sizes" if len(others) > 3 else "")
        todo = form.remedy if form.expected else "Pass size= to make all of them squares of that side."
        raise invalid("the images", f"of one size, {wanted[0]}x{wanted[1]}", got, todo)
    return wanted


def _read(path: Path, remedy: str, use: Callable[[Image.Image], T]) -> T:
    """What is made of an opened image; what goes wrong is told with its path."""
    try:
        with Image.open(path) as image:
            return use(image)
    except MemoryError:
        raise
    except Exception as error:  # the decoders of damaged images raise anything
        raise damaged(path, "an image that Pillow reads, whole", str(error), remedy) from error
