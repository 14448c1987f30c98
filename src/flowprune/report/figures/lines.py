"""Lines over epochs: a mean with its band, rules at moments, and labels beside the line ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from flowprune.report.figures.marks import dodge
from flowprune.report.figures.sheet import SMALL, grid, text_width
from flowprune.report.spread import Spread
from flowprune.report.theme import INK, MUTED, Style

LABEL = 15.0
DASHES = (0, (5, 2))
DOTS = (0, (1, 2.5))


@dataclass(frozen=True)
class End:
    """A label at the right edge, tied to the line that ends at ``height``. A marker of ``""`` is a stroke."""

    height: float
    words: str
    style: Style


def line(axes: Axes, epochs: Sequence[float], values: Sequence[Spread], style: Style, *, thick: float = 1.7) -> None:
    """Means as a line, one standard deviation to either side as a band."""
    mean = np.asarray([value.mean for value in values])
    std = np.asarray([value.std or 0.0 for value in values])
    dash = DASHES if style.dashed else "solid"
    axes.fill_between(epochs, mean - std, mean + std, color=style.colour, alpha=0.11, linewidth=0)
    axes.plot(epochs, mean, color=style.colour, linewidth=thick, linestyle=dash, zorder=2.5)
    if len(epochs) == 1:  # no line: a point
        axes.plot(epochs, mean, color=style.colour, marker="o", markersize=3.5, zorder=2.5)


def reach(values: Iterable[Spread]) -> tuple[float, float]:
    """The lowest and the highest end of any band.

    Example:
        >>> reach([Spread(0.5, 0.1, 3), Spread(0.7, None, 1)])
        (0.4, 0.7)
    """
    found = list(values)
    return (
        min(value.mean - (value.std or 0.0) for value in found),
        max(value.mean + (value.std or 0.0) for value in found),
    )


def rules(axes: Axes, epochs: Iterable[int], *, dashed: bool = False) -> None:
    """A thin upright rule after each epoch: dotted, or dashed."""
    for epoch in epochs:
        axes.axvline(epoch, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)) if dashed else DOTS, zorder=0.5)


def over_epochs(axes: Axes, epochs: Iterable[int], words: str = "") -> None:
    """An axis of epochs up to the last one, where the labels begin; ``words`` explain rules."""
    found = list(epochs)
    first, last = min(found), max(found)
    axes.set_xlim(first - 0.03 * ((last - first) or 10), last)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=2))
    axes.set_xlabel("epoch" + (f" ({words})" if words else ""), loc="left")
    grid(axes)


def beside(labels: Iterable[str], least: float) -> float:
    """The room that labels beside the line ends take, at least ``least``. Units: pixels."""
    return max(least, *(27 + text_width(label) for label in labels))


def ends(axes: Axes, found: Sequence[End]) -> None:
    """Labels beside the line ends, moved apart where they would overlap, each tied to its end by a thin line."""
    page = axes.get_figure(root=True)
    if page is None:
        return
    to_page = axes.transData + page.transFigure.inverted()
    unit_x, unit_y = 1 / page.bbox.width, 1 / page.bbox.height
    box = axes.get_position()
    # A line that leaves the panel is labelled at the edge it leaves by.
    heights = [min(box.y1, max(box.y0, float(to_page.transform((0, end.height))[1]))) for end in found]
    for end, start, label in zip(found, heights, dodge(heights, LABEL * unit_y, box.y0), strict=True):
        style = end.style
        joint = [box.x1 + unit_x, box.x1 + 15 * unit_x], [start, label]
        page.add_artist(Line2D(*joint, color=style.colour, linewidth=1, alpha=0.7))
        if style.marker:
            marker = "o" if style.marker == "_" else style.marker
            page.add_artist(Line2D([box.x1 + 19 * unit_x], [label], marker=marker, markersize=5.5, color=style.colour))
        else:
            stroke = [box.x1 + 13 * unit_x, box.x1 + 25 * unit_x], [label, label]
            dash = (0, (2, 1)) if style.dashed else "solid"
            page.add_artist(Line2D(*stroke, color=style.colour, linewidth=1.7, linestyle=dash))
        page.text(box.x1 + 27 * unit_x, label, end.words, fontsize=SMALL, color=INK, va="center_baseline")
