"""Figure: θ·g against θ·Hg of every unit, moments across and temperatures down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import PLAIN, decades, spans_decades
from flowprune.report.figures.sheet import SMALL, Sheet, Width, grid
from flowprune.report.needs import Needs
from flowprune.report.sentences.correlation import number
from flowprune.report.sentences.orders import caption, moment, say
from flowprune.report.shapes.orders import Moment, Orders, orders
from flowprune.report.theme import INK, MUTED, SERIES

EARLY, REST = SERIES[3], SERIES[5]
NEEDS = Needs("scatter", "record.scatter.epochs", "--study lubana2021_small", runs="dense")


def draw(records: Orders, width: Width) -> Figure:
    """A scatter for each moment and temperature; the first third of the layers stands out."""
    across = 1 if width == "narrow" else min(3, len(records.epochs))
    panels = Panels(len(records.moments), across, plot=205, left=56, right=20, top=22)
    page = panels.sheet(width)
    _key(page)
    for index, each in enumerate(records.moments):
        _panel(page, panels.axes(page, index), records, each)
    return page.figure


def _key(page: Sheet) -> None:
    for x, colour, words in ((0.0, EARLY, "first third of the layers"), (165.0, REST, "the other layers")):
        place = [(x + 5) / page.width], [1 - 9 / page.height]
        page.figure.add_artist(Line2D(*place, linestyle="none", marker="o", markersize=5, color=colour))
        page.figure.text((x + 14) / page.width, 1 - 13 / page.height, words, fontsize=SMALL, color=INK)


def _panel(page: Sheet, axes: Axes, records: Orders, each: Moment) -> None:
    for front, colour in ((False, REST), (True, EARLY)):
        own = [point for point in each.points if point.early is front]
        xs, ys = [point.first for point in own], [point.second for point in own]
        axes.plot(xs, ys, "o", color=colour, markersize=3.4, alpha=0.6, markeredgewidth=0)
    _scale(axes, "x", [point.first for point in each.points])
    _scale(axes, "y", [point.second for point in each.points])
    for rule in (axes.axhline, axes.axvline):
        rule(0, color=MUTED, linewidth=0.7, alpha=0.6, zorder=0.8)
    axes.set_xlabel("Σθ·g of a unit; upwards: its Σθ·Hg", loc="left")
    grid(axes, x=True)
    title, box = moment(records, each.epoch), axes.get_position()
    x, top = box.x0 * page.width - 38, (1 - box.y1) * page.height  # two correlations with spreads need the room
    page.write(x, top - 24, f"{title[0].upper()}{title[1:]}, T = {each.temperature:g}", bold=True)
    page.write(x, top - 9, _told(each), muted=True)


def _told(each: Moment) -> str:
    found = [("Pearson", each.pearson), ("Spearman", each.spearman)]
    known = [f"{name} {number(value)}" for name, value in found if value is not None]
    return ", ".join(known) or "correlations undefined"


def _scale(axes: Axes, which: Literal["x", "y"], values: Sequence[float]) -> None:
    """A symmetric logarithm where sizes span decades, with few ticks; linear elsewhere."""
    axis, set_limits = (axes.xaxis, axes.set_xlim) if which == "x" else (axes.yaxis, axes.set_ylim)
    low, high = min(values), max(values)
    room = 0.06 * (high - low or abs(high) or 1.0)
    threshold = spans_decades(values, most=3.0)
    if threshold is None:
        set_limits(low - room, high + room)
        axis.set_major_locator(MaxNLocator(3))
    else:
        limits = (min(1.8 * low, -threshold), max(1.8 * high, threshold))
        (axes.set_xscale if which == "x" else axes.set_yscale)("symlog", linthresh=threshold)
        set_limits(*limits)
        axis.set_ticks(decades(*limits, threshold, most=4 if which == "y" else 3))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(PLAIN)


PICTURE = Picture("First against second order, unit by unit", NEEDS, orders, say, caption, draw)
