"""Figure: loss lost by pruning against accuracy after training again, and against what was predicted of it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from flowprune.report.figures.lines import DASHES
from flowprune.report.figures.marks import KEY_LINE, fills, key, key_height, points
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import PLAIN, accuracy_axis, identity_axes, log_ticks, stretched
from flowprune.report.figures.sheet import PIXELS, SMALL, Sheet, Width, columns, grid, head
from flowprune.report.looks import Looks, looks
from flowprune.report.needs import Needs
from flowprune.report.sentences.preservation import caption, say
from flowprune.report.shapes.preservation import CHANGE, FINAL, Point, Preservation, preservation
from flowprune.report.shapes.runs import all_rounds
from flowprune.report.spread import Spread
from flowprune.report.theme import INK, MUTED

SMALLEST, LARGEST = 4.0, 8.5
"""Marks, by the penalty. Units: points."""
MEASURED = "measured_loss_change"
ORDERS = (
    ("predicted_loss_change", "To first order", "predicted, gᵀδ"),
    ("predicted_loss_change_second", "To second order", "predicted, gᵀδ + ½ Σ d δ²"),
)
Placed = tuple[Point, Spread, Spread]
Sizes = dict[float, float]


def draw(records: Preservation, width: Width) -> Figure:
    """A panel of accuracy against ΔL, and one of measured against predicted for each order that is known."""
    known = looks(records.configs)
    sizes, solid = _sizes(records.penalties), fills(all_rounds(records.configs))
    shown = [(words, placed) for name, *words in ORDERS if (placed := _placed(records.points, name, MEASURED))]
    count = 1 + len(shown)
    top = key_height(records.configs, PIXELS[width]) + 8
    panels = Panels(count, columns(count, width, 3), plot=240, left=46, right=16, foot=42, top=top)
    page = panels.sheet(width)
    key(page, (0, KEY_LINE - 6), records.configs, known)
    _ends(page, panels.axes(page, 0), records, known, sizes, solid)
    for index, (words, placed) in enumerate(shown, start=1):
        axes = panels.axes(page, index)
        identity_axes(axes, [x.mean for _, x, _ in placed], [y.mean for _, _, y in placed])
        _marks(axes, placed, known, sizes, solid)
        axes.set_xlabel(words[1], loc="left")
        grid(axes, x=True)
        head(page, axes, words[0], "ΔL measured; dashed: equal")
    return page.figure


def _sizes(penalties: Sequence[float]) -> Sizes:
    step = (LARGEST - SMALLEST) / max(1, len(penalties) - 1)
    return {penalty: SMALLEST + step * index for index, penalty in enumerate(penalties)}


def _placed(found: Sequence[Point], x: str, y: str) -> list[Placed]:
    pairs = [(point, point.spread(x), point.spread(y)) for point in found]
    return [(point, a, b) for point, a, b in pairs if a is not None and b is not None]


def _marks(axes: Axes, placed: Sequence[Placed], known: Looks, sizes: Sizes, solid: dict[int, float]) -> None:
    for point, x, y in sorted(placed, key=lambda each: -each[0].penalty):  # small marks over large ones
        style = known[point.config]
        bars = [None if each.std is None else [each.std] for each in (x, y)]
        axes.errorbar([x.mean], [y.mean], xerr=bars[0], yerr=bars[1], fmt="none", ecolor=style.colour,
                      elinewidth=0.7, alpha=0.45, zorder=2)  # fmt: skip
        fill = solid.get(point.config.rounds, 1.0)
        points(axes, [x.mean], [y.mean], style=style, fill=fill, size=sizes[point.penalty])


def _ends(page: Sheet, axes: Axes, records: Preservation, known: Looks, sizes: Sizes, solid: dict[int, float]) -> None:
    placed = _placed(records.points, CHANGE, FINAL)
    _marks(axes, placed, known, sizes, solid)
    ends = [y for _, _, y in placed] + ([records.dense] if records.dense is not None else [])
    low, high = min(y.mean - (y.std or 0.0) for y in ends), max(y.mean + (y.std or 0.0) for y in ends)
    best = max(y.mean for y in ends)
    accuracy_axis(axes, low, min(high, 1 - 0.3 * (1 - best)))
    _loss_axis(axes, [x for _, x, _ in placed])
    if records.dense is not None:
        _dense(axes, records.dense)
    axes.set_xlabel("ΔL on the training set", loc="left")
    grid(axes, x=True)
    unit = "test accuracy, %" + (" (stretched towards 100)" if stretched(best) else "")
    head(page, axes, "After the second training", unit)


def _loss_axis(axes: Axes, changes: Sequence[Spread]) -> None:
    """Logarithmic where all are positive and far apart."""
    low, high = (end(change.mean for change in changes) for end in (min, max))
    axes.xaxis.set_minor_locator(NullLocator())
    if low > 0 and high / low > 8:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.3, high * 1.3)
        axes.set_xticks(log_ticks(low / 1.3, high * 1.3))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        room = 0.08 * (high - low or abs(high) or 1.0)
        axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(PLAIN)


def _dense(axes: Axes, value: Spread) -> None:
    axes.axhline(value.mean, color=MUTED, linewidth=1.1, linestyle=DASHES, zorder=1)
    axes.annotate(
        "before pruning",
        (1, value.mean),
        xycoords=("axes fraction", "data"),
        xytext=(-3, -4),
        textcoords="offset points",
        fontsize=SMALL,
        color=INK,
        ha="right",
        va="top",
    )


NEEDS = Needs("pruned", "prune.measure", "--study laurent2020-mlp-small", runs="pruned")
PICTURE = Picture("Loss lost by pruning, and accuracy after training again", NEEDS, preservation, say, caption, draw)
