"""Figure: train and test accuracy by epoch under magnitude, loss preservation and biased loss."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowprune.report.figures.lines import LABEL, End, ends, line, over_epochs, reach, rules
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import accuracy_axis, stretched
from flowprune.report.figures.sheet import Sheet, Width, columns, head
from flowprune.report.looks import Looks, looks
from flowprune.report.needs import Needs
from flowprune.report.sentences.convergence import caption, say
from flowprune.report.shapes.convergence import MEASURES, Convergence, Split, convergence
from flowprune.report.wording import cut_in

NEEDS = Needs("epoch", "prune.measure", "--study demo", measures=("dense", *MEASURES), most_rounds=True)


def draw(records: Convergence, width: Width) -> Figure:
    """A panel for each split: mean lines with bands, labels at their ends, rules at the cuts."""
    count = len(records.splits)
    tall = max(270.0, LABEL * max(len(split.curves) for split in records.splits))
    panels = Panels(count, columns(count, width, 2), plot=tall, left=34, right=160)
    page = panels.sheet(width)
    known = looks(curve.config for split in records.splits for curve in split.curves)
    for index, split in enumerate(records.splits):
        _panel(page, panels.axes(page, index), records, split, known)
    return page.figure


def _panel(page: Sheet, axes: Axes, records: Convergence, split: Split, known: Looks) -> None:
    rules(axes, records.cuts)
    for curve in split.curves:
        line(axes, curve.epochs, curve.values, known[curve.config], thick=2.2 if curve.config.dense else 1.7)
    low, high = reach(value for curve in split.curves for value in curve.values)
    accuracy_axis(axes, low, high)
    epochs = (epoch for curve in split.curves for epoch in curve.epochs)
    over_epochs(axes, epochs, "dotted: after a cut" if records.cuts else "")
    unit = f"accuracy, %; cut in {cut_in(records.rounds)}" + (" (stretched towards 100)" if stretched(high) else "")
    head(page, axes, f"{split.name.capitalize()} accuracy", unit)
    found = [(curve, known[curve.config]) for curve in split.curves]
    ends(axes, [End(c.last.mean, f"{c.config.name} {100 * c.last.mean:.1f}", style) for c, style in found])


PICTURE = Picture("Convergence after the cuts", NEEDS, convergence, say, caption, draw)
