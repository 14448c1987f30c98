"""Figure: how far measures agree while the dense network trains, and when their masks settle."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flowprune.report.figures.lines import LABEL, End, ends, line, over_epochs, rules
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import PLAIN
from flowprune.report.figures.sheet import Sheet, Width, columns, head
from flowprune.report.needs import Needs
from flowprune.report.sentences.correlation import caption, say
from flowprune.report.shapes.correlation import Correlation, Distance, Pair, correlation
from flowprune.report.shapes.curves import Series
from flowprune.report.theme import INK, MUTED, SERIES, Style, styles
from flowprune.report.wording import percent, plain

# Statistics are no measures: none of these has a measure's colour.
LOOKS = {
    "spearman": ("Spearman", Style(INK, "")),
    "pearson": ("Pearson", Style(MUTED, "", dashed=True)),
    "by_layer": ("within layers", Style(SERIES[6], "")),
}
NEEDS = Needs("correlation", "record.track.every", "--study lubana2021_small", runs="dense")
Lines = Sequence[tuple[Series, Style, str]]


def draw(records: Correlation, width: Width) -> Figure:
    """A panel for each pair of measures, then one for the masks."""
    most = max(3, len(records.distances))
    count = len(records.pairs) + bool(records.distances)
    panels = Panels(count, columns(count, width, 2), plot=max(230.0, LABEL * most), left=38, right=188)
    page = panels.sheet(width)
    for index, pair in enumerate(records.pairs):
        _agreement(page, panels.axes(page, index), records, pair)
    if records.distances:
        _masks(page, panels.axes(page, count - 1), records)
    return page.figure


def _agreement(page: Sheet, axes: Axes, records: Correlation, pair: Pair) -> None:
    found = [(getattr(pair, key), style, words) for key, (words, style) in LOOKS.items()]
    shown = [each for each in found if each[0] is not None]
    values = [value.mean for each, _, _ in shown for value in each.values]
    _lines(axes, records, shown)
    axes.set_ylim(min(-0.05, *values) - 0.03, max(1.0, *values) + 0.03)
    axes.axhline(0, color=MUTED, linewidth=0.7, alpha=0.6, zorder=0.8)
    head(page, axes, "Correlation of scores", f"{plain(pair.a)} and {plain(pair.b)}")
    ends(
        axes,
        [End(each.last.mean, f"{words} {each.last.mean:.2f}".replace("-", "−"), style) for each, style, words in shown],
    )


def _masks(page: Sheet, axes: Axes, records: Correlation) -> None:
    known = styles(distance.measure for distance in records.distances)
    shown: list[tuple[Series, Style, str]] = []
    for distance in records.distances:
        plain_style = known[distance.measure]
        style = Style(plain_style.colour, "", dashed=distance.to != "previous")
        shown.append((distance.series, style, _name(distance)))
    _lines(axes, records, shown)
    highest = max(value.mean + (value.std or 0.0) for each, _, _ in shown for value in each.values)
    axes.set_ylim(-0.02 * (highest or 1.0), 1.05 * (highest or 1.0))
    at = "" if records.sparsity is None else f" at {percent(records.sparsity, 0)} sparsity"
    head(page, axes, f"Mask distance{at}", "share of units; solid: to the previous mask")
    ends(axes, [End(each.last.mean, words, style) for each, style, words in shown])


def _name(distance: Distance) -> str:
    return f"{plain(distance.measure)}, to {distance.to}"


def _lines(axes: Axes, records: Correlation, shown: Lines) -> None:
    rules(axes, records.drops, dashed=True)
    for each, style, _ in shown:
        line(axes, each.epochs, each.values, style)
    over_epochs(axes, [e for each, _, _ in shown for e in each.epochs], _rules(records))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(PLAIN)


def _rules(records: Correlation) -> str:
    return "dashed: the learning rate falls" if records.drops else ""


PICTURE = Picture("Agreement of measures during training", NEEDS, correlation, say, caption, draw)
