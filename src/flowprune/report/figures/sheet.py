"""A sheet: a matplotlib figure whose unit is the CSS pixel, counted from the top left."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowprune.report.theme import INK, MUTED, PAPER, RULE

Width = Literal["wide", "narrow"]
PIXELS: dict[Width, int] = {"wide": 900, "narrow": 360}
SMALL, NORMAL = 10.5, 11.5

RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": SMALL,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlesize": NORMAL,
    "axes.titlecolor": INK,
    "axes.linewidth": 1.0,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.color": RULE,
    "ytick.labelcolor": MUTED,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "flowprune",
    "path.simplify": False,
}


@contextmanager
def house_style() -> Generator[None]:
    """The house style while drawing and saving; whatever was set before comes back after."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


@dataclass(frozen=True, eq=False)
class Sheet:
    """A figure of ``width`` x ``height`` CSS pixels (72 to the matplotlib inch)."""

    figure: Figure
    width: float
    height: float

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes whose plotting area has its top left corner at ``(x, y)``."""
        box = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def write(self, x: float, y: float, words: str, *, muted: bool = False, bold: bool = False) -> None:
        """Text whose baseline starts at ``(x, y)``."""
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            words,
            fontsize=SMALL if muted else NORMAL,
            color=MUTED if muted else INK,
            fontweight="bold" if bold else "normal",
            va="baseline",
            ha="left",
        )


def sheet(width: Width, height: float) -> Sheet:
    """An empty sheet; its size in pixels is also that of the SVG's view box."""
    pixels = PIXELS[width]
    return Sheet(Figure(figsize=(pixels / 72, height / 72), dpi=72), pixels, height)


def head(page: Sheet, axes: Axes, title: str, unit: str = "") -> None:
    """A panel's title, and under it what its vertical axis counts, both flush with the axis."""
    box = axes.get_position()
    x, top = box.x0 * page.width, (1 - box.y1) * page.height
    page.write(x, top - (24 if unit else 10), title, bold=True)
    if unit:
        page.write(x, top - 9, unit, muted=True)


def grid(axes: Axes, *, x: bool = False, y: bool = True) -> None:
    """Thin rules at the major ticks, and no tick marks."""
    axes.tick_params(which="both", length=0, pad=5)
    if x:
        axes.grid(axis="x", which="major")
    if y:
        axes.grid(axis="y", which="major")


def columns(count: int, width: Width, most: int) -> int:
    """How many panels stand side by side: one on a narrow sheet.

    Example:
        >>> columns(5, "wide", 3), columns(5, "narrow", 3)
        (3, 1)
    """
    return 1 if width == "narrow" else min(count, most)


def text_width(words: str) -> float:
    """A cautious guess of a text's width in pixels: the reader's font is not known here.

    Example:
        >>> round(text_width("biased loss"), 1)
        65.5
    """
    return sum(3.7 if letter in "iljtfr.,:;()|!'- " else 6.8 for letter in words)


def flow_right(widths: Sequence[float], limit: float, *, together: int = 0) -> list[tuple[int, float]]:
    """Row and x of boxes set from left to right, wrapped at ``limit``; the last ``together`` begin a row as one.

    Example:
        >>> flow_right([40, 50, 30], 100), flow_right([40, 50, 30], 100, together=2)
        ([(0, 0.0), (0, 40.0), (1, 0.0)], [(0, 0.0), (1, 0.0), (1, 50.0)])
    """
    places: list[tuple[int, float]] = []
    row, x = 0, 0.0
    for index, width in enumerate(widths):
        joined = sum(widths[index:]) if index == len(widths) - together else width
        if x and x + joined > limit:
            row, x = row + 1, 0.0
        places.append((row, x))
        x += width
    return places
