"""Figure: accuracy by epoch, one panel for each number of rounds."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowprune.report.figures.lines import LABEL, End, beside, ends, line, over_epochs, reach, rules
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import accuracy_axis, stretched
from flowprune.report.figures.sheet import Sheet, Width, columns, head
from flowprune.report.looks import Looks, looks
from flowprune.report.needs import Needs
from flowprune.report.sentences.accuracy import caption, say
from flowprune.report.shapes.accuracy import Accuracy, accuracy
from flowprune.report.shapes.curves import Curve
from flowprune.report.wording import cut_in


def draw(records: Accuracy, width: Width) -> Figure:
    """Mean lines, bands of one standard deviation, labels at the line ends, rules at the cuts."""
    tall = max(250.0, LABEL * max(len(records.panel(rounds)) for rounds in records.rounds))
    count = len(records.rounds)
    right = beside((_label(curve) for curve in records.curves), least=184)
    grid_of = Panels(count, columns(count, width, 2), plot=tall, left=34, right=right)
    page = grid_of.sheet(width)
    known = looks(curve.config for curve in records.curves)
    for index, rounds in enumerate(records.rounds):
        _panel(page, grid_of.axes(page, index, span=grid_of.rest(index, count)), records, rounds, known)
    return page.figure


def _panel(page: Sheet, axes: Axes, records: Accuracy, rounds: int, known: Looks) -> None:
    found = records.panel(rounds)
    rules(axes, records.cuts.get(rounds, ()))
    for curve in found:
        line(axes, curve.epochs, curve.values, known[curve.config], thick=2.2 if curve.config.dense else 1.7)
    low, high = reach(value for curve in records.curves for value in curve.values)
    accuracy_axis(axes, low, high)
    epochs = (epoch for curve in found for epoch in curve.epochs)
    over_epochs(axes, epochs, "dotted: after a cut" if records.cuts.get(rounds) else "")
    unit = f"{records.split} accuracy, %" + (" (stretched towards 100)" if stretched(high) else "")
    head(page, axes, f"Cut in {cut_in(rounds)}" if rounds else "Dense", unit)
    ends(axes, [End(curve.last.mean, _label(curve), known[curve.config]) for curve in found])


def _label(curve: Curve) -> str:
    return f"{curve.config.name} {100 * curve.last.mean:.1f}"


PICTURE = Picture("Accuracy by epoch", Needs("epoch"), accuracy, say, caption, draw)
