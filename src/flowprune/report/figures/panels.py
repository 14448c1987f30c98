"""Panels of equal size in rows, on a sheet as high as they need."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes

from flowprune.report.figures.sheet import PIXELS, Sheet, Width, sheet


@dataclass(frozen=True)
class Panels:
    """A grid of ``count`` panels, ``across`` in a row. Units: pixels.

    Attributes:
        plot: Height of a plotting area.
        head, foot: Room above it for its title, and below it for its axis.
        left, right: Room beside each plotting area.
        top: Room above the whole grid, for a key.
    """

    count: int
    across: int
    plot: float
    head: float = 46
    foot: float = 38
    left: float = 48
    right: float = 14
    top: float = 0

    @property
    def rows(self) -> int:
        """How many rows of panels there are."""
        return -(-self.count // self.across)

    def sheet(self, width: Width) -> Sheet:
        """A sheet that holds the grid.

        Example:
            >>> Panels(count=3, across=2, plot=100).sheet("wide").height
            368.0
        """
        return sheet(width, float(self.top + self.rows * (self.head + self.plot + self.foot)))

    def inner(self, width: Width) -> float:
        """The width of one plotting area."""
        return PIXELS[width] / self.across - self.left - self.right

    def rest(self, index: int, count: int) -> int:
        """The columns that panel ``index`` of ``count`` may take: the last one takes what is left of its row.

        Example:
            >>> panels = Panels(count=3, across=2, plot=100)
            >>> [panels.rest(index, 3) for index in range(3)], panels.rest(1, 2)
            ([1, 1, 2], 1)
        """
        return self.across - index % self.across if index == count - 1 else 1

    def axes(self, page: Sheet, index: int, *, span: int = 1) -> Axes:
        """The plotting area of panel ``index``, counted along the rows, over ``span`` columns."""
        row, column = divmod(index, self.across)
        cell = page.width / self.across
        top = self.top + row * (self.head + self.plot + self.foot) + self.head
        return page.axes(column * cell + self.left, top, span * cell - self.left - self.right, self.plot)
