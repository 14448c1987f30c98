"""Axis scales chosen from the data: accuracy near 100 %, symmetric logarithms, the identity line."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from flowprune.report.theme import MUTED

LEAST_ERROR = 5e-4
SPARSE = 0.02
"""Below this share of a layer, a linear axis of shares hides what is left."""
TICKS = (
    (1 - LEAST_ERROR, 0.999, 0.99, 0.9, 0.0),
    (0.5, 0.95, 0.98, 0.8, 0.995, 0.998, 0.7, 0.2),
    tuple(round(0.99 - 0.01 * i, 2) for i in range(50)),
    (0.985, *(round(0.999 - 0.001 * i, 3) for i in range(10))),
)


def stretched(best: float) -> bool:
    """Whether accuracies come so near to 100 % that a linear axis would hide the differences.

    Example:
        >>> stretched(0.98), stretched(0.62)
        (True, False)
    """
    return best > 0.9


def accuracy_axis(axes: Axes, low: float, high: float) -> None:
    """A vertical axis of accuracy in percent; above 90 % equal steps are equal ratios of the error."""
    low, high = max(0.0, low), min(1.0, high)
    if stretched(high):
        axes.set_yscale("function", functions=(_up, _down))
        top = 1 - max(LEAST_ERROR, (1 - high) * 0.8)
        bottom = 1 - min(1.0, max(4 * LEAST_ERROR, (1 - low) * 1.12))
        axes.set_ylim(bottom, top)
        axes.set_yticks(_ticks(bottom, top))
    else:
        room = 0.04 * max(high - low, 0.02)
        axes.set_ylim(low - room, high + room)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))


def _percent(share: float, _: int | None = None) -> str:
    return "100" if share >= 1 - LEAST_ERROR else f"{100 * share:.4g}"


def _up(share: NDArray[np.float64]) -> NDArray[np.float64]:
    # No error at all has no logarithm: it stands at the top edge, as if it were the least error shown.
    return -np.log10(np.maximum(1 - np.asarray(share, dtype=np.float64), LEAST_ERROR))


def _down(height: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 - 10 ** -np.asarray(height, dtype=np.float64)


def _ticks(bottom: float, top: float) -> list[float]:
    """Ticks in range, none too near to another; the rounder a number, the sooner it gets its tick."""
    least = (math.log10(1 - bottom) - math.log10(1 - top)) / 12
    kept: list[float] = []
    for rank, ticks in enumerate(TICKS):
        if rank > 1 and len(kept) > 3:
            break
        for tick in ticks:
            apart = all(abs(math.log10(1 - tick) - math.log10(1 - other)) >= least for other in kept)
            if bottom <= tick <= top and apart:
                kept.append(tick)
    return sorted(kept)


def share_axis(axes: Axes, shares: Sequence[float], *, most: int) -> None:
    """A horizontal axis of shares in percent; logarithmic where any is below 2 %, with 0 set apart at its left end."""
    least = 100 * min((share for share in shares if share > 0), default=1.0)
    if least >= 100 * SPARSE:
        axes.set_xlim(-2, 104)
        axes.set_xticks([0, 25, 50, 75, 100])
        return
    low, high = 10.0 ** math.floor(math.log10(least)), 140.0
    if min(shares) > 0:
        axes.set_xscale("log")
        axes.set_xlim(max(low, least / 1.6), high)
        axes.set_xticks(log_ticks(max(low, least / 1.6), high, most))
    else:
        axes.set_xscale("symlog", linthresh=low, linscale=0.5)
        axes.set_xlim(-0.15 * low, high)
        axes.set_xticks(decades(0.0, high, low, most))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(PLAIN)


def spans_decades(values: Sequence[float], most: float = 4.0) -> float | None:
    """The threshold of a symmetric logarithm where the sizes span one and a half decades, else None.

    No more than ``most`` decades are drawn: what is smaller lies in the linear part about 0.

    Example:
        >>> spans_decades([0.001, -0.5, 3.0]) is not None, spans_decades([1.0, -2.0, 3.0]) is None
        (True, True)
    """
    sizes = np.sort(np.abs([value for value in values if value != 0]))
    if len(sizes) < 3 or sizes[-1] / sizes[len(sizes) // 10] < 30:
        return None
    return float(10 ** math.floor(math.log10(max(sizes[len(sizes) // 10], sizes[-1] * 10**-most))))


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two positive ones, for a logarithmic axis: whole decades, or 1, 2, 5, or finer ones.

    Example:
        >>> log_ticks(0.09, 20.0), log_ticks(0.8, 2.4)
        ([0.1, 1.0, 10.0], [0.8, 1.0, 1.2, 1.5, 2.0])
    """
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0))
    found: list[float] = []
    for multiples in steps:
        ticks = sorted(round(m * 10.0**p, 12 - p) for p in powers for m in multiples)
        finer = [tick for tick in ticks if low <= tick <= high]
        if len(finer) > most and len(found) > 1:
            break
        found = finer
        if len(found) >= 3:
            break
    return found[:: max(1, math.ceil(len(found) / most))] or [low, high]


def identity_axes(axes: Axes, xs: Sequence[float], ys: Sequence[float]) -> bool:
    """Equal limits on both axes and the line of equality; returns whether the scale is logarithmic."""
    values = [*xs, *ys]
    threshold = spans_decades(values)
    low, high = min(values), max(values)
    room = 0.06 * (high - low or abs(high) or 1.0)
    if threshold is not None:
        axes.set_xscale("symlog", linthresh=threshold)
        axes.set_yscale("symlog", linthresh=threshold)
        low, high = low * (1.8 if low < 0 else 0.6), high * (1.8 if high > 0 else 0.6)
        low, high = min(low, 0.0), max(high, 0.0)
        room = 0.0
    limits = (low - room, high + room)
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    axes.set_aspect("equal")
    axes.set_anchor("W")
    axes.plot(limits, limits, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        if threshold is not None:
            axis.set_ticks(decades(*limits, threshold))
        axis.set_major_formatter(PLAIN)
    return threshold is not None


def plain_number(value: float, position: int | None = None) -> str:
    """A tick label without trailing zeros, with a true minus.

    Example:
        >>> plain_number(-0.010), plain_number(1000.0), plain_number(1e5), plain_number(0.0)
        ('−0.01', '1000', '1e5', '0')
    """
    del position  # matplotlib gives it to every formatter
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    return (f"{mantissa}e{int(exponent)}" if exponent else mantissa).replace("-", "−")


PLAIN = FuncFormatter(plain_number)


def decades(low: float, high: float, threshold: float, most: int = 4) -> list[float]:
    """Ticks for a symmetric logarithm: 0 and powers of ten on either side, thinned evenly.

    Example:
        >>> decades(-10.0, 100.0, 1.0, most=7)
        [-10.0, -1.0, 0.0, 1.0, 10.0, 100.0]
    """
    first = round(math.log10(threshold))
    up = [10.0**p for p in range(first, 60) if 10.0**p <= high]
    down = [-(10.0**p) for p in range(first, 60) if 10.0**p <= -low]
    step = max(1, math.ceil((len(up) + len(down)) / most))
    return sorted([*down[::-1][::step], 0.0, *up[::-1][::step]])
