"""Figure: accuracy against parameters and latency."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from flowprune.report.figures.marks import KEY_LINE, face, fills, key, key_height
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import accuracy_axis, plain_number, stretched
from flowprune.report.figures.sheet import PIXELS, SMALL, Sheet, Width, columns, grid, head
from flowprune.report.looks import Looks, looks
from flowprune.report.needs import Needs
from flowprune.report.sentences.tradeoff import caption, say
from flowprune.report.shapes.tradeoff import Axis, Point, Tradeoff, tradeoff
from flowprune.report.spread import Spread
from flowprune.report.theme import INK, MUTED, Style
from flowprune.report.wording import compact


def draw(records: Tradeoff, width: Width) -> Figure:
    """One scatter for each cost, with error bars; unbeaten configurations ringed and joined."""
    found = list(dict.fromkeys(point.config for axis in records.axes for point in axis.points))
    configs = [config for config in found if not config.dense] or found
    known = looks(found)
    top = key_height(configs, PIXELS[width]) + 8
    panels = Panels(len(records.axes), columns(len(records.axes), width, 2), plot=250, left=38, right=22, top=top)
    page = panels.sheet(width)
    key(page, (0, KEY_LINE - 6), configs, known)
    for index, axis in enumerate(records.axes):
        _panel(page, panels.axes(page, index), axis, known)
    return page.figure


def _panel(page: Sheet, axes: Axes, axis: Axis, known: Looks) -> None:
    dense = [point for point in axis.points if point.config.dense]
    shown = [point for point in axis.points if not point.config.dense] or dense
    solid = fills(sorted({point.config.rounds for point in shown if not point.config.dense}))
    front = sorted(axis.unbeaten(), key=lambda point: point.cost.mean)
    steps = [p.cost.mean for p in front], [p.accuracy.mean for p in front]
    axes.plot(*steps, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), drawstyle="steps-post", zorder=1)
    for point in shown:
        _point(axes, point, known[point.config], fill=solid.get(point.config.rounds, 1.0))
    edges = [v for p in axis.points for v in _ends(p.accuracy)]
    best = max(point.accuracy.mean for point in axis.points)
    # A bar that reaches past 100 % must not stretch the axis to it: it leaves the panel instead.
    accuracy_axis(axes, min(edges), min(max(edges), 1 - 0.3 * (1 - best)))
    costs = [v for p in shown for v in _ends(p.cost)]
    _cost_axis(axes, min(costs), max(costs))
    if shown is not dense:
        for point in dense:
            _dense(axes, point, known[point.config].colour)
    axes.set_xlabel(axis.title, loc="left")
    grid(axes, x=True)
    unit = "final test accuracy, %" + (" (stretched towards 100)" if stretched(best) else "")
    head(page, axes, f"Accuracy against {axis.title.split(',')[0]}", unit)


def _dense(axes: Axes, point: Point, colour: str) -> None:
    """Dense runs cost too much to stand on the same axis: their accuracy is a line, their cost a label."""
    axes.axhline(point.accuracy.mean, color=colour, linewidth=1.4, zorder=1.5)
    axes.axhspan(*_ends(point.accuracy), color=colour, alpha=0.1, linewidth=0, zorder=0.5)
    words = f"dense, at {compact(point.cost.mean)}"
    axes.annotate(
        words,
        (1, point.accuracy.mean),
        xycoords=("axes fraction", "data"),
        xytext=(-3, 4),
        textcoords="offset points",
        fontsize=SMALL,
        color=INK,
        ha="right",
    )


def _ends(value: Spread) -> tuple[float, float]:
    return value.mean - (value.std or 0.0), value.mean + (value.std or 0.0)


def _point(axes: Axes, point: Point, style: Style, *, fill: float) -> None:
    axes.errorbar(
        [point.cost.mean],
        [point.accuracy.mean],
        xerr=None if point.cost.std is None else [point.cost.std],
        yerr=None if point.accuracy.std is None else [point.accuracy.std],
        fmt="o" if style.marker == "_" else style.marker,
        markersize=7.5,
        color=style.colour,
        markerfacecolor=face(style, fill),
        markeredgewidth=1.3,
        elinewidth=1.1,
        zorder=3,
    )


def _cost_axis(axes: Axes, low: float, high: float) -> None:
    if low > 0 and high / low > 4:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.25, high * 1.25)
        axes.xaxis.set_minor_formatter(NullFormatter())
        ticks = [m * 10.0**p for p in range(-6, 16) for m in (1, 2, 5) if low / 1.25 <= m * 10.0**p <= high * 1.25]
        axes.set_xticks(ticks)
    else:
        room = 0.08 * (high - low or high or 1.0)
        axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))


def _tick(value: float, _: int | None = None) -> str:
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return plain_number(value / size) + prefix
    return plain_number(value)


PICTURE = Picture("Accuracy against size and speed", Needs("result"), tradeoff, say, caption, draw)
