"""Which mean and deviation a set is normalised with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from flowprune.core.errors import invalid, unknown
from flowprune.data.image_set import Normalise

Normalisation = Literal["statistics", "half"]
"""The set's own mean and deviation, or 0.5 and 0.5 for each channel, as the code of arXiv 2009.11839 does."""
PART = 1 << 22
"""Pixels that are counted at a time, for which they become numbers of eight bytes."""


def choose(where: str, name: str, statistics: Callable[[], Normalise], channels: int) -> Normalise:
    """The normalisation by name, of pixels from 0 to 255.

    Raises:
        UnknownNameError: another name.

    Example:
        >>> choose("mnist(normalisation=)", "half", lambda: Normalise((0.1307,), (0.3081,), scale=255.0), 1)
        Normalise(mean=(0.5,), std=(0.5,), scale=255.0)
    """
    half = (0.5,) * channels
    choices = {"statistics": statistics, "half": lambda: Normalise(half, half, scale=255.0)}
    if name not in choices:
        raise unknown(where, name, choices)
    return choices[name]()


def measured(where: str, images: np.ndarray) -> Normalise:
    """Mean and deviation of each channel, over all images and pixels, of bytes as numbers from 0 to 1.

    Formula: mean = Σ v n_v / n and std² = Σ (v - mean)² n_v / n, with n_v the number of pixels of value v. Counting
    is exact, and needs no floating copy of the images.

    Shapes: uint8 (n, channels, h, w).

    Raises:
        ValueError: all pixels of a channel are equal, so that there is no deviation to divide by.

    Example:
        >>> measured("image_folder()", np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1))
        Normalise(mean=(0.5,), std=(0.5,), scale=255.0)
    """
    counts = np.zeros((images.shape[1], 256), np.int64)
    step = max(1, PART // images[0, 0].size)
    for begin in range(0, len(images), step):
        for channel in range(images.shape[1]):
            counts[channel] += np.bincount(images[begin : begin + step, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    total = counts.sum(1)
    mean = (counts * values).sum(1) / total
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(1) / total)
    if not std.all():
        todo = "Pass normalisation='half'."
        raise invalid(where, "given training images that vary in each channel", f"std {std.tolist()}", todo)
    return Normalise(tuple(mean.tolist()), tuple(std.tolist()), scale=255.0)
