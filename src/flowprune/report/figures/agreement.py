"""Figure: how far measures agree, as two triangles."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.sheet import PIXELS, SMALL, Width, columns, head
from flowprune.report.needs import Needs
from flowprune.report.sentences.agreement import caption, say
from flowprune.report.shapes.agreement import Agreement, Matrix, agreement
from flowprune.report.theme import INK, RULE, SERIES
from flowprune.report.wording import plain

ALIKE, OPPOSITE = SERIES[0], SERIES[1]
DEEPEST = 0.55  # of opacity: ink stays readable on the deepest cell, on light and on dark paper


def draw(records: Agreement, width: Width) -> Figure:
    """One triangle of rank correlations and one of overlaps, the names along the diagonal."""
    found = [
        ("Rank correlation of scores", "Spearman, −1 to 1", records.spearman, 2),
        ("Overlap of the kept sets", "% of the kept units that both keep", records.overlap, 0),
    ]
    found = [panel for panel in found if panel[2]]
    across = columns(len(found), width, 2)
    side = PIXELS[width] / (2 if width == "wide" else 1)
    names = records.measures
    step = min(52.0, (side - 150) / max(1, len(names) - 1))
    panels = Panels(len(found), across, plot=step * len(names), head=50, foot=14, left=0, right=0)
    page = panels.sheet(width)
    for index, (title, unit, matrix, digits) in enumerate(found):
        axes = panels.axes(page, index)
        axes.set_xlim(0, panels.inner(width) / step)
        axes.set_ylim(len(names), 0)
        axes.set_axis_off()
        _triangle(axes, names, matrix, step=step, digits=digits)
        head(page, axes, title, unit)
    return page.figure


def _triangle(axes: Axes, names: tuple[str, ...], matrix: Matrix, *, step: float, digits: int) -> None:
    for i, name in enumerate(names):
        axes.text(i + 0.12, i + 0.5, plain(name), fontsize=SMALL, color=INK, va="center_baseline", ha="left")
        for j, other in enumerate(names[:i]):
            value = matrix.get((other, name))
            colour, alpha, words, small = RULE, 0.5, "–", ""
            if value is not None:
                colour = ALIKE if value.mean >= 0 else OPPOSITE
                alpha = DEEPEST * min(1.0, abs(value.mean))
                words = _words(value.mean, digits)
                small = f"± {_words(value.std, digits)}" if value.std is not None else ""
            axes.add_patch(Rectangle((j + 0.02, i + 0.02), 0.96, 0.96, facecolor=colour, alpha=alpha, linewidth=0))
            roomy = step >= 40 and bool(small)
            axes.text(
                j + 0.5,
                i + (0.4 if roomy else 0.5),
                words,
                fontsize=min(SMALL, step / 3.4),
                color=INK,
                va="center_baseline",
                ha="center",
            )
            if roomy:
                axes.text(j + 0.5, i + 0.72, small, fontsize=8.5, color=INK, va="center_baseline", ha="center")


def _words(value: float, digits: int) -> str:
    return (f"{value:.2f}" if digits else f"{100 * value:.0f}").replace("-", "−")


PICTURE = Picture(
    "Agreement between measures",
    Needs("agreement", "record.agreement", "--study demo", runs="pruned"),
    agreement,
    say,
    caption,
    draw,
)
