"""Figure: accuracy by epoch, one panel for each number of rounds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from flowprune.report.figures.marks import dodge
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import accuracy_axis, stretched
from flowprune.report.figures.sheet import SMALL, Sheet, Width, columns, grid, head
from flowprune.report.sentences.accuracy import caption, say
from flowprune.report.shapes.accuracy import Accuracy, Curve, accuracy
from flowprune.report.theme import INK, MUTED, Style, styles
from flowprune.report.wording import cut_in

LABEL = 15.0


def draw(records: Accuracy, width: Width) -> Figure:
    """Mean lines, bands of one standard deviation, labels at the line ends, rules at the cuts."""
    tall = max(250.0, LABEL * max(len(records.panel(rounds)) for rounds in records.rounds))
    grid_of = Panels(len(records.rounds), columns(len(records.rounds), width, 2), plot=tall, left=34, right=184)
    page = grid_of.sheet(width)
    looks = styles(curve.config.measure for curve in records.curves)
    for index, rounds in enumerate(records.rounds):
        _panel(page, grid_of.axes(page, index), records, rounds, looks)
    return page.figure


def _panel(page: Sheet, axes: Axes, records: Accuracy, rounds: int, looks: Mapping[str, Style]) -> None:
    curves = records.panel(rounds)
    for epoch in records.cuts.get(rounds, ()):
        axes.axvline(epoch, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=0.5)
    for curve in curves:
        _curve(axes, curve, looks[curve.config.measure])
    means = [value.mean for curve in records.curves for value in curve.values]
    accuracy_axis(axes, min(means), max(means))
    last = max(epoch for curve in curves for epoch in curve.epochs)
    first = min(epoch for curve in curves for epoch in curve.epochs)
    axes.set_xlim(first - 0.03 * ((last - first) or 10), last)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=2))
    axes.set_xlabel("epoch" + (" (dotted: after a cut)" if records.cuts.get(rounds) else ""), loc="left")
    grid(axes)
    head(page, axes, f"Cut in {cut_in(rounds)}" if rounds else "Dense", _unit(records, max(means)))
    _ends(axes, curves, looks)


def _unit(records: Accuracy, best: float) -> str:
    return f"{records.split} accuracy, %" + (" (stretched towards 100)" if stretched(best) else "")


def _curve(axes: Axes, curve: Curve, style: Style) -> None:
    mean = np.asarray([value.mean for value in curve.values])
    std = np.asarray([value.std or 0.0 for value in curve.values])
    thick = 2.2 if curve.config.dense else 1.7
    dash = (0, (5, 2)) if style.dashed else "solid"
    axes.fill_between(curve.epochs, mean - std, mean + std, color=style.colour, alpha=0.11, linewidth=0)
    axes.plot(curve.epochs, mean, color=style.colour, linewidth=thick, linestyle=dash, zorder=2.5)


def _ends(axes: Axes, curves: tuple[Curve, ...], looks: Mapping[str, Style]) -> None:
    """Labels beside the line ends, moved apart where they would overlap, each tied to its end by a thin line."""
    page = axes.get_figure(root=True)
    if page is None:
        return
    to_page = axes.transData + page.transFigure.inverted()
    unit_x, unit_y = 1 / page.bbox.width, 1 / page.bbox.height
    right = axes.get_position().x1
    heights = [float(to_page.transform((0, curve.last.mean))[1]) for curve in curves]
    for curve, start, label in zip(
        curves, heights, dodge(heights, LABEL * unit_y, axes.get_position().y0), strict=True
    ):
        style = looks[curve.config.measure]
        joint = Line2D(
            [right + unit_x, right + 15 * unit_x], [start, label], color=style.colour, linewidth=1, alpha=0.7
        )
        page.add_artist(joint)
        marker = "o" if style.marker == "_" else style.marker
        page.add_artist(Line2D([right + 19 * unit_x], [label], marker=marker, markersize=5.5, color=style.colour))
        words = f"{curve.config.name} {100 * curve.last.mean:.1f}"
        page.text(right + 27 * unit_x, label, words, fontsize=SMALL, color=INK, va="center_baseline")


PICTURE = Picture("Accuracy by epoch", "epoch", accuracy, say, caption, draw)
