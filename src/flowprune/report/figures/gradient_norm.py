"""Figure: train loss and test accuracy by epoch where the gradient norm was increased, and where it was preserved."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from flowprune.report.figures.lines import LABEL, End, ends, line, over_epochs, reach, rules
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import PLAIN, accuracy_axis, log_ticks, stretched
from flowprune.report.figures.sheet import Sheet, Width, columns, head
from flowprune.report.looks import looks
from flowprune.report.needs import Needs
from flowprune.report.sentences.gradient_norm import caption, say
from flowprune.report.shapes.curves import Curve
from flowprune.report.shapes.gradient_norm import MEASURES, GradientNorm, Track, gradient_norm
from flowprune.report.theme import Style
from flowprune.report.wording import cut_in, figures

NEEDS = Needs("epoch", "prune.measure", "--study lubana2021_small", measures=("dense", *MEASURES), most_rounds=True)
Found = Mapping[Track, Curve]


def draw(records: GradientNorm, width: Width) -> Figure:
    """A panel for the train loss and one for test accuracy."""
    losses = {track: track.loss for track in records.tracks if track.loss}
    accuracies = {track: track.accuracy for track in records.tracks if track.accuracy}
    count = bool(losses) + bool(accuracies)
    tall = max(270.0, LABEL * len(records.tracks))
    panels = Panels(count, columns(count, width, 2), plot=tall, left=38, right=176)
    page = panels.sheet(width)
    known = looks(track.variant.config for track in records.tracks)
    styles = {track: known[track.variant.config] for track in records.tracks}
    if losses:
        _losses(page, panels.axes(page, 0), records, losses, styles)
    if accuracies:
        _accuracies(page, panels.axes(page, count - 1), records, accuracies, styles)
    return page.figure


def _lines(axes: Axes, records: GradientNorm, found: Found, styles: Mapping[Track, Style]) -> None:
    rules(axes, records.cuts)
    for track, curve in found.items():
        line(axes, curve.epochs, curve.values, styles[track], thick=2.2 if curve.config.dense else 1.7)
    epochs = (epoch for curve in found.values() for epoch in curve.epochs)
    over_epochs(axes, epochs, "dotted: after a cut" if records.cuts else "")


def _losses(page: Sheet, axes: Axes, records: GradientNorm, found: Found, styles: Mapping[Track, Style]) -> None:
    _lines(axes, records, found, styles)
    low, high = reach(value for curve in found.values() for value in curve.values)
    if low > 0:
        axes.set_yscale("log")
        axes.set_ylim(0.97 * low, 1.03 * high)
        axes.yaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PLAIN)
    scale = ", logarithmic" if low > 0 else ""
    head(page, axes, "Train loss", f"nats{scale}; cut in {cut_in(records.rounds)}")
    ends(axes, [End(c.last.mean, f"{t.variant.name}: {figures(c.last.mean)}", styles[t]) for t, c in found.items()])


def _accuracies(page: Sheet, axes: Axes, records: GradientNorm, found: Found, styles: Mapping[Track, Style]) -> None:
    _lines(axes, records, found, styles)
    low, high = reach(value for curve in found.values() for value in curve.values)
    accuracy_axis(axes, low, high)
    stretch = " (stretched towards 100)" if stretched(high) else ""
    head(page, axes, "Test accuracy", f"%; cut in {cut_in(records.rounds)}{stretch}")
    ends(axes, [End(c.last.mean, f"{t.variant.name}: {100 * c.last.mean:.1f}", styles[t]) for t, c in found.items()])


PICTURE = Picture("Increasing or preserving the gradient norm", NEEDS, gradient_norm, say, caption, draw)
