"""What a table is: named columns, lines of cells in groups, and a note; and its Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowprune.report.needs import Needs
from flowprune.report.spread import Spread
from flowprune.report.values import Row

MISSING = "–"
NEAR = "†"


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: main words, smaller ones below, and whether they stand out.

    Example:
        >>> str(Cell("57.40 ± 0.31", "n = 2", bold=True))
        '**57.40 ± 0.31** (n = 2)'
    """

    main: str
    small: str = ""
    bold: bool = False

    def __str__(self) -> str:
        main = f"**{self.main}**" if self.bold else self.main
        return f"{main} ({self.small})" if self.small else main


@dataclass(frozen=True)
class Grid:
    """A table ready to be set.

    Attributes:
        title: What it is about.
        columns: Their names.
        names: How many of the first columns name a line; the others hold numbers.
        lines: Cells by line, as many as there are columns.
        note: How to read it.
        sentence: What it shows; empty where there is nothing to say.
        warnings: What of it a reader must look at.
    """

    title: str
    columns: tuple[str, ...]
    names: int
    lines: tuple[tuple[Cell, ...], ...]
    note: str
    sentence: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[tuple[str, tuple[tuple[Cell, ...], ...]], ...]:
        """Lines that have all names but the last in common: these names in words, and what is left of each line.

        Example:
            >>> names = Cell("vgg13"), Cell("cifar10"), Cell("1")
            >>> Grid("Sizes", ("model", "data", "rounds", "units"), 3, ((*names, Cell("736")),), "").groups[0][0]
            'vgg13, cifar10'
        """
        first = self.names - 1
        found: dict[str, list[tuple[Cell, ...]]] = {}
        for line in self.lines:
            found.setdefault(", ".join(cell.main for cell in line[:first]), []).append(line[first:])
        return tuple((words, tuple(lines)) for words, lines in found.items())

    def markdown(self) -> str:
        """The table as GitHub Markdown: title, sentence, lines, note, warnings.

        Example:
            >>> print(Grid("Sizes", ("model", "units"), 1, ((Cell("vgg13"), Cell("736")),), "Counted.").markdown())
            **Sizes**
            <BLANKLINE>
            | model | units |
            | --- | ---: |
            | vgg13 | 736 |
            <BLANKLINE>
            Counted.
        """
        rule = ["---" if index < self.names else "---:" for index in range(len(self.columns))]
        body = [[_escaped(str(cell)) for cell in line] for line in self.lines]
        lines = ["| " + " | ".join(line) + " |" for line in ([_escaped(name) for name in self.columns], rule, *body)]
        said = [self.sentence, ""] if self.sentence else []
        warned = ["", *(f"- {words}" for words in self.warnings)] if self.warnings else []
        return "\n".join([f"**{self.title}**", "", *said, *lines, "", self.note, *warned])


@dataclass(frozen=True)
class Table:
    """A kind of table.

    Attributes:
        title: What it is about, a few words.
        needs: What it reads, told where there is none.
        of: Rows of any number of comparisons to a table; None where they carry nothing of it.
        within: Whether the report sets it once in each comparison, and not once across all.
    """

    title: str
    needs: Needs
    of: Callable[[Sequence[Row]], Grid | None]
    within: bool = False

    def __str__(self) -> str:
        return self.title


def _escaped(words: str) -> str:
    return words.replace("|", "\\|")


def accuracy_cell(value: Spread | None, *, most: int, bold: bool = False, near: bool = False) -> Cell:
    """A mean accuracy in percent with its spread; one seed, or fewer than the ``most`` of the table, is labelled.

    Example:
        >>> str(accuracy_cell(Spread(0.574, 0.0031, 3), most=3)), str(accuracy_cell(Spread(0.5, None, 1), most=3))
        ('57.40 ± 0.31', '50.00 (n = 1)')
        >>> str(accuracy_cell(None, most=3)), str(accuracy_cell(Spread(0.57, 0.01, 2), most=3, near=True))
        ('–', '57.00 ± 1.00† (n = 2)')
    """
    if value is None:
        return Cell(MISSING)
    main = f"{100 * value.mean:.2f}" + (f" ± {100 * value.std:.2f}" if value.std is not None else "")
    small = f"n = {value.n}" if value.n == 1 or value.n != most else ""
    return Cell(main + (NEAR if near else ""), small, bold)


def seeds(values: Sequence[Spread | None]) -> str:
    """Over how many seeds the means of a table are, for its note.

    Example:
        >>> seeds([Spread(0.5, 0.1, 3), None]), seeds([Spread(0.5, None, 1)]), seeds([])
        ('n = 3 seeds unless a cell says otherwise', 'n = 1 seed, so no spread is known', 'no seeds')
    """
    most = max((value.n for value in values if value is not None), default=0)
    if most > 1:
        return f"n = {most} seeds unless a cell says otherwise"
    return "n = 1 seed, so no spread is known" if most else "no seeds"
