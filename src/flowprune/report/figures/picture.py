"""What a figure of the report is: how rows become records, a sentence, a caption and a drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from matplotlib.figure import Figure

from flowprune.report.figures.sheet import Width, house_style
from flowprune.report.needs import Needs
from flowprune.report.values import Row


class Noted(Protocol):
    """Records that say what of the rows they leave out."""

    @property
    def notes(self) -> tuple[str, ...]:
        """One note for each thing left out."""
        ...


R = TypeVar("R", bound=Noted)


@dataclass(frozen=True)
class Drawn:
    """One figure of one comparison, ready to be set: ``draw`` gives it at a width."""

    sentence: str
    caption: str
    notes: tuple[str, ...]
    draw: Callable[[Width], Figure]


@dataclass(frozen=True)
class Picture(Generic[R]):
    """A kind of figure.

    Attributes:
        title: What it is about, a few words.
        needs: What it reads, told where there is none.
        shape: Rows to records; None where the rows do not carry it.
        say: One sentence that the records support.
        caption: Equations, units and how the records were summarised.
        draw: Records to a drawing.
        across: Whether it is of all sparsities of a model and data set, and not of the rows of one comparison.
    """

    title: str
    needs: Needs
    shape: Callable[[Sequence[Row]], R | None]
    say: Callable[[R], str]
    caption: Callable[[R], str]
    draw: Callable[[R, Width], Figure]
    across: bool = False

    def __str__(self) -> str:
        return self.title

    def of(self, rows: Sequence[Row]) -> Drawn | None:
        """This figure for the rows of one comparison (of one model, where it is across), or None without any."""
        records = self.shape(rows)
        if records is None:
            return None
        return Drawn(self.say(records), self.caption(records), records.notes, lambda width: self._draw(records, width))

    def _draw(self, records: R, width: Width) -> Figure:
        with house_style():
            return self.draw(records, width)
