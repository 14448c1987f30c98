"""Figure: the change of ‖θ‖² over the optimizer's own steps, predicted five ways and measured."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from flowprune.report.figures.lines import LABEL, End, ends, over_epochs
from flowprune.report.figures.marks import points
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import PLAIN, decades, log_ticks, spans_decades
from flowprune.report.figures.sheet import Sheet, Width, columns, head
from flowprune.report.needs import Needs
from flowprune.report.sentences.training_flow import LEAST, caption, say
from flowprune.report.shapes.training_flow import TrainingFlow, training_flow
from flowprune.report.theme import INK, SERIES, Style

LOOKS = {
    "flow": ("flow alone (E3)", Style(SERIES[0], "o")),
    "decay": ("+ weight decay", Style(SERIES[1], "s")),
    "step_size": ("+ size of the step", Style(SERIES[3], "D")),
    "effective": ("at η / (1 − μ)", Style(SERIES[4], "^")),
    "momentum": ("+ momentum buffer", Style(SERIES[7], "v")),
}
MEASURED = Style(INK, "o")
NEEDS = Needs("training_flow", "record.flow_training", "--study lubana2021_small")


def draw(records: TrainingFlow, width: Width) -> Figure:
    """Predicted and measured changes by epoch; then the error of each prediction."""
    count = 1 + bool(records.errors)
    panels = Panels(count, columns(count, width, 2), plot=max(250.0, LABEL * 6), left=44, right=140)
    page = panels.sheet(width)
    _changes(page, panels.axes(page, 0), records)
    if records.errors:
        _errors(page, panels.axes(page, 1), records)
    return page.figure


def _changes(page: Sheet, axes: Axes, records: TrainingFlow) -> None:
    shown = [(LOOKS[key], each) for key, each in records.predicted.items()]
    for (_, style), each in shown:
        axes.plot(each.epochs, [value.mean for value in each.values], color=style.colour, linewidth=1.5, zorder=2)
    means = [value.mean for value in records.measured.values]
    points(axes, records.measured.epochs, means, style=MEASURED, fill=0.0, size=5.5)
    values = [*means, *(value.mean for _, each in shown for value in each.values)]
    threshold = spans_decades(values, most=3.0)
    if threshold is not None:
        axes.set_yscale("symlog", linthresh=threshold)
        limits = (min(0.0, 1.8 * min(values)), max(0.0, 1.8 * max(values)))
        axes.set_ylim(*limits)
        axes.set_yticks(decades(*limits, threshold, most=6))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PLAIN)
    axes.axhline(0, color=INK, linewidth=0.6, alpha=0.4)
    over_epochs(axes, records.measured.epochs)
    head(page, axes, "Change of ‖θ‖² in real steps", f"{records.config}; circles: measured")
    ends(axes, [End(each.last.mean, words, style) for (words, style), each in shown])


def _errors(page: Sheet, axes: Axes, records: TrainingFlow) -> None:
    for error in records.errors:
        style = LOOKS[error.prediction][1]
        epochs = [epoch for epoch, _ in error.by_epoch]
        values = [100 * max(LEAST, value) for _, value in error.by_epoch]
        axes.plot(epochs, values, color=style.colour, linewidth=1.5, zorder=2)
        points(axes, epochs, values, style=style, size=4)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, 4 * high)  # room for the labels of lines that end together at the top
    axes.yaxis.set_major_locator(FixedLocator(log_ticks(*axes.get_ylim())))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PLAIN)
    over_epochs(axes, [epoch for error in records.errors for epoch, _ in error.by_epoch])
    head(page, axes, "Error of each prediction", "% of the change, median over runs")
    ends(axes, [End(100 * max(LEAST, e.by_epoch[-1][1]), *LOOKS[e.prediction]) for e in records.errors])


PICTURE = Picture("The norm over real steps", NEEDS, training_flow, say, caption, draw)
