"""One factor for all hidden widths."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from flowprune.core.errors import invalid


def scale_by(width: object) -> Callable[[object], int]:
    """A function that multiplies the width of a hidden layer by this factor.

    Formula: ``max(1, round(channels * width))``; a half goes to the even neighbour, as Python rounds.

    Raises:
        ValueError: the factor is no finite number above zero; from the returned function, channels that are no
            whole number >= 1.

    Example:
        >>> [scale_by(0.5)(channels) for channels in (64, 33, 1)]
        [32, 16, 1]
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or not isfinite(width) or not width > 0:
        raise invalid("models.build(width=)", "a finite number > 0", width, "To keep the published widths, pass 1.0.")

    def scaled(channels: object) -> int:
        if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
            raise invalid("the width of a layer", "a whole number >= 1", channels)
        return max(1, round(channels * width))

    return scaled
